/*
 * The syntax of OAuth values in records, headers and requests (RFC 6749 appendix A, RFC 6750 section 2.1). The same
 * rules hold for a server's answer and for every other source of a credential.
 */

/** A token is a line of visible ASCII; a longer one fits into no request header. */
const TOKEN = /^[\x21-\x7e]{1,65536}$/;

/** VSCHAR (RFC 6749 appendix A.1). */
const CLIENT_ID = /^[\x20-\x7e]{1,2048}$/;

/** One scope (RFC 6749 section 3.3). No real scope is longer. */
const SCOPE = /^[\x21\x23-\x5b\x5d-\x7e]{1,256}$/;

/** In characters. Every record of the login stores the scopes that a server grants. */
const LONGEST_SCOPE_LIST = 16 * 1024;

/** Ten years, in seconds. A longer lifetime is a mistake, and its date might be invalid. */
export const LONGEST_TOKEN_LIFE_S = 315_360_000;

export function isToken(value: unknown): value is string {
  return typeof value === 'string' && TOKEN.test(value);
}

export function isClientId(text: string): boolean {
  return CLIENT_ID.test(text);
}

export function isScope(text: string): boolean {
  return SCOPE.test(text);
}

/**
 * Returns the scopes of a space-separated list, without duplicates. It ignores invalid scopes, and everything after 16
 * KiB.
 */
export function scopesIn(list: string): string[] {
  return [...new Set(list.slice(0, LONGEST_SCOPE_LIST).split(' ').filter(isScope))];
}

/** Normalises a token type; `undefined` for one that must not be used (RFC 6749 section 7.1). */
export function knownTokenType(type: string): 'Bearer' | 'DPoP' | undefined {
  const name = type.toLowerCase();
  return name === 'bearer' ? 'Bearer' : name === 'dpop' ? 'DPoP' : undefined;
}
