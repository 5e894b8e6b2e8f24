import { InvalidArgumentError } from '../errors.ts';
import { quote } from '../quote.ts';
import { type ClientFile, isThere, readClientFile, replaceClientFile } from '../system/files/client-file.ts';
import { shellPath } from '../system/files/storage-error.ts';
import { sameValues } from '../values/plain-values.ts';
import type { Client, ProjectContext, Scope } from './clients.ts';
import type { ConfigFormat, Entry, Slot } from './config-format.ts';
import { type Change, edited, valuesOf } from './edit.ts';
import { additionsIn, helperCommand, type Login, type OwnEntry, ownEntry, proxyArguments } from './entry.ts';
import { formatOf } from './open-format.ts';
import { checkedName, serverName } from './server-name.ts';

/** Time limit for rereading a file that another program wrote meanwhile, in milliseconds. */
const PATIENCE_MS = 5_000;
/**
 * Maximum size of a project's file. Anybody may have written it, and JSON as large as a user's own file would take
 * seconds and gigabytes.
 */
const MAX_PROJECT_BYTES = 1024 * 1024;

export interface Wanted {
  readonly client: Client;
  readonly login: Login;
  /** Absolute. */
  readonly file: string;
  readonly scope: Scope;
  /** The words of the command that starts Holdfast. */
  readonly program: readonly string[];
  /** The entry's name. The default is the name of Holdfast's entry for this login, else a name from the URL. */
  readonly name?: string | undefined;
  /** For docker-agent: the agent whose toolsets to edit. */
  readonly agent?: string | undefined;
  /** Writes a helper for the headers (Claude Code) in place of a proxy. */
  readonly helper?: boolean | undefined;
  /** Allows replacing or removing an entry of this name that Holdfast did not create. */
  readonly force?: boolean | undefined;
  /** Changes nothing. */
  readonly dryRun?: boolean | undefined;
}

export interface Outcome {
  /** `absent`: there was nothing to remove. */
  readonly action: 'added' | 'updated' | 'replaced' | 'unchanged' | 'removed' | 'absent';
  readonly name: string;
  /** The entry as it is now; for `removed`, as it was. */
  readonly entry: Entry;
  /** The written file, after following links. */
  readonly file: string;
  /** The names of the entry's keys, variables and options that Holdfast does not write, if any; they stay. */
  readonly additions?: readonly string[] | undefined;
}

/**
 * Writes Holdfast's entry into the client's own file, so that the client uses the login.
 *
 * @throws InvalidArgumentError if the file does not parse, or another program's entry has the name
 * @throws LockTimeoutError, StorageFullError, StorageUnreadableError, StorageUnwritableError; the file is then
 * unchanged
 */
export function configure(wanted: Wanted): Promise<Outcome> {
  return changed(wanted, (found) => {
    const { existing, name, slot } = found;
    if (existing === undefined) {
      const entry = entryFor(wanted, wanted.name);
      return { action: 'added', name, entry, slot, change: { kind: 'add', entry } };
    }
    const own = ownEntry(existing, wanted.program);
    const isOurs = own !== undefined && isSameLogin(own, wanted.login);
    const additions = isOurs ? additionsOf(wanted.client, existing, own) : undefined;
    if (isOurs && (additions === undefined || wanted.force !== true)) {
      const keys = keysToSet(wanted, existing, own);
      const entry = without({ ...existing, ...keys });
      if (sameValues(entry, existing)) return { action: 'unchanged', name, entry, slot, additions };
      return { action: 'updated', name, entry, slot, additions, change: { kind: 'change', keys } };
    }
    if (wanted.force !== true) throw taken(wanted, name, existing);
    const entry = entryFor(wanted, wanted.name);
    return { action: 'replaced', name, entry, slot, change: { kind: 'replace', entry } };
  });
}

/**
 * Removes the entry.
 *
 * @throws as `configure`
 */
