/*
 * The challenges of a 401 (RFC 9110 section 11.6.1). One header may hold several challenges, of several schemes. The
 * same comma separates challenges and parameters. The parser skips text that does not parse: a server's typing error
 * must not prevent a login.
 */

export interface Challenge {
  /** In lower case: schemes are case-insensitive. */
  readonly scheme: string;
  /** Names in lower case, values unquoted. If a name appears twice, the first one counts. */
  readonly parameters: ReadonlyMap<string, string>;
}

/** The members that MCP reads from a `Bearer` challenge (RFC 6750 section 3, RFC 9728 section 5.1). */
export interface BearerChallenge {
  readonly resourceMetadata?: string | undefined;
  readonly scope?: string | undefined;
  readonly error?: string | undefined;
}

/** Longer than any real header; the parser ignores the rest. */
const MAX_LENGTH = 16 * 1024;

const TOKEN = /[!#$%&'*+.^_`|~\w-]+/y;
const SPACE = /[ \t]*/y;
const SEPARATORS = /[ \t,]*/y;
/** Accepts more than a token may hold: servers often forget the quotes around a URL. */
const UNQUOTED = /[^\s,"]+/y;
const QUOTED = /"((?:[^"\\]|\\.)*)"/sy;
const TOKEN68 = /[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$))/y;

/** Returns every challenge of the header, in order. Never throws. Its run time is linear in the header's length. */
export function parseChallenges(value: string): Challenge[] {
  const header = value.slice(0, MAX_LENGTH);
  const challenges: { scheme: string; parameters: Map<string, string> }[] = [];
  let at = 0;
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    const match = pattern.exec(header);
    if (match !== null) at = pattern.lastIndex;
    return match;
  };
  while (at < header.length) {
    take(SEPARATORS);
    if (at >= header.length) break;
    const word = take(TOKEN)?.[0];
    if (word === undefined) {
      skipToComma();
      continue;
    }
    const afterWord = at;
    take(SPACE);
    const current = challenges.at(-1);
    if (header[at] === '=' && current !== undefined) {
      at += 1;
      take(SPACE);
      const text = parameterValue();
      const name = word.toLowerCase();
      if (text !== undefined && !current.parameters.has(name)) current.parameters.set(name, text);
      continue;
    }
    if (header[at] === '=') {
      skipToComma();
      continue;
    }
    challenges.push({ scheme: word.toLowerCase(), parameters: new Map() });
    // `Negotiate YII=`: one opaque value in place of parameters. A parameter has more text after its `=`.
    if (at > afterWord) take(TOKEN68);
  }
  return challenges;

  function parameterValue(): string | undefined {
    if (header[at] !== '"') return take(UNQUOTED)?.[0] ?? skipToComma();
    const quoted = take(QUOTED);
    if (quoted === null) {
      // The quote is never closed, so the rest of the header cannot be told apart from the value.
      at = header.length;
      return undefined;
    }
    return quoted[1]?.replace(/\\(.)/gs, '$1');
  }

  function skipToComma(): undefined {
    const comma = header.indexOf(',', at);
    at = comma === -1 ? header.length : comma + 1;
  }
}

/**
 * Returns the `Bearer` challenge of a `WWW-Authenticate` header, else the `DPoP` one (RFC 9449 section 7.1). Of
 * several, it prefers the first that names resource metadata.
 */
export function bearerChallenge(header: string | null): BearerChallenge | undefined {
  const challenges = parseChallenges(header ?? '');
  const of = (name: string) => challenges.filter(({ scheme }) => scheme === name);
  const candidates = [...of('bearer'), ...of('dpop')];
  const found = candidates.find(({ parameters }) => parameters.has('resource_metadata')) ?? candidates[0];
  if (found === undefined) return undefined;
  return {
    resourceMetadata: found.parameters.get('resource_metadata'),
    scope: found.parameters.get('scope'),
    error: found.parameters.get('error'),
  };
}
