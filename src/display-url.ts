/*
 * Shortens URLs for display in lists, messages, errors and logs. Some MCP servers identify their user by a key in the
 * URL's path or query, so such a URL is a secret. Data for programs (`--json`) and URLs that a person has to open stay
 * complete.
 */

/** Runs of letters and digits. A key has long runs that mix them; a word does not. */
const RUNS = /[a-z0-9]+/gi;

/** The name of a query parameter that may be shown. A key can stand without a name. */
const PARAMETER_NAME = /^[\w.~[\]-]{1,40}$/;

/** A short word or number, too short for a key. */
const PLAIN_VALUE = /^([a-z]{1,8}|\d{1,4})$/i;
const SECRET_NAME = /key|token|secret|pass|pwd|pin|auth|sig|code|state|session|cred|user|login/i;

/** The placeholder for a user name and a password in a hint that shows the form of a URL; it is not a secret. */
const PLACEHOLDER = /^user(:password)?@$/i;

const URL_IN_TEXT = /\b[a-z][a-z0-9+.-]{1,15}:\/\/[^\s"'`<>\\]+/gi;
const AFTER_URL = '.,;:!?)]}';

/**
 * Returns the URL without the parts that may be secret: user name, password, a query whose values may hold a key, and
 * the fragment. A path segment that looks like a key keeps only its beginning. A `…` replaces what is hidden.
 */
export function displayUrl(url: string): string {
  const [, scheme = '', authority = '', path = '', query = '', fragment = ''] =
    /^([a-z][a-z0-9+.-]*:\/\/)([^/?#]*)([^?#]*)(\?[^#]*)?(#.*)?$/is.exec(url) ?? [];
  if (scheme === '') return url;
  const user = authority.slice(0, authority.lastIndexOf('@') + 1);
  const host = PLACEHOLDER.test(user) ? authority : authority.slice(user.length);
  const isHttp = /^https?:/i.test(scheme);
  const shown = isHttp ? path.split('/').map(displaySegment).join('/') : path;
  return `${scheme}${host}${shown}${displayQuery(query)}${fragment.length > 1 ? '#…' : fragment}`;
}

/** Applies `displayUrl` to every URL in the text. */
export function withDisplayUrls(text: string): string {
  if (!text.includes('://')) return text;
  return text.replace(URL_IN_TEXT, (match) => {
    let end = match.length;
    while (end > 0 && AFTER_URL.includes(match.charAt(end - 1))) end -= 1;
    return `${displayUrl(match.slice(0, end))}${match.slice(end)}`;
  });
}

/** Shows all values of a query or none: next to one key, the other values may be secret too. */
function displayQuery(query: string): string {
  if (query.length < 2) return query;
  const parameters = query
    .slice(1)
    .split('&')
    .map((parameter) => {
      const [name = '', ...value] = parameter.split('=');
      const isName = value.length > 0 && PARAMETER_NAME.test(name) && !looksLikeKey(name);
      return { shown: isName ? `${name}=…` : '…', isPlain: isName && isPlain(name, value.join('=')) };
    });
  if (parameters.every((parameter) => parameter.isPlain)) return query;
  return `?${parameters.map(({ shown }) => shown).join('&')}`;
}

/** Whether a parameter is a setting such as `page=2` or `mode=full`. A command must show it to be pasted. */
function isPlain(name: string, value: string): boolean {
  return PLAIN_VALUE.test(value) && !SECRET_NAME.test(name);
}

function displaySegment(segment: string): string {
  return looksLikeKey(segment) ? `${segment.slice(0, 4)}…` : segment;
}

/**
 * Whether a path segment is random rather than a word. A random segment has a long run of letters mixed with digits or
 * cases, or several mixed runs, like base64url and UUIDs. Long segments count as random in doubt, because hiding one
 * does little harm.
 */
function looksLikeKey(segment: string): boolean {
  // An escaped character, such as the + and / of base64, does not end a run.
  const runs = segment.replace(/%[0-9a-f]{2}/gi, '').match(RUNS) ?? [];
  const mixed = runs.filter((run) => /[a-z]/i.test(run) && /\d/.test(run));
  if (mixed.some((run) => run.length >= 16)) return true;
  if (runs.some((run) => run.length >= 24 && (/[a-z]/.test(run) === /[A-Z]/.test(run) || run.length >= 32)))
    return true;
  return segment.length >= 20 && mixed.reduce((sum, run) => sum + run.length, 0) >= 12 && mixed.length >= 2;
}
