import { randomUUID } from 'node:crypto';
import type { ClientRegistration } from '../../credential.ts';
import { InvalidArgumentError } from '../../errors.ts';
import { type HttpResponse, type RequestOptions, send } from '../../http/request.ts';
import { quote } from '../../quote.ts';
import { Secret } from '../../secret.ts';
import { jsonObject } from '../json-object.ts';
import { checkServerUp } from '../protocol-error.ts';
import { signingKey, signJwt } from './jwt.ts';

/** Lifetime of a client assertion, in seconds. One request needs little, and two clocks may differ slightly. */
const ASSERTION_LIFE_S = 60;

/** The server that a client authenticates to. */
export interface AuthenticatingServer {
  readonly issuer: string;
  /** The algorithms that the server's metadata lists for `private_key_jwt`, where it lists any (RFC 8414 section 2). */
  readonly signingAlgorithms?: readonly string[] | undefined;
}

export interface PostOptions extends RequestOptions {
  readonly dpopProof?: string | undefined;
  /** Names the endpoint in errors, such as `The token endpoint of "https://as.example"`. */
  readonly what: string;
}

/** An endpoint's response, and the members of its JSON object, if it has one. */
export interface EndpointAnswer {
  readonly response: HttpResponse;
  readonly answer: Readonly<Record<string, unknown>> | undefined;
}

/** A client at one authorization server. It sends forms and authenticates each of them (RFC 6749 section 2.3). */
export class AuthenticatedClient {
  readonly #client: ClientRegistration;
  readonly #server: AuthenticatingServer;
  readonly #authenticate: (form: URLSearchParams, headers: Record<string, string>) => void;
  /** Every secret that the client has authenticated with so far. No error message may repeat a secret. */
  readonly proofs: Secret[] = [];

  /** @throws InvalidArgumentError for a `private_key_jwt` client whose key is missing or unusable */
  constructor(client: ClientRegistration, server: AuthenticatingServer) {
    this.#client = client;
    this.#server = server;
    const secret = client.clientSecret?.reveal() ?? '';
    if (secret !== '') this.proofs.push(new Secret(secret));
    this.#authenticate = {
      none: () => this.#named,
      client_secret_basic: () => this.#basic(secret),
      client_secret_post: () => this.#secretInForm(secret),
      private_key_jwt: () => this.#privateKeyJwt(),
    }[client.authMethod]();
  }

  /**
   * Sends a form. The caller has checked the URL: https, or http to this machine.
   *
   * @throws NetworkError when the server answers 5xx or 429; what `send` throws
   */
  async post(
    url: string,
    form: URLSearchParams,
    { dpopProof, what, ...options }: PostOptions,
  ): Promise<EndpointAnswer> {
    const headers: Record<string, string> = {
      accept: 'application/json',
      'content-type': 'application/x-www-form-urlencoded;charset=UTF-8',
      ...(dpopProof === undefined ? {} : { dpop: dpopProof }),
    };
    const body = new URLSearchParams(form);
    this.#authenticate(body, headers);
    const response = await send(url, { ...options, method: 'POST', headers, body: body.toString() });
    checkServerUp(response, what);
    return { response, answer: jsonObject(response.body).object };
  }

  readonly #named = (form: URLSearchParams) => {
    form.set('client_id', this.#client.clientId);
  };

  #secretInForm(secret: string) {
    return (form: URLSearchParams) => {
      this.#named(form);
      form.set('client_secret', secret);
    };
  }

  /**
   * RFC 6749 section 2.3.1: form-encodes both halves before they go into the header. Leaves `-` and `_` unchanged:
   * servers that forget to decode would otherwise refuse every client id that is a UUID.
   */
  #basic(secret: string) {
    const encode = (text: string) => new URLSearchParams({ x: text }).toString().slice('x='.length);
    const pair = `${encode(this.#client.clientId)}:${encode(secret)}`;
    const credentials = Buffer.from(pair, 'latin1').toString('base64');
    this.proofs.push(new Secret(credentials));
    return (_form: URLSearchParams, headers: Record<string, string>) => {
      headers['authorization'] = `Basic ${credentials}`;
    };
  }

  /**
   * RFC 7523 section 2.2, OpenID Connect Core section 9. The audience is the issuer only. Otherwise a server that was
   * tricked into naming another server's token endpoint could replay the assertion there (RFC 7523bis).
   */
  #privateKeyJwt() {
    const { clientId, privateKey, keyId } = this.#client;
    if (privateKey === undefined) {
      throw new InvalidArgumentError(
        `The client ${quote(clientId)} has no private key to prove itself with.`,
        {
          hint: 'Log in again, and give the private key that the client is registered with.',
        },
      );
    }
    const key = signingKey(privateKey, this.#server.signingAlgorithms);
    // Every request gets its own assertion, retries included: a server accepts each `jti` once.
    return (form: URLSearchParams) => {
      const now = Math.floor(Date.now() / 1000);
      const assertion = signJwt(key, keyId === undefined ? {} : { kid: keyId }, {
        iss: clientId,
        sub: clientId,
        aud: this.#server.issuer,
        jti: randomUUID(),
        iat: now,
        exp: now + ASSERTION_LIFE_S,
      });
      this.proofs.push(new Secret(assertion));
      this.#named(form);
      form.set('client_assertion_type', 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer');
      form.set('client_assertion', assertion);
    };
  }
}
