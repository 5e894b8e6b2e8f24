/** One scope (RFC 6749 section 3.3). Longer than this is none that a server means. */
const SCOPE = /^[\x21\x23-\x5b\x5d-\x7e]{1,256}$/;

export function isScope(text: string): boolean {
  return SCOPE.test(text);
}

/** The scopes in a server's space-separated list, each once. What is no scope is left out. */
export function scopesIn(list: string): string[] {
  return [...new Set(list.split(' ').filter(isScope))];
}