export function unconfigure(wanted: Wanted): Promise<Outcome> {
  return changed(wanted, ({ existing, name, slot }) => {
    if (existing === undefined) return { action: 'absent', name, entry: {}, slot };
    const own = ownEntry(existing, wanted.program);
    const isOurs = own !== undefined && isSameLogin(own, wanted.login);
    if (!isOurs && wanted.force !== true) {
      // The user did not name this entry, so it stays.
      if (wanted.name === undefined) return { action: 'absent', name, entry: {}, slot };
      throw taken(wanted, name, existing);
    }
    return { action: 'removed', name, entry: existing, slot, change: { kind: 'remove' } };
  });
}

/** The entry in a file of its own. */
export async function snippetOf(wanted: Wanted): Promise<{ name: string; entry: Entry; text: string }> {
  const name = nameFor(wanted);
  const entry = entryFor(wanted, wanted.name);
  const format = await formatOf(wanted.client.format);
  // Without the file, the agent and the layout are unknown, so defaults apply.
  const holder = wanted.client.holder({}, wanted.agent);
  return { name, entry, text: format.snippet({ holder, key: name }, entry) };
}

/** The file that a client reads; `undefined` if it has none in that scope. */
export async function fileOf(
  client: Client,
  scope: Scope,
  place: ProjectContext,
): Promise<string | undefined> {
  const files = client.files[scope]?.(place) ?? [];
  for (const file of files) if (await isThere(file)) return file;
  return files.at(-1);
}

/** Holdfast's entry in a client's file. */
export interface ListedEntry extends Login {
  readonly name: string;
  readonly kind: 'proxy' | 'headers';
  /** As in `Outcome`. */
  readonly additions?: readonly string[] | undefined;
}

/**
 * Holdfast's entries in a file; empty if the file does not exist.
 *
 * @throws as `configure`
 */
export async function entriesOf(
  client: Client,
  file: string,
  program: readonly string[],
  scope: Scope = 'user',
): Promise<readonly ListedEntry[]> {
  const { text, path } = await readClientFile(file, limitOf(scope));
  if (text === undefined) return [];
  const format = await formatOf(client.format);
  const values = valuesOf(format, text, path);
  return entriesAt(values, client.holder(values, undefined)).flatMap(({ name, value }) => {
    const own = ownEntry(value, program);
    if (own === undefined) return [];
    const { resource, account, kind } = own;
    return [{ name, resource, account, kind, additions: additionsOf(client, value, own) }];
  });
}

function limitOf(scope: Scope): { readonly maxBytes?: number } {
  return scope === 'project' ? { maxBytes: MAX_PROJECT_BYTES } : {};
}

interface Found {
  readonly existing: Entry | undefined;
  readonly name: string;
  readonly slot: Slot;
}

interface Plan {
  readonly action: Outcome['action'];
  readonly name: string;
  readonly entry: Entry;
  readonly slot: Slot;
  readonly additions?: readonly string[] | undefined;
  readonly change?: Change;
}

async function changed(wanted: Wanted, plan: (found: Found) => Plan): Promise<Outcome> {
  const format = await formatOf(wanted.client.format);
  const deadline = performance.now() + PATIENCE_MS;
  do {
    const file = await readClientFile(wanted.file, limitOf(wanted.scope));
    const { action, name, entry, slot, change, additions } = plan(find(wanted, format, file));
    const outcome = { action, name, entry, file: file.path, additions };
    if (change === undefined) return outcome;
    const text = edited(format, file.text ?? '', slot, change, file.path);
    if (wanted.dryRun === true) return outcome;
    const mode = wanted.scope === 'project' ? 'shared' : 'private';
    if (await replaceClientFile(file, text, { mode })) return outcome;
  } while (performance.now() < deadline);
  throw new InvalidArgumentError(
    `${shellPath(wanted.file)} is being written by another program all the time, so it was left alone.`,
    { hint: `Close ${wanted.client.title} first, then try again.` },
  );
}

