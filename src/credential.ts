import { createHash } from 'node:crypto';
import { InvalidArgumentError } from './errors.ts';
import { isPrintable, quote } from './quote.ts';
import type { Secret } from './secret.ts';

/** In characters: the length that every sender and recipient should support (RFC 9110 section 4.1). */
export const MAX_RESOURCE_LENGTH = 8000;

/** The account label of a login without an explicit one. */
export const DEFAULT_ACCOUNT = 'default';

/** How the client authenticates at the token endpoint (RFC 7591 section 2, `token_endpoint_auth_method`). */
export type ClientAuthMethod = 'none' | 'client_secret_basic' | 'client_secret_post' | 'private_key_jwt';

/**
 * The addresses that a request may go to: `public`, those of the internet; `private`, also those of private networks;
 * `anywhere`, also this machine's own and link-local addresses. A plain http request to a loopback address must reach a
 * server of our own user or root with `anywhere`; with `anyone` it may reach another user's.
 */
export type Reach = 'public' | 'private' | 'anywhere' | 'anyone';

/**
 * Exceptions to the checks of a strict client. Each holds only for a server that the user has allowed it for. The
 * server may have an issuer that differs from its metadata's URL, not advertise PKCE, or refuse the `resource`
 * parameter. It may publish its metadata elsewhere or not at all, name addresses of private networks, or have its login
 * page on another host. Other users of this machine may run it, or send our redirect.
 */
export const LENIENCIES = [
  'trusted-issuer',
  'pkce-not-advertised',
  'resource-omitted',
  'metadata-url',
  'legacy-endpoints',
  'private-addresses',
  'split-endpoints',
  'other-local-users',
] as const;
export type LeniencyName = (typeof LENIENCIES)[number];

/** The data about the authorization server that later requests need, from its metadata at login (RFC 8414). */
export interface AuthorizationServer {
  /** Exactly as in the metadata document: compared as a string, never normalised (RFC 9207 section 2.4). */
  readonly issuer: string;
  readonly tokenEndpoint: string;
  readonly revocationEndpoint?: string | undefined;
  /** The addresses that requests to it may go to; absent: anywhere. */
  readonly reach?: Reach | undefined;
  /** The algorithms that it accepts for client assertions (`token_endpoint_auth_signing_alg_values_supported`). */
  readonly signingAlgorithms?: readonly string[] | undefined;
}

/** The client's registration at one issuer; never used at another. */
export interface ClientRegistration {
  readonly clientId: string;
  readonly clientSecret?: Secret | undefined;
  /** When the secret expires, in milliseconds since the epoch; absent when it does not. */
  readonly clientSecretExpiresAt?: number | undefined;
  /** For `private_key_jwt`: the private key, PKCS #8 in PEM, and its `kid` at the server. */
  readonly privateKey?: Secret | undefined;
  readonly keyId?: string | undefined;
  readonly authMethod: ClientAuthMethod;
  /** The redirect URIs that were registered, in the registered form. */
  readonly redirectUris: readonly string[];
  readonly source: 'dynamic' | 'pre-registered' | 'metadata-document';
}

/** The tokens of one generation (RFC 6749 section 5.1). */
export interface Tokens {
  readonly accessToken: Secret;
  /** As the server named it. `Bearer` is compared case-insensitively (RFC 6749 section 5.1). */
  readonly tokenType: string;
  readonly refreshToken?: Secret | undefined;
  /** When the request for them was sent, in milliseconds since the epoch. */
  readonly obtainedAt: number;
  /** The same moment by the kernel's clock of that boot, in milliseconds, if the platform has boot ids. */
  readonly obtainedBoot?: { readonly id: string; readonly ms: number } | undefined;
  /** When the access token expires, in milliseconds since the epoch; absent when the server did not say. */
  readonly expiresAt?: number | undefined;
}

/** Why only a person can make this credential work again. */
export interface LoginRequired {
  readonly reason: string;
  /** The server's `error` code (RFC 6749 section 5.2). After `invalid_client` the registration is unusable too. */
  readonly error?: string | undefined;
  /** Milliseconds since the epoch. */
  readonly since: number;
}

