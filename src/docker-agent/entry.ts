import { createHash } from 'node:crypto';
import * as v from 'valibot';
import { type Credential, canonicalResource, DEFAULT_ACCOUNT, type Tokens } from '../credential.ts';
import { parseCredential, serializeCredential } from '../credential-record.ts';
import { RecordDamagedError } from '../errors.ts';
import { isClientId, isToken, knownTokenType, scopesIn } from '../oauth-syntax.ts';
import { quote } from '../quote.ts';
import { Secret } from '../secret.ts';
import { isObject } from './bundle.ts';

/*
 * Converts between an entry of docker-agent's bundle and a credential. Only the entry holds the tokens. The sidecar
 * holds everything that the entry cannot, as states; each state names its tokens by their digest. When docker-agent has
 * changed the entry since, no state matches. Then `credentialOf` takes the parts that still hold from the last state.
 */

/** A state in the sidecar of an entry: a credential without its tokens, and the digest of those tokens. */
export interface State {
  readonly tokens: string;
  readonly credential: Credential;
}

const optionalText = v.nullish(v.string(), '');

/** In Go's JSON, an absent field and an empty one are the same. */
const Entry = v.object({
  access_token: v.pipe(v.string(), v.nonEmpty()),
  token_type: optionalText,
  expires_in: v.nullish(v.number(), 0),
  refresh_token: optionalText,
  scope: optionalText,
  expires_at: optionalText,
  client_id: optionalText,
  client_secret: optionalText,
  auth_server: optionalText,
  requested_scopes: v.nullish(v.array(v.string()), []),
});
type Entry = v.InferOutput<typeof Entry>;

/** docker-agent stores a server's answer unchecked. Here its values go into headers, requests and lists. */
const Wellformed = v.object({
  ...Entry.entries,
  access_token: v.pipe(
    v.string(),
    v.check((text) => isToken(text)),
  ),
  refresh_token: v.pipe(
    optionalText,
    v.check((token) => token === '' || isToken(token)),
  ),
  token_type: v.pipe(
    optionalText,
    v.check((type) => type === '' || knownTokenType(type) !== undefined),
  ),
  client_id: v.pipe(
    optionalText,
    v.check((id) => id === '' || isClientId(id)),
  ),
  client_secret: v.pipe(optionalText, v.maxLength(65_536)),
  auth_server: v.pipe(optionalText, v.regex(/^[\x21-\x7e]{0,2048}$/)),
});

/** Go's zero time: the expiry is unknown. */
const ZERO_TIME = '0001-01-01T00:00:00Z';

/** Go's form of RFC 3339: the zone is Z or an offset, and the fraction has up to nine digits. */
const GO_TIME = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/;

/** The assumed lifetime, in milliseconds, of an entry that has an expiry but no lifetime. */
const USUAL_LIFE_MS = 3_600_000;

/** The placeholder for the tokens in a state. */
const ELSEWHERE = new Secret('in the bundle');

/**
 * Builds the credential from an entry and its sidecar. Where only docker-agent has ever logged in, the server's
 * endpoints are unknown and `tokenEndpoint` is empty.
 *
 * @param states the newest first
 * @throws RecordDamagedError when the entry is not one of docker-agent's; its content is never in the message
 */
export function credentialOf(url: string, json: unknown, states: readonly State[]): Credential {
  const entry = parseEntry(url, json);
  const state = entryStateOf(entry, states);
  const secrets = {
    accessToken: new Secret(entry.access_token),
    refreshToken: entry.refresh_token === '' ? undefined : new Secret(entry.refresh_token),
  };
  if (state !== undefined) {
    return { ...state.credential, tokens: { ...state.credential.tokens, ...secrets } };
  }
  const last = states[0]?.credential;
  const own = ownCredential(url, entry, secrets);
  if (last === undefined) return own;
  const generation = last.generation + 1;
  if (!isOfSameClient(entry, last)) return { ...own, generation };
  const { loginRequired: _ended, dpopKey: _bound, received: _sent, ...rest } = last;
  return {
    ...rest,
    generation,
    tokens: own.tokens,
    grantedScope: own.grantedScope ?? rest.grantedScope,
  };
}

/** Builds the entry for a credential. It keeps the unknown fields of the earlier entry. */
export function entryOf(credential: Credential, before: unknown): Readonly<Record<string, unknown>> {
  const { tokens, client, server, grantedScope, requestedScope } = credential;
  const { expiresAt, obtainedAt } = tokens;
  const known: Readonly<Record<keyof Entry, unknown>> = {
    access_token: tokens.accessToken.reveal(),
    token_type: tokens.tokenType,
    expires_in:
      expiresAt === undefined ? undefined : Math.max(0, Math.round((expiresAt - obtainedAt) / 1000)),
    refresh_token: tokens.refreshToken?.reveal(),
    scope: grantedScope || undefined,
    expires_at: expiresAt === undefined ? ZERO_TIME : new Date(expiresAt).toISOString(),
    client_id: client.clientId || undefined,
    client_secret: client.clientSecret?.reveal(),
    auth_server: server.issuer || undefined,
    requested_scopes: requestedScope?.split(' ').filter((scope) => scope !== ''),
  };
  const merged = new Map(Object.entries({ ...(isObject(before) ? before : {}), ...known }));
  return Object.fromEntries([...merged].filter(([, value]) => value !== undefined));
}

