/*
 * URLs as they are shown: in lists, messages, errors, logs. Some MCP servers know their user by a key in the URL, in its path
 * or its query, so such a URL is a secret. Data for programs (`--json`) and the URLs that a person has to open stay whole.
 */

/** Letters and digits in a row: what a key has long ones of, and a word does not. */
const RUNS = /[a-z0-9]+/gi;

/** The name of a query parameter that may be shown; a key can stand without one. */
const PARAMETER_NAME = /^[\w.~[\]-]{1,40}$/;

/** A short word or number: too little for a key. */
const PLAIN_VALUE = /^([a-z]{1,8}|\d{1,4})$/i;
const SECRET_NAME = /key|token|secret|pass|pwd|pin|auth|sig|code|state|session|cred|user|login/i;

/** What stands for a user name and a password where a hint shows the form of a URL; the words themselves are no secret. */
const PLACEHOLDER = /^user(:password)?@$/i;

const URL_IN_TEXT = /\b[a-z][a-z0-9+.-]{1,15}:\/\/[^\s"'`<>\\]+/gi;
const AFTER_URL = '.,;:!?)]}';

/**
 * The URL without what may be a secret: no user name or password, no value of a query that may hold a key, no fragment, and
 * of a path segment that looks like a key only its beginning. A `…` stands for what is hidden.
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

/** The text with every URL in it as `displayUrl` shows it. */
export function withDisplayUrls(text: string): string {
  if (!text.includes('://')) return text;
  return text.replace(URL_IN_TEXT, (match) => {
    let end = match.length;
    while (end > 0 && AFTER_URL.includes(match.charAt(end - 1))) end -= 1;
    return `${displayUrl(match.slice(0, end))}${match.slice(end)}`;
  });
}

/** All of a query or nothing of it: next to one key, nobody can tell what the other values are. */
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

/** Whether a parameter is a setting such as `page=2` or `mode=full`: a command with it can be pasted only if it is shown. */
function isPlain(name: string, value: string): boolean {
  return PLAIN_VALUE.test(value) && !SECRET_NAME.test(name);
}

function displaySegment(segment: string): string {
  return looksLikeKey(segment) ? `${segment.slice(0, 4)}…` : segment;
}

/**
 * Whether a path segment is random rather than a word: a long run of letters mixed with digits or of both cases, or several
 * mixed runs, as base64url and UUIDs have. It errs towards yes for long ones: what is hidden is only not shown.
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
