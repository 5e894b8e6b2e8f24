import { resolve } from 'node:path';
import type {
  AssertionSource,
  AuthorizationServer,
  ClientRegistration,
  Credential,
  Grant,
} from '../credential.ts';
import { InvalidArgumentError, OAuthError, ServerUnsupportedError } from '../errors.ts';
import type { RequestOptions } from '../http/request.ts';
import type { TokenResponse, TokenServer } from '../oauth/token.ts';
import { quote } from '../quote.ts';
import type { Secret } from '../secret.ts';
import type { Environment } from '../system/environment.ts';
import { readSecret } from '../system/secret-file.ts';
import { shellPath } from '../system/storage-error.ts';
import type { Held, Name } from './custody.ts';
import { keep, type LoginPlace, prepareKeeping } from './keeping.ts';
import { credentialOf, discoverFor, dpopKeyFor, formerLogin } from './login.ts';
import { givenClient, planClient } from './login-client.ts';
import type { ClientOptions, GrantOptions, LoginOptions } from './results.ts';

/*
 * Logins that no person takes part in, and their renewal, which is the same request again: by the client's own credentials,
 * by a token of the platform, or by an identity provider that vouches. What is presented beside the client is read anew from
 * its place each time, since whoever puts it there renews it. Nothing is tried twice, and nothing else in its place.
 */

/** What one request for tokens by a grant needs to know. */
export interface GrantRequest
  extends Pick<Credential, 'client' | 'resourceParameter' | 'requestedScope' | 'dpopKey'> {
  readonly server: TokenServer;
  readonly grant: Grant;
}

/**
 * Logs in by the grant, and keeps the credential with what its renewal needs.
 *
 * @throws InvalidArgumentError for a grant, or a client, that cannot be used; no token was asked for then
 * @throws OAuthError with a hint at what to check, and whatever discovery, keeping and the token request throw
 */
export async function logInUnattended(
  name: Name,
  options: LoginOptions & { readonly grant: GrantOptions },
  place: LoginPlace,
): Promise<Held> {
  const { interaction, signal, grant: wanted } = options;
  if (wanted.type !== 'client_credentials') await readAssertion(placeOf(wanted.assertion), place.environment);
  const former = await formerLogin(place.custody, name);
  const given = options.client && givenClient(options.client, undefined);
  checkClient(given ?? former?.client, wanted);
  const grant = await grantOf(wanted, signal);

  const discovery = await discoverFor(name, options, place, false);
  await prepareKeeping(place, name, options);
  const plan = planClient(discovery, former, { client: options.client });
  const client = checkClient(plan.by === 'known' ? plan.client : undefined, wanted);
  const { scopesToAskFor } = await import('../oauth/scope-choice.ts');
  // What a person, or another grant, was given may be refused to this one.
  const isSameLogin = former?.server.issuer === discovery.server.issuer && former.grant?.type === grant.type;
  const requestedScope =
    scopesToAskFor(discovery, {
      scopes: options.scopes,
      stepUp: options.challenge !== undefined,
      formerScope: isSameLogin ? former.requestedScope : undefined,
      offlineAccess: false,
    }).join(' ') || undefined;
  const dpopKey = (await dpopKeyFor(discovery, options))?.secret;

  interaction?.progress?.('Fetching the tokens');
  const server = { ...discovery.server, reach: discovery.reach };
  const { resourceParameter } = discovery;
  const answer = await requestByGrant(
    { server, client, grant, resourceParameter, requestedScope, dpopKey },
    place.environment,
    { signal },
  );
  return keep(place, name, options, (generation) => ({
    ...credentialOf(name, discovery, answer, { generation, requestedScope, client }),
    grant,
    dpopKey,
  }));
}

/**
 * Asks for tokens by a grant that needs no person: at the login, and for each renewal.
 *
 * @throws InvalidArgumentError, StorageUnreadableError when what is to be presented is not there, or is none
 * @throws OAuthError, NetworkError, TimeoutError, InvalidResponseError for what a server did
 */
