import { canonicalResource, DEFAULT_ACCOUNT } from '../credential.ts';
import { InvalidArgumentError } from '../errors.ts';
import type { Entry } from './config-format.ts';

/** An entry of Holdfast: its login, and how it starts Holdfast. */
export interface OwnEntry {
  readonly resource: string;
  readonly account: string;
  /**
   * `proxy`: a stdio server. `headers`: the client connects to the server itself, and asks Holdfast for the headers.
   */
  readonly kind: 'proxy' | 'headers';
  /** All words after `proxy`, including the user's own options. */
  readonly rest: readonly string[];
}

/** The login that an entry uses. */
export interface Login {
  /** In canonical form. */
  readonly resource: string;
  readonly account: string;
}

/** The arguments of `holdfast` in a stdio entry. */
export function proxyArguments({ resource, account }: Login): string[] {
  return ['proxy', resource, ...accountArguments(account)];
}

/**
 * The command line for a client that runs a helper in a shell. It works the same in sh and in cmd.exe, since machines
 * may share the file.
 *
 * @throws InvalidArgumentError if a part of it would not work the same
 */
export function helperCommand(program: readonly string[], { resource, account }: Login): string {
  return [...program, 'headers', resource, '--json', ...accountArguments(account)].map(shellWord).join(' ');
}

/**
 * Parses an entry that starts Holdfast; `undefined` for another program's entry.
 *
 * @param program the words that start Holdfast here, under any name
 */
export function ownEntry(entry: unknown, program: readonly string[]): OwnEntry | undefined {
  if (typeof entry !== 'object' || entry === null) return undefined;
  const { command, args, headersHelper } = entry as Entry;
  if (typeof headersHelper === 'string') return fromWords(shellWords(headersHelper), 'headers', program);
  const words = [command, args].flat().filter((word) => word !== undefined);
  return words.every((word) => typeof word === 'string') ? fromWords(words, 'proxy', program) : undefined;
}

/**
 * The names of the entry's keys, variables and options that Holdfast does not write. Their values may be secrets. The
 * file's author may have added them to run code in Holdfast, or to redirect its requests.
 *
 * @param keys the keys that Holdfast writes
 */
export function additionsIn(entry: Entry, own: OwnEntry, keys: readonly string[]): readonly string[] {
  const others = Object.entries(entry).filter(([key]) => !keys.includes(key));
  return [
    ...others.flatMap(([key, value]) =>
      key === 'env' && typeof value === 'object' && value !== null && !Array.isArray(value)
        ? Object.keys(value).map((name) => `env ${name}`)
        : [key],
    ),
    ...addedWords(own),
  ];
}

function addedWords({ rest, resource, kind }: OwnEntry): string[] {
  const added: string[] = [];
  let isUrlSeen = false;
  for (const [at, word] of rest.entries()) {
    const before = rest[at - 1] ?? '';
    const isValue = /^-[^=]*$/.test(before) && before !== '--json';
    if (word.startsWith('-')) {
      const name = word.split('=')[0] ?? word;
      const isOurs = name === '--account' || name === '-a' || (name === '--json' && kind === 'headers');
      if (!isOurs) added.push(name);
    } else if (!isUrlSeen && resourceOf(word) === resource) isUrlSeen = true;
    else if (!isValue) added.push('another argument');
  }
  return added;
}

function fromWords(
  words: readonly string[],
  kind: OwnEntry['kind'],
  program: readonly string[],
): OwnEntry | undefined {
  const at = words.findIndex(
    (word, index) =>
      word === kind &&
      index > 0 &&
      (/^holdfast(\.\w+|@[\w.^~-]+)?$/i.test(words[index - 1]?.split(/[\\/]/).at(-1) ?? '') ||
        (index === program.length && program.every((one, place) => one === words[place]))),
  );
  if (at === -1) return undefined;
  const rest = words.slice(at + 1);
  const resource = rest.map(resourceOf).find((one) => one !== undefined);
  if (resource === undefined) return undefined;
  return { resource, account: accountIn(rest), kind, rest };
}

function resourceOf(word: string): string | undefined {
  try {
    return /^https?:/i.test(word) ? canonicalResource(word) : undefined;
  } catch {
    return undefined;
  }
}

function accountIn(words: readonly string[]): string {
  let account = DEFAULT_ACCOUNT;
  for (const [index, word] of words.entries()) {
    if (word === '--account' || word === '-a') account = words[index + 1] ?? account;
    else if (word.startsWith('--account=')) account = word.slice('--account='.length);
  }
  return account;
}

function accountArguments(account: string): string[] {
  // Uses `=`, so that a label with a leading dash is not read as an option.
  return account === DEFAULT_ACCOUNT ? [] : [`--account=${account}`];
}

function shellWord(word: string): string {
  if (/^[\w@+=:,./~-]+$/.test(word) && !word.startsWith('~')) return word;
  const forbidden = process.platform === 'win32' ? /["%$`!^]/ : /["%$`!^\\]/;
  if (!forbidden.test(word)) return `"${word}"`;
  throw new InvalidArgumentError(`${JSON.stringify(word)} cannot stand in a command line for every shell.`, {
    hint: 'Leave --headers-helper out: the entry then starts holdfast proxy, without a shell.',
  });
}

/** The words of a command line as `shellWord` writes them. */
function shellWords(line: string): string[] {
  return [...line.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map(
    ([, double, single, bare]) => double ?? single ?? bare ?? '',
  );
}