function find(wanted: Wanted, format: ConfigFormat, { text, path }: ClientFile): Found {
  const { client, login, program } = wanted;
  if (text === undefined && client.format === 'YAML') {
    throw new InvalidArgumentError(`There is no ${shellPath(path)}.`, {
      hint: `Make it with ${client.title} first: an agent needs more than this entry.`,
    });
  }
  const values = text === undefined ? {} : valuesOf(format, text, path);
  const holder = client.holder(values, wanted.agent);
  const entries = entriesAt(values, holder);
  const fallback = nameFor(wanted);
  const found =
    wanted.name === undefined
      ? (entries.find(({ value }) => {
          const own = ownEntry(value, program);
          return own !== undefined && isSameLogin(own, login);
        }) ?? entries.find(({ name }) => name === fallback))
      : entries.find(({ name }) => name === wanted.name);
  if (found !== undefined) {
    return { existing: found.value, name: found.name, slot: { holder, key: found.key } };
  }
  const key = client.format === 'YAML' ? entries.length : fallback;
  return { existing: undefined, name: fallback, slot: { holder, key } };
}

interface FoundEntry {
  readonly key: string | number;
  readonly name: string;
  readonly value: Entry;
}

function entriesAt(values: unknown, holder: readonly string[]): readonly FoundEntry[] {
  let at = values;
  for (const name of holder) {
    at = typeof at === 'object' && at !== null && Object.hasOwn(at, name) ? (at as Entry)[name] : undefined;
  }
  if (typeof at !== 'object' || at === null) return [];
  const isList = Array.isArray(at);
  return Object.entries(at).map(([key, value]) => {
    const entry: Entry = typeof value === 'object' && value !== null ? (value as Entry) : { value };
    if (!isList) return { key, name: key, value: entry };
    return { key: Number(key), name: nameInList(entry), value: entry };
  });
}

/** In a list, the name is part of the entry, if it has one. */
function nameInList({ name, ref, type }: Entry): string {
  const word = [name, ref, type].find((one) => typeof one === 'string');
  return typeof word === 'string' ? word : '';
}

function nameFor({ name, login }: Wanted): string {
  return name === undefined ? serverName(login.resource, login.account) : checkedName(name);
}

function entryFor({ client, program, login, helper }: Wanted, name: string | undefined): Entry {
  if (helper === true) {
    return { type: 'http', url: login.resource, headersHelper: helperCommand(program, login) };
  }
  return client.entry(program, proxyArguments(login), name);
}

function additionsOf(client: Client, entry: Entry, own: OwnEntry): readonly string[] | undefined {
  const keys = Object.keys(client.entry(['holdfast'], [], 'name'));
  const helper = own.kind === 'headers' ? ['url', 'headersHelper'] : [];
  const additions = additionsIn(entry, own, [...keys, ...helper, 'type']);
  return additions.length === 0 ? undefined : additions;
}

/** The keys that differ from the correct entry. The user's own keys and proxy options stay. */
function keysToSet(
  wanted: Wanted,
  existing: Entry,
  own: { readonly kind: string; readonly rest: readonly string[] },
): Readonly<Record<string, unknown>> {
  if (wanted.helper === true) {
    return { ...entryFor(wanted, undefined), command: undefined, args: undefined };
  }
  const args = own.kind === 'proxy' ? ['proxy', ...own.rest] : proxyArguments(wanted.login);
  const entry = wanted.client.entry(wanted.program, args, undefined);
  // Most clients imply the type, so an entry without it is equally valid.
  const { type, ...others } = entry;
  const isStdio = own.kind === 'proxy';
  return {
    ...(isStdio && (existing['type'] === undefined || existing['type'] === type) ? others : entry),
    ...(isStdio ? {} : { url: undefined, headersHelper: undefined }),
  };
}

function without(entry: Entry): Entry {
  return Object.fromEntries(Object.entries(entry).filter(([, value]) => value !== undefined));
}

function isSameLogin(a: Login, b: Login): boolean {
  return a.resource === b.resource && a.account === b.account;
}

function taken({ client, program }: Wanted, name: string, existing: Entry): InvalidArgumentError {
  const own = ownEntry(existing, program);
  const what =
    own === undefined
      ? 'is not one of Holdfast'
      : `is for ${own.resource}${own.account === 'default' ? '' : ` as ${quote(own.account, 80)}`}`;
  return new InvalidArgumentError(
    `The entry ${quote(name, 80)} of ${client.title} ${what}, and was left alone.`,
    {
      hint: 'Choose another name with --name, or say --force.',
    },
  );
}