export async function requestByGrant(
  request: GrantRequest,
  environment: Environment,
  options: RequestOptions,
): Promise<TokenResponse> {
  const { server, client, grant, resourceParameter, requestedScope: scope, dpopKey } = request;
  const { clientCredentials, exchangeForIdJag, jwtBearer } = await import('../oauth/grants.ts');
  const target = { resourceParameter, scope };
  const bound = { ...options, dpopKey };
  switch (grant.type) {
    case 'client_credentials':
      return explained(clientCredentials(server, client, target, bound), { server, client });
    case 'workload-identity': {
      const { assertion: from } = grant;
      const assertion = await readAssertion(from, environment);
      const asked = jwtBearer(server, client, { ...target, assertion }, bound);
      const answer = await explained(asked, { server, client, presented: { from, token: assertion } });
      // The platform's token is the proof, each time: a refresh token would outlive it, and could be lost.
      return { ...answer, tokens: { ...answer.tokens, refreshToken: undefined } };
    }
    case 'enterprise': {
      const { assertion: from, identityProvider, identityClient } = grant;
      const idToken = await readAssertion(from, environment);
      const asked = { ...target, idToken, audience: server.issuer };
      const assertion = await explained(exchangeForIdJag(identityProvider, identityClient, asked, options), {
        server: identityProvider,
        client: identityClient,
        presented: { from, token: idToken },
      });
      const voucher = identityProvider.issuer;
      return explained(jwtBearer(server, client, { ...target, assertion }, bound), {
        server,
        client,
        voucher,
      });
    }
  }
}

/**
 * Only a client that was registered beforehand will do (MCP extension oauth-client-credentials): no dynamic registration
 * gives a program rights of its own. One that is its own grant must prove itself, too (RFC 6749 section 4.4).
 */
function checkClient(client: ClientRegistration | undefined, { type }: GrantOptions): ClientRegistration {
  if (client?.source !== 'pre-registered') {
    throw new InvalidArgumentError(
      'A login without a person needs a client that was registered at the authorization server beforehand.',
      { hint: 'Name it: --client-id ID, with --client-secret-file FILE or --client-key-file FILE' },
    );
  }
  if (type === 'client_credentials' && client.authMethod === 'none') {
    throw new InvalidArgumentError(
      `The client ${quote(client.clientId)} has nothing to prove itself with, and its word is the grant (RFC 6749 section 4.4).`,
      { hint: 'Name what proves it: --client-key-file FILE, or --client-secret-file FILE' },
    );
  }
  return client;
}

/** The grant as it is kept: complete, so that no renewal has to look anything up. */
async function grantOf(wanted: GrantOptions, signal: AbortSignal | undefined): Promise<Grant> {
  if (wanted.type === 'client_credentials') return wanted;
  const assertion = placeOf(wanted.assertion);
  if (wanted.type === 'workload-identity') return { type: wanted.type, assertion };
  const { server, client } = await identityProviderOf(wanted.identityProvider, wanted.identityClient, signal);
  return { type: wanted.type, assertion, identityProvider: server, identityClient: client };
}

/** The identity provider is the user's own word, so where it lies is nobody else's choice. */
async function identityProviderOf(
  { issuer, tokenEndpoint }: { issuer: string; tokenEndpoint?: string | undefined },
  client: ClientOptions,
  signal: AbortSignal | undefined,
): Promise<{ server: AuthorizationServer; client: ClientRegistration }> {
  const { checkUrl } = await import('../http/safe-url.ts');
  const url = checkUrl(issuer);
  if (client.issuer !== undefined && client.issuer !== issuer) {
    throw new InvalidArgumentError(
      `The client ${quote(client.id)} is one of ${quote(client.issuer)}, not of the identity provider ${quote(issuer)}.`,
    );
  }
  if (tokenEndpoint !== undefined) {
    checkUrl(tokenEndpoint);
    return { server: { issuer, tokenEndpoint }, client: givenClient(client, undefined) };
  }
  const { serverMetadata } = await import('../oauth/server-metadata.ts');
  const found = await serverMetadata(issuer, url, { signal, browser: false });
  if (found === undefined) {
    throw new ServerUnsupportedError(`The identity provider ${quote(issuer)} publishes no metadata.`, {
      hint: 'Check its issuer: it is the "iss" of the ID tokens that it gives out, such as https://login.example.com',
    });
  }
  return {
    server: {
      issuer: found.issuer,
      tokenEndpoint: found.tokenEndpoint,
      signingAlgorithms: found.signingAlgorithms,
    },
    client: givenClient(client, found.tokenEndpointAuthMethods),
  };
}

