/*
 * The challenges of a 401 (RFC 9110 section 11.6.1). One header may hold several, of several schemes, separated by the
 * same comma that separates their parameters. What does not parse is passed by: a server's typing error must not keep
 * anyone from logging in.
 */

export interface Challenge {
  /** In lower case: schemes are compared without regard to case. */
  readonly scheme: string;
  /** Names in lower case, values unquoted. Of a name that comes twice, the first counts. */
  readonly parameters: ReadonlyMap<string, string>;
}

/** What MCP reads from a `Bearer` challenge (RFC 6750 section 3, RFC 9728 section 5.1). */
export interface BearerChallenge {
  readonly resourceMetadata?: string | undefined;
  readonly scope?: string | undefined;
  readonly error?: string | undefined;
}

/** Longer than any real header; the rest is not read. */
const MAX_LENGTH = 16 * 1024;

const TOKEN = /[!#$%&'*+.^_`|~\w-]+/y;
const SPACE = /[ \t]*/y;
const SEPARATORS = /[ \t,]*/y;
/** More than a token may hold: a URL without its quotes is a common slip. */
const UNQUOTED = /[^\s,"]+/y;
const QUOTED = /"((?:[^"\\]|\\.)*)"/sy;
const TOKEN68 = /[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$))/y;

/** Every challenge in the header's value, in order. Never throws; its time grows with the length alone. */
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
    // `Negotiate YII=`: one opaque value in place of parameters. A parameter would have more after its `=`.
    if (at > afterWord) take(TOKEN68);
  }
  return challenges;

  function parameterValue(): string | undefined {
    if (header[at] !== '"') return take(UNQUOTED)?.[0] ?? skipToComma();
    const quoted = take(QUOTED);
    if (quoted === null) {
      // Never closed: what follows cannot be told from the value.
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
 * The `Bearer` challenge in a `WWW-Authenticate` header, or the `DPoP` one where there is none (RFC 9449 section 7.1); the
 * first that names its metadata, where there are several.
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