/**
 * The source of a token that needs no login by a person: a file that its platform renews, or an environment variable.
 * The record stores the source instead of the token, because the token changes.
 */
export interface AssertionSource {
  readonly file?: string | undefined;
  readonly variable?: string | undefined;
}

/** How to request new tokens without a refresh token: the client itself, or an assertion, is the grant. */
export type Grant =
  /** RFC 6749 section 4.4. */
  | { readonly type: 'client_credentials' }
  /** A token of the platform that the process runs on (RFC 7523 section 2.1). */
  | { readonly type: 'workload-identity'; readonly assertion: AssertionSource }
  /** An ID token, exchanged at the enterprise's own server for a grant at this one (RFC 8693, RFC 7523). */
  | {
      readonly type: 'enterprise';
      readonly assertion: AssertionSource;
      /** The enterprise's identity provider, and Holdfast's client registration there. */
      readonly identityProvider: AuthorizationServer;
      readonly identityClient: ClientRegistration;
    };

/** The origin of an imported login. */
export interface Imported {
  /** The program, such as `mcp-remote`. */
  readonly from: string;
  readonly mode: 'access-token' | 'move';
  readonly at: number;
  /** Identifies the imported tokens: SHA-256, base64url. */
  readonly origin: string;
}

/** Everything that one login yielded. */
export interface Credential {
  /** The canonical URI of the MCP server. With the account it identifies the credential. */
  readonly resource: string;
  readonly account: string;
  /**
   * The value of the `resource` parameter (RFC 8707): the published string, byte for byte; absent if the server accepts
   * none.
   */
  readonly resourceParameter?: string | undefined;
  /** Grows by one with every change of the tokens. */
  readonly generation: number;
  /**
   * The claim under which the tokens were requested, if a lease can pass to another holder. Of two answers to one
   * refresh token, the answer of the later claim counts.
   */
  readonly epoch?: number | undefined;
  readonly server: AuthorizationServer;
  readonly client: ClientRegistration;
  /** Absent for a login by a person: its refresh token is the grant. */
  readonly grant?: Grant | undefined;
  /** The private key that the tokens are bound to (RFC 9449), PKCS #8 in PEM. */
  readonly dpopKey?: Secret | undefined;
  /** The leniencies that this login needed. */
  readonly leniencies?: readonly string[] | undefined;
  readonly tokens: Tokens;
  /** Space-separated, as sent in the authorization request; absent when none was sent. */
  readonly requestedScope?: string | undefined;
  /** Space-separated, as granted (RFC 6749 section 3.3); absent when the server never said. */
  readonly grantedScope?: string | undefined;
  /** When the person logged in, in milliseconds since the epoch. */
  readonly loggedInAt: number;
  /** Present when another machine sent it here. */
  readonly received?: { readonly mode: 'access-token' | 'fresh' | 'move'; readonly at: number } | undefined;
  /** Present when another program on this machine had made it. */
  readonly imported?: Imported | undefined;
  /** Present when the server refused the refresh token for good. */
  readonly loginRequired?: LoginRequired | undefined;
  /** Fields that a newer Holdfast has added to the record. A refresh by this version preserves them. */
  readonly unknown?: Secret | undefined;
}

/** Whether new tokens are available without a person: by the refresh token, or because the grant needs none. */
export function isRenewable({ tokens, grant }: Pick<Credential, 'tokens' | 'grant'>): boolean {
  return tokens.refreshToken !== undefined || grant !== undefined;
}

/** Whether the tokens are bound to a key (DPoP, RFC 9449), so that a copy of them alone is of no use. */
export function isKeyBound({ tokens, dpopKey }: Pick<Credential, 'tokens' | 'dpopKey'>): boolean {
  return dpopKey !== undefined || tokens.tokenType.toLowerCase() === 'dpop';
}

/**
 * Returns the canonical URI of an MCP server (RFC 8707 section 2, MCP authorization "Canonical Server URI"): lower-case
 * scheme and host, no default port, no trailing slash if the path is the root. Other paths stay unchanged.
 *
 * @throws InvalidArgumentError for input that is not such a URI; nothing is looked up
 */
