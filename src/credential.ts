import { createHash } from 'node:crypto';
import * as v from 'valibot';
import { InvalidArgumentError, RecordDamagedError, RecordNewerError } from './errors.ts';
import { quote } from './quote.ts';
import { Secret } from './secret.ts';

/** The account label of a login that was given none. */
export const DEFAULT_ACCOUNT = 'default';

/** How the client proves itself at the token endpoint (RFC 7591 section 2, `token_endpoint_auth_method`). */
export type ClientAuthMethod = 'none' | 'client_secret_basic' | 'client_secret_post';

/** What later requests need to know of the authorization server; read from its metadata at login (RFC 8414). */
export interface AuthorizationServer {
  /** Exactly as the metadata document states it: compared as a string, never normalised (RFC 9207 section 2.4). */
  readonly issuer: string;
  readonly tokenEndpoint: string;
  readonly revocationEndpoint?: string | undefined;
}

/** The client's registration at one issuer; never used at another. */
export interface ClientRegistration {
  readonly clientId: string;
  readonly clientSecret?: Secret | undefined;
  /** When the secret lapses, in milliseconds since the epoch; absent when it does not. */
  readonly clientSecretExpiresAt?: number | undefined;
  readonly authMethod: ClientAuthMethod;
  /** The redirect URIs that were registered, in the registered form. */
  readonly redirectUris: readonly string[];
  readonly source: 'dynamic' | 'pre-registered' | 'metadata-document';
}

/** The tokens of one generation (RFC 6749 section 5.1). */
export interface Tokens {
  readonly accessToken: Secret;
  /** As the server named it; `Bearer` is compared without regard to case (RFC 6749 section 5.1). */
  readonly tokenType: string;
  readonly refreshToken?: Secret | undefined;
  /** When the request for them was sent, in milliseconds since the epoch. */
  readonly obtainedAt: number;
  /** The same moment by the kernel's clock of that boot, in milliseconds, where the platform names its boots. */
  readonly obtainedBoot?: { readonly id: string; readonly ms: number } | undefined;
  /** When the access token lapses, in milliseconds since the epoch; absent when the server did not say. */
  readonly expiresAt?: number | undefined;
}

/** Why only a person can make this credential work again. */
export interface LoginRequired {
  readonly reason: string;
  /** The server's `error` code (RFC 6749 section 5.2): after `invalid_client` the registration is of no use either. */
  readonly error?: string | undefined;
  /** Milliseconds since the epoch. */
  readonly since: number;
}

/** Everything that one login yielded. */
export interface Credential {
  /** The canonical URI of the MCP server: the identity of the credential, with the account. */
  readonly resource: string;
  readonly account: string;
  /** What is sent as `resource` (RFC 8707): the published string, byte for byte. */
  readonly resourceParameter: string;
  /** Grows by one with every change of the tokens. */
  readonly generation: number;
  readonly server: AuthorizationServer;
  readonly client: ClientRegistration;
  readonly tokens: Tokens;
  /** Space-separated, as sent in the authorization request; absent when none was sent. */
  readonly requestedScope?: string | undefined;
  /** Space-separated, as granted (RFC 6749 section 3.3); absent when the server never said. */
  readonly grantedScope?: string | undefined;
  /** When the person logged in, in milliseconds since the epoch. */
  readonly loggedInAt: number;
  /** Present when the server refused the refresh token for good. */
  readonly loginRequired?: LoginRequired | undefined;
}

/** Grows when a field changes its meaning. A record of a higher version is never read and never overwritten. */
const SCHEMA_VERSION = 1;

const secret = v.pipe(
  v.string(),
  v.nonEmpty(),
  v.transform((value) => new Secret(value)),
);
const time = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

