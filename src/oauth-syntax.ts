/*
 * The forms of what OAuth puts into records, headers and requests (RFC 6749 appendix A, RFC 6750 section 2.1): the same
 * rules for a server's answer and for whatever else brings a credential.
 */

/** A token is a line of visible ASCII; longer than this fits no request header. */
const TOKEN = /^[\x21-\x7e]{1,65536}$/;

/** VSCHAR (RFC 6749 appendix A.1). */
const CLIENT_ID = /^[\x20-\x7e]{1,2048}$/;

/** One scope (RFC 6749 section 3.3). Longer than this is none that a server means. */
const SCOPE = /^[\x21\x23-\x5b\x5d-\x7e]{1,256}$/;

/** In characters. What a server grants is kept in every record of the login. */
const LONGEST_SCOPE_LIST = 16 * 1024;

/** Ten years, in seconds: a lifetime beyond is a mistake, and its date might not be a date. */
export const LONGEST_LIFE_S = 315_360_000;

export function isToken(value: unknown): value is string {
  return typeof value === 'string' && TOKEN.test(value);
}

export function isClientId(text: string): boolean {
  return CLIENT_ID.test(text);
}

export function isScope(text: string): boolean {
  return SCOPE.test(text);
}

/** The scopes in a space-separated list, each once. What is no scope is left out, and so is what comes after 16 KiB. */
export function scopesIn(list: string): string[] {
  return [...new Set(list.slice(0, LONGEST_SCOPE_LIST).split(' ').filter(isScope))];
}

/** A token type as this code spells it; `undefined` for one that must not be used (RFC 6749 section 7.1). */
export function knownTokenType(type: string): 'Bearer' | 'DPoP' | undefined {
  const name = type.toLowerCase();
  return name === 'bearer' ? 'Bearer' : name === 'dpop' ? 'DPoP' : undefined;
}