/** One place, which later processes find from wherever they run. */
function placeOf({ file, variable }: AssertionSource): AssertionSource {
  if ((file === undefined) === (variable === undefined)) {
    throw new InvalidArgumentError(
      'A token that is presented comes from a file or from a variable: name one.',
    );
  }
  return file === undefined ? { variable } : { file: resolve(file) };
}

/** What is there now. No part of it is shown, whatever it is. */
async function readAssertion(from: AssertionSource, environment: Environment): Promise<Secret> {
  const token = await readSecret(from, environment);
  const { unverifiedJwt } = await import('../oauth/grants.ts');
  if (unverifiedJwt(token) !== undefined) return token;
  throw new InvalidArgumentError(`What ${nameOf(from)} holds is not a JWT (RFC 7519).`, {
    hint: 'It should hold the token alone, as it was issued: three parts with dots between them.',
  });
}

function nameOf({ file, variable }: AssertionSource): string {
  return file === undefined ? `the variable ${variable ?? ''}` : shellPath(file);
}

interface Asked {
  readonly server: TokenServer;
  readonly client: ClientRegistration;
  readonly presented?: { readonly from: AssertionSource; readonly token: Secret };
  /** The identity provider whose word was presented. */
  readonly voucher?: string;
}

/** What nobody is there to see: a server's refusal says what to check. */
async function explained<T>(answer: Promise<T>, asked: Asked): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    if (!(error instanceof OAuthError)) throw error;
    const hint = error.hint ?? (await hintFor(error.error, asked));
    throw hint === undefined ? error : new OAuthError(error.message, { error: error.error, hint });
  }
}

async function hintFor(
  error: string,
  { server, client, presented, voucher }: Asked,
): Promise<string | undefined> {
  const id = quote(client.clientId);
  switch (error) {
    case 'invalid_client':
      return `Check the client id ${id}, its secret or key, and how it proves itself: now by ${client.authMethod} (--client-auth).`;
    case 'unauthorized_client':
    case 'unsupported_grant_type':
      return `Ask who runs ${quote(server.issuer)} to allow this grant to the client ${id}.`;
    case 'invalid_scope':
      return `Name the scopes that the client ${id} may have: --scope "…"`;
    case 'invalid_grant':
      if (presented !== undefined) return hintAt(presented);
      return (
        voucher &&
        `Ask who runs ${quote(server.issuer)} whether it takes the word of ${quote(voucher)} for the client ${id}.`
      );
    default:
      return undefined;
  }
}

/** Who issued it, to whom, until when: mostly it is one of these. None of them is a secret. */
async function hintAt({ from, token }: NonNullable<Asked['presented']>): Promise<string> {
  const { unverifiedJwt } = await import('../oauth/grants.ts');
  const { iss, aud, exp } = unverifiedJwt(token)?.claims ?? {};
  const audience = Array.isArray(aud) ? aud.join(' ') : aud;
  const until = typeof exp === 'number' && Math.abs(exp) < 8e12 ? new Date(exp * 1000).toISOString() : '?';
  const said = (claim: unknown) => (typeof claim === 'string' ? quote(claim) : 'nobody');
  return `The token in ${nameOf(from)} is of the issuer ${said(iss)}, for the audience ${said(audience)}, until ${until}: check that the server trusts that issuer and takes that audience, and renew the token if it has expired.`;
}