/** Builds the state that belongs to the credential's tokens. */
export function stateFor(credential: Credential): State {
  const { tokens } = credential;
  return {
    tokens: digest(tokens.accessToken.reveal(), tokens.refreshToken?.reveal() ?? ''),
    credential: withoutTokens(credential),
  };
}

/** Returns the plaintext of the sidecar of an entry. */
export function serializeStates(states: readonly State[]): Uint8Array {
  const plain = states.map(({ tokens, credential }) => ({
    tokens,
    credential: Buffer.from(serializeCredential(credential)).toString('utf8'),
  }));
  return Buffer.from(JSON.stringify({ v: 1, states: plain }), 'utf8');
}

const States = v.object({
  v: v.literal(1),
  states: v.array(v.object({ tokens: v.string(), credential: v.string() })),
});

/**
 * Parses the plaintext of a sidecar.
 *
 * @throws RecordDamagedError when it is authentic but `serializeStates` did not write it
 * @throws RecordNewerError
 */
export function parseStates(plaintext: Uint8Array): readonly State[] {
  let json: unknown;
  try {
    json = JSON.parse(Buffer.from(plaintext).toString('utf8'));
  } catch {
    json = undefined;
  }
  const parsed = v.safeParse(States, json);
  if (!parsed.success)
    throw new RecordDamagedError('What lies beside docker-agent’s entry is not of this format.');
  return parsed.output.states.map(({ tokens, credential }) => ({
    tokens,
    credential: parseCredential(Buffer.from(credential, 'utf8')),
  }));
}

/** Whether this is an entry and the state belongs to its tokens. */
export function belongs(json: unknown, state: State): boolean {
  const parsed = v.safeParse(Entry, json);
  return parsed.success && entryStateOf(parsed.output, [state]) !== undefined;
}

function parseEntry(url: string, json: unknown): Entry {
  const parsed = v.safeParse(Wellformed, json);
  if (parsed.success) return parsed.output;
  const where = parsed.issues.map((issue) => v.getDotPath(issue) ?? 'the whole').slice(0, 3);
  throw new RecordDamagedError(
    `docker-agent’s entry for ${quote(url)} is not of its format (${where.join(', ')}).`,
  );
}

function entryStateOf(entry: Entry, states: readonly State[]): State | undefined {
  const own = digest(entry.access_token, entry.refresh_token);
  return states.find(({ tokens }) => tokens === own);
}

function digest(accessToken: string, refreshToken: string): string {
  return createHash('sha256').update(accessToken).update('\0').update(refreshToken).digest('base64url');
}

function withoutTokens(credential: Credential): Credential {
  const { refreshToken } = credential.tokens;
  return {
    ...credential,
    tokens: {
      ...credential.tokens,
      accessToken: ELSEWHERE,
      refreshToken: refreshToken === undefined ? undefined : ELSEWHERE,
    },
  };
}

/** Builds the credential from docker-agent's entry alone. */
function ownCredential(
  url: string,
  entry: Entry,
  secrets: Pick<Tokens, 'accessToken' | 'refreshToken'>,
): Credential {
  const resource = canonicalResource(url);
  const expiresAt = timeOf(entry.expires_at);
  const life = entry.expires_in > 0 ? entry.expires_in * 1000 : USUAL_LIFE_MS;
  const obtainedAt = expiresAt === undefined ? 0 : Math.max(0, Math.round(expiresAt - life));
  const { client_secret: clientSecret } = entry;
  return {
    resource,
    account: DEFAULT_ACCOUNT,
    resourceParameter: resource,
    generation: 1,
    server: { issuer: entry.auth_server, tokenEndpoint: '' },
    client: {
      clientId: entry.client_id,
      clientSecret: clientSecret === '' ? undefined : new Secret(clientSecret),
      authMethod: clientSecret === '' ? 'none' : 'client_secret_post',
      redirectUris: [],
      source: 'dynamic',
    },
    tokens: {
      ...secrets,
      tokenType: knownTokenType(entry.token_type) ?? 'Bearer',
      obtainedAt,
      expiresAt: expiresAt === undefined ? undefined : Math.max(0, expiresAt),
    },
    requestedScope: scopesIn(entry.requested_scopes.join(' ')).join(' ') || undefined,
    grantedScope: scopesIn(entry.scope).join(' ') || undefined,
    loggedInAt: obtainedAt,
  };
}

/** Returns milliseconds since the epoch; `undefined` for the zero time in any zone, and for a malformed time. */
function timeOf(text: string): number | undefined {
  const [, seconds, fraction = '', zone] = GO_TIME.exec(text) ?? [];
  if (seconds === undefined || zone === undefined) return undefined;
  const time = Date.parse(`${seconds}.${fraction.padEnd(3, '0').slice(0, 3)}${zone}`);
  return Number.isNaN(time) || time === Date.parse(ZERO_TIME) ? undefined : time;
}

/**
 * Whether the entry has the same client and server as our credential. Then docker-agent has refreshed or logged in
 * again.
 */
function isOfSameClient(entry: Entry, { client, server }: Credential): boolean {
  const sameServer =
    entry.auth_server === '' || entry.auth_server.replace(/\/$/, '') === server.issuer.replace(/\/$/, '');
  return entry.client_id === client.clientId && sameServer;
}
