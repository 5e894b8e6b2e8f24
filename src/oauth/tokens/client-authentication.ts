import { randomUUID } from 'node:crypto';
import * as oauth from 'oauth4webapi';
import type { ClientRegistration } from '../../credential.ts';
import { InvalidArgumentError } from '../../errors.ts';
import { type RequestOptions, send } from '../../http/request.ts';
import { quote } from '../../quote.ts';
import { Secret } from '../../secret.ts';
import { checkServerUp } from '../protocol-error.ts';
import { signingKey, signJwt } from './jwt.ts';

/** How long an assertion is good for, in seconds: for one request, and a clock that is a little off. */
const ASSERTION_LIFE_S = 60;

/** A client at an endpoint that it proves itself to. */
interface AuthenticatingClient {
  readonly client: oauth.Client;
  readonly authentication: oauth.ClientAuth;
  /** What has proved it so far, in every form that went out: no message of the server's may bring it back. */
  readonly proofs: readonly Secret[];
}

/**
 * How `oauth4webapi` names the client, and how the client proves itself (RFC 6749 section 2.3).
 *
 * @param signingAlgorithms those that the server lists for `private_key_jwt`, where known
 * @throws InvalidArgumentError for a `private_key_jwt` client whose key is missing or cannot be used
 */
export function oauth4webapiClient(
  client: ClientRegistration,
  signingAlgorithms?: readonly string[],
): AuthenticatingClient {
  const secret = client.clientSecret?.reveal() ?? '';
  const proofs = secret === '' ? [] : [new Secret(secret)];
  const authentication = {
    none: () => oauth.None(),
    client_secret_basic: () => basic(secret, proofs),
    client_secret_post: () => oauth.ClientSecretPost(secret),
    private_key_jwt: () => privateKeyJwt(client, signingAlgorithms, proofs),
  }[client.authMethod]();
  return { client: { client_id: client.clientId }, authentication, proofs };
}

/**
 * RFC 6749 section 2.3.1: both are form-encoded before they go into the header. Not by `oauth4webapi`, which encodes `-`
 * and `_` too: that is allowed, and breaks the servers that forget to decode, for every client id that is a UUID.
 */
function basic(secret: string, proofs: Secret[]): oauth.ClientAuth {
  const encode = (text: string) => new URLSearchParams({ x: text }).toString().slice('x='.length);
  return (_server, client, _body, headers) => {
    const pair = `${encode(client.client_id)}:${encode(secret)}`;
    const credentials = Buffer.from(pair, 'latin1').toString('base64');
    proofs.push(new Secret(credentials));
    headers.set('authorization', `Basic ${credentials}`);
  };
}

/**
 * RFC 7523 section 2.2, OpenID Connect Core section 9. The audience is the issuer, and it alone: a server that was made to
 * believe in a foreign token endpoint could pass on there what it is sent (RFC 7523bis).
 */
function privateKeyJwt(
  { clientId, privateKey, keyId }: ClientRegistration,
  signingAlgorithms: readonly string[] | undefined,
  proofs: Secret[],
): oauth.ClientAuth {
  if (privateKey === undefined) {
    throw new InvalidArgumentError(`The client ${quote(clientId)} has no private key to prove itself with.`, {
      hint: 'Log in again, and give the private key that the client is registered with.',
    });
  }
  const key = signingKey(privateKey, signingAlgorithms);
  // Made anew for each request, the repeated one too: a server takes each `jti` once.
  return (server, client, body) => {
    const now = Math.floor(Date.now() / 1000);
    const assertion = signJwt(key, keyId === undefined ? {} : { kid: keyId }, {
      iss: clientId,
      sub: clientId,
      aud: server.issuer,
      jti: randomUUID(),
      iat: now,
      exp: now + ASSERTION_LIFE_S,
    });
    proofs.push(new Secret(assertion));
    body.set('client_id', client.client_id);
    body.set('client_assertion_type', 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer');
    body.set('client_assertion', assertion);
  };
}

/** Lets `oauth4webapi` send through our bounded client. Plain http was checked to stay on this machine. */
export function through(options: RequestOptions, what: string) {
  return {
    [oauth.allowInsecureRequests]: true,
    [oauth.customFetch]: async (
      url: string,
      init: { headers: Record<string, string>; body?: URLSearchParams | string },
    ): Promise<Response> => {
      const response = await send(url, {
        ...options,
        method: 'POST',
        headers: init.headers,
        body: init.body?.toString() ?? '',
      });
      checkServerUp(response, what);
      const body = [204, 205, 304].includes(response.status) ? null : response.body;
      return new Response(body, { status: response.status, headers: contentHeaders(response.headers) });
    },
  };
}

/** Only what the processing looks at: the body is decoded already, so its encoding must not be named again. */
function contentHeaders(headers: Headers): Headers {
  const kept = new Headers();
  for (const name of ['content-type', 'www-authenticate', 'cache-control', 'dpop-nonce']) {
    const value = headers.get(name);
    if (value !== null) kept.set(name, value);
  }
  return kept;
}