const Record1 = v.object({
  v: v.literal(SCHEMA_VERSION),
  resource: v.string(),
  account: v.string(),
  resourceParameter: v.string(),
  generation: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
  server: v.object({
    issuer: v.string(),
    tokenEndpoint: v.string(),
    revocationEndpoint: v.optional(v.string()),
  }),
  client: v.object({
    clientId: v.string(),
    clientSecret: v.optional(secret),
    clientSecretExpiresAt: v.optional(time),
    authMethod: v.picklist(['none', 'client_secret_basic', 'client_secret_post']),
    redirectUris: v.array(v.string()),
    source: v.picklist(['dynamic', 'pre-registered', 'metadata-document']),
  }),
  tokens: v.object({
    accessToken: secret,
    tokenType: v.string(),
    refreshToken: v.optional(secret),
    obtainedAt: time,
    obtainedBoot: v.optional(v.object({ id: v.pipe(v.string(), v.nonEmpty()), ms: time })),
    expiresAt: v.optional(time),
  }),
  requestedScope: v.optional(v.string()),
  grantedScope: v.optional(v.string()),
  loggedInAt: time,
  loginRequired: v.optional(v.object({ reason: v.string(), error: v.optional(v.string()), since: time })),
});

/** The plaintext of a record: JSON in UTF-8. The caller seals it at once. */
export function serializeCredential(credential: Credential): Uint8Array {
  const plain = {
    v: SCHEMA_VERSION,
    ...credential,
    client: { ...credential.client, clientSecret: credential.client.clientSecret?.reveal() },
    tokens: {
      ...credential.tokens,
      accessToken: credential.tokens.accessToken.reveal(),
      refreshToken: credential.tokens.refreshToken?.reveal(),
    },
  };
  return Buffer.from(JSON.stringify(plain), 'utf8');
}

/**
 * Reads what `serializeCredential` wrote.
 *
 * @throws RecordNewerError for a record of a later schema
 * @throws RecordDamagedError when it is authentic and still not a credential
 */
export function parseCredential(plaintext: Uint8Array): Credential {
  let json: unknown;
  try {
    json = JSON.parse(Buffer.from(plaintext).toString('utf8'));
  } catch {
    // JSON.parse quotes its input in the message, so its error is no cause to keep.
    throw new RecordDamagedError('The record opens, but what it holds is not JSON.');
  }
  const version =
    typeof json === 'object' && json !== null && 'v' in json && typeof json.v === 'number' ? json.v : 0;
  if (version > SCHEMA_VERSION) {
    throw new RecordNewerError(
      `The record has schema version ${version}; this Holdfast reads up to ${SCHEMA_VERSION}.`,
      { hint: 'Update Holdfast: npm install --global holdfast@latest' },
    );
  }
  const parsed = v.safeParse(Record1, json);
  if (!parsed.success) {
    const where = parsed.issues.map((issue) => v.getDotPath(issue) ?? 'the whole').slice(0, 3);
    throw new RecordDamagedError(`The record opens, but is not a credential (${where.join(', ')}).`);
  }
  const { v: _version, ...credential } = parsed.output;
  return credential;
}

/**
 * The canonical URI of an MCP server (RFC 8707 section 2, MCP authorization "Canonical Server URI"): lower-case
 * scheme and host, no default port, no trailing slash where the path is the root. Other paths stay as they are.
 *
 * @throws InvalidArgumentError for what is not such a URI; nothing is looked up
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
  return url.pathname === '/' && url.search === '' ? url.origin : url.href;
}

/** Whether the URL's host is this machine by its very form (RFC 8252 section 7.3, and the name `localhost`). */
export function isLoopback(url: URL): boolean {
  return url.hostname === 'localhost' || url.hostname === '[::1]' || /^127(\.\d{1,3}){3}$/.test(url.hostname);
}

/** `default` unless given; no control characters, at most 128 characters. */
export function accountLabel(account: string | undefined): string {
  const label = account ?? DEFAULT_ACCOUNT;
  if (label === '' || label.length > 128 || /\p{Cc}/u.test(label)) {
    throw new InvalidArgumentError(`${quote(label)} cannot name an account.`, {
      hint: 'Use 1 to 128 characters without control characters, such as --account work',
    });
  }
  return label;
}

/** The record id: base64url(SHA-256(resource, 0x00, account)). */
export function recordId(resource: string, account: string): string {
  return createHash('sha256').update(resource).update('\0').update(account).digest('base64url');
}
