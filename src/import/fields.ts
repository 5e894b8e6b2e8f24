import { Secret } from '../secret.ts';
import type { ExternalClient, ExternalLogin } from '../transfer/types.ts';

/*
 * Reads the fields of other programs' files. A field of the wrong type counts as missing: a file from an unknown
 * version must not stop the import of the rest.
 */

export type Fields = Readonly<Record<string, unknown>>;

const LATEST_MS = 8_640_000_000_000_000;
const MAX_TEXT = 65_536;

export function objectOf(value: unknown): Fields | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : undefined;
}

export function objectAt(value: unknown, ...keys: readonly string[]): Fields | undefined {
  let at = objectOf(value);
  for (const key of keys) at = at !== undefined && Object.hasOwn(at, key) ? objectOf(at[key]) : undefined;
  return at;
}

/** A text that is not empty. */
export function textAt(fields: Fields | undefined, key: string): string | undefined {
  const value = fields !== undefined && Object.hasOwn(fields, key) ? fields[key] : undefined;
  return typeof value === 'string' && value !== '' && value.length <= MAX_TEXT ? value : undefined;
}

export function secretAt(fields: Fields | undefined, key: string): Secret | undefined {
  const value = textAt(fields, key);
  return value === undefined ? undefined : new Secret(value);
}

/** A time in milliseconds since the epoch. 0 gives `undefined`, since it means "no time" in every source. */
export function momentAt(
  fields: Fields | undefined,
  key: string,
  unit: 'milliseconds' | 'seconds' | 'iso' = 'milliseconds',
): number | undefined {
  const value = fields?.[key];
  const moment =
    unit === 'iso'
      ? Date.parse(typeof value === 'string' ? value : '')
      : Number(typeof value === 'number' ? value : Number.NaN) * (unit === 'seconds' ? 1000 : 1);
  return moment > 0 && moment <= LATEST_MS ? Math.floor(moment) : undefined;
}

export type ExternalTokens = Pick<
  ExternalLogin,
  'accessToken' | 'refreshToken' | 'tokenType' | 'obtainedAt' | 'expiresAt' | 'scope'
>;

/**
 * Tokens as the token endpoint sent them (RFC 6749 section 5.1). The MCP SDK passes them to its store in this form.
 *
 * @param writtenAt when the source wrote them, in milliseconds since the epoch: `expires_in` counts from then. If it is
 * unknown, a token with a limited life counts as expired
 */
export function wireTokens(
  tokens: Fields | undefined,
  writtenAt: number | undefined,
): ExternalTokens | undefined {
  const accessToken = secretAt(tokens, 'access_token');
  if (accessToken === undefined) return undefined;
  const life = tokens?.['expires_in'];
  const lifeMs = typeof life === 'number' && life >= 0 ? life * 1000 : undefined;
  const expiresAt =
    momentAt(tokens, 'expires_at') ??
    (lifeMs === undefined ? undefined : writtenAt === undefined ? Date.now() : writtenAt + lifeMs);
  return {
    accessToken,
    refreshToken: secretAt(tokens, 'refresh_token'),
    tokenType: textAt(tokens, 'token_type'),
    obtainedAt: writtenAt,
    expiresAt: expiresAt === undefined ? undefined : Math.min(LATEST_MS, Math.floor(expiresAt)),
    scope: textAt(tokens, 'scope'),
  };
}

/** A client as the registration endpoint sent it (RFC 7591 section 3.2.1). */
export function wireClient(fields: Fields | undefined): ExternalClient | undefined {
  const id = textAt(fields, 'client_id');
  if (id === undefined) return undefined;
  const uris = fields?.['redirect_uris'];
  return {
    id,
    secret: secretAt(fields, 'client_secret'),
    secretExpiresAt: momentAt(fields, 'client_secret_expires_at', 'seconds'),
    authMethod: textAt(fields, 'token_endpoint_auth_method'),
    redirectUris: Array.isArray(uris) ? uris.filter((uri) => typeof uri === 'string') : [],
  };
}

/** The issuer that newer MCP SDKs save with the tokens and with the client. */
export function issuerIn(...records: readonly (Fields | undefined)[]): string | undefined {
  return records.map((fields) => textAt(fields, 'issuer')).find((issuer) => issuer !== undefined);
}

/** Scopes, from a text or a list. */
export function scopeAt(fields: Fields | undefined, key: string): string | undefined {
  const value = fields?.[key];
  if (!Array.isArray(value)) return textAt(fields, key);
  return value.filter((one) => typeof one === 'string').join(' ') || undefined;
}