export function canonicalResource(input: string): string {
  let url: URL;
  try {
    url = new URL(input);
  } catch {
    throw new InvalidArgumentError(`${quote(input)} is not a URL.`, {
      hint: 'Give the whole URL of the MCP server, such as https://mcp.example.com/mcp',
    });
  }
  if (url.protocol !== 'https:' && url.protocol !== 'http:') {
    throw new InvalidArgumentError(`${quote(input)} is not an http or https URL.`, {
      hint: 'Remote MCP servers are reached over https.',
    });
  }
  if (url.username !== '' || url.password !== '') {
    throw new InvalidArgumentError('The URL carries a user name or password.', {
      hint: 'Leave them out; Holdfast logs in by OAuth.',
    });
  }
  if (url.hash !== '' || input.includes('#')) {
    throw new InvalidArgumentError(`${quote(input)} has a fragment.`, {
      hint: 'An MCP server is named without one (RFC 8707 section 2): leave out the # and what follows.',
    });
  }
  if (url.protocol === 'http:' && !isLoopback(url)) {
    throw new InvalidArgumentError(`${quote(input)} is plain http to a host that is not this machine.`, {
      hint: `Tokens would cross the network in the clear. Use https://${url.host}${url.pathname}`,
    });
  }
  const canonical = url.pathname === '/' && url.search === '' ? url.origin : url.href;
  if (canonical.length > MAX_RESOURCE_LENGTH) {
    throw new InvalidArgumentError(
      `The URL is too long: it has ${canonical.length} characters, and at most ${MAX_RESOURCE_LENGTH} can be used.`,
      { hint: 'Shorten its query, or give the settings in it another way, such as headers.' },
    );
  }
  return canonical;
}

/**
 * The same resource with, or without, a trailing slash in its path: a different resource that is easily confused with
 * it.
 */
export function withOtherSlash(resource: string): string | undefined {
  const url = new URL(resource);
  if (url.pathname === '/') return undefined;
  url.pathname = url.pathname.endsWith('/') ? url.pathname.slice(0, -1) : `${url.pathname}/`;
  return url.pathname === '/' && url.search === '' ? url.origin : url.href;
}

/** Whether the URL's host is syntactically this machine (RFC 8252 section 7.3, and the name `localhost`). */
export function isLoopback(url: URL): boolean {
  return url.hostname === 'localhost' || url.hostname === '[::1]' || /^127(\.\d{1,3}){3}$/.test(url.hostname);
}

/**
 * Checks an account label: `default` unless given; 1 to 128 printable characters, so that labels that look alike are
 * the same label.
 */
export function accountLabel(account: string | undefined): string {
  const label = account ?? DEFAULT_ACCOUNT;
  if (label === '' || label.length > 128 || !isPrintable(label)) {
    throw new InvalidArgumentError(`${quote(label)} cannot name an account.`, {
      hint: 'Use 1 to 128 printable characters, such as --account work',
    });
  }
  return label;
}

/**
 * Identifies a credential: canonical resource, account and record id. It is made once from the caller's input; all code
 * below uses it unchanged.
 */
export class CredentialId {
  /** The canonical URI of the MCP server. */
  readonly resource: string;
  readonly account: string;
  readonly #recordId: string;

  private constructor(resource: string, account: string) {
    this.resource = resource;
    this.account = account;
    this.#recordId = recordId(resource, account);
  }

  /**
   * @param resource in any spelling
   * @throws InvalidArgumentError when either part cannot be used
   */
  static of(resource: string, account: string | undefined): CredentialId {
    return new CredentialId(canonicalResource(resource), accountLabel(account));
  }

  /** The id of a stored credential. */
  static ofStored({ resource, account }: Pick<Credential, 'resource' | 'account'>): CredentialId {
    return new CredentialId(resource, account);
  }

  /** base64url(SHA-256(resource, 0x00, account)). */
  get recordId(): string {
    return this.#recordId;
  }
}

/** The record id: base64url(SHA-256(resource, 0x00, account)). */
export function recordId(resource: string, account: string): string {
  return createHash('sha256').update(resource).update('\0').update(account).digest('base64url');
}
