import { basename } from 'node:path';
import { findNodeAtLocation, parseTree } from 'jsonc-parser';
import { parseJsonc } from '../configure/json.ts';
import { HoldfastError, InvalidArgumentError } from '../errors.ts';
import { type ClientFile, readClientFile, replaceClientFile } from '../system/files/client-file.ts';
import { shellPath } from '../system/files/storage-error.ts';
import type { ExternalLogin } from '../transfer/types.ts';
import { HostileValuesError, type PlainObject, plainCopy, sameValues } from '../values/plain-values.ts';
import { type Findings, type FoundLogin, type KeepBackup, type Skipped, sameTokens } from './source.ts';

/*
 * A file with several logins of a source. Removing one keeps everything else as it is, byte for byte if possible. An
 * edit that would change more than that entry is not written.
 */

/** Time limit for rereading a file that another program wrote meanwhile, in milliseconds. */
const PATIENCE_MS = 5_000;

export type Path = readonly (string | number)[];

/** The file's entry for one server. */
export interface StoredEntry {
  readonly name: string;
  /** The part that is removed when the login is taken. */
  readonly path: Path;
  /** The login, or why the entry has no login to import. `resource` is empty if the entry names no server. */
  readonly content: { readonly login: ExternalLogin } | { readonly reason: string };
}

/** Reads and writes one file format. */
export interface Codec {
  /** @throws Error if the text is not in that format; its message is not shown */
  parse(text: string): unknown;
  remove(text: string, path: Path): string;
}

export interface StoreFile {
  readonly path: string;
  readonly codec: Codec;
  entries(values: unknown, file: ClientFile): readonly StoredEntry[] | Promise<readonly StoredEntry[]>;
  /** Runs a write of the named entry under the source's own lock, if it is known. */
  readonly lock?: ((write: () => Promise<boolean>, name: string) => Promise<boolean>) | undefined;
}

/** The logins in the source's files. */
export async function findIn(files: readonly StoreFile[]): Promise<Findings> {
  const logins: FoundLogin[] = [];
  const skipped: Skipped[] = [];
  for (const file of files) {
    const found = await read(file).catch((error: unknown) => {
      // With several files, a damaged one must not hide the others.
      if (files.length === 1 || !(error instanceof InvalidArgumentError)) throw error;
      const reason = error.message.replace(/\.$/, '');
      skipped.push({ name: basename(file.path), file: file.path, reason });
      return undefined;
    });
    if (found === undefined) continue;
    const { entries, path } = found;
    for (const { name, content } of entries) {
      if ('reason' in content) skipped.push({ name, file: path, reason: content.reason });
      else {
        const { login } = content;
        logins.push({ login, name, file: path, take: (keep) => take(file, name, login, keep) });
      }
    }
  }
  return { logins, skipped, searched: files.map(({ path }) => path) };
}

async function read(store: StoreFile): Promise<{
  file: ClientFile;
  values: unknown;
  entries: readonly StoredEntry[];
  path: string;
}> {
  const file = await clientFile(() => readClientFile(store.path));
  if (file.text === undefined || file.text.trim() === '') {
    return { file, values: undefined, entries: [], path: file.path };
  }
  let values: unknown;
  try {
    values = plainCopy(store.codec.parse(file.text));
  } catch (error) {
    if (error instanceof HostileValuesError) {
      throw new InvalidArgumentError(`${shellPath(file.path)} was left as it is: ${error.message}.`, {
        hint: 'See who wrote it, or name another file: --file FILE',
      });
    }
    // A parser's message may quote its input, so the error is not kept as a cause.
    throw new InvalidArgumentError(
      `${shellPath(file.path)} is not what that program writes; it was left as it is.`,
      {
        hint: 'It may be damaged, or of a version that Holdfast does not know. Name another file: --file FILE',
      },
    );
  }
  return { file, values, entries: await store.entries(values, file), path: file.path };
}

async function take(
  store: StoreFile,
  name: string,
  login: ExternalLogin,
  keep: KeepBackup | undefined,
): Promise<'taken' | 'changed' | 'gone'> {
  const deadline = performance.now() + PATIENCE_MS;
  let outcome: 'taken' | 'changed' | 'gone' = 'gone';
  const write = async () => {
    const { file, values, entries, path } = await read(store);
    const entry = entries.find((one) => one.name === name);
    const now = entry !== undefined && 'login' in entry.content ? entry.content.login : undefined;
    outcome = now === undefined ? 'gone' : sameTokens(now, login) ? 'taken' : 'changed';
    if (outcome !== 'taken' || entry === undefined || file.text === undefined) return true;
    const text = store.codec.remove(file.text, entry.path);
    if (!sameValues(store.codec.parse(text), without(values, entry.path))) {
      throw new InvalidArgumentError(
        `The entry cannot be taken out of ${shellPath(path)} without touching more; it was left as it is.`,
        { hint: 'Take it out by hand, or log out in that program without revoking.' },
      );
    }
    await keep?.({ path: store.path, text: file.text, next: text });
    return clientFile(() => replaceClientFile(file, text, { mode: 'private' }));
  };
  while (!(await (store.lock === undefined ? write() : store.lock(write, name)))) {
    if (performance.now() > deadline) {
      throw new InvalidArgumentError(
        `${shellPath(store.path)} is being written by another program all the time, so it was left alone.`,
        { hint: 'End that program first, then run the same command again.' },
      );
    }
  }
  return outcome;
}

/** The values without the one at the path. */
export function without(values: unknown, path: Path): unknown {
  const copy = plainCopy(values);
  let at = copy as PlainObject;
  for (const key of path.slice(0, -1)) at = at[key] as PlainObject;
  const last = path.at(-1) ?? '';
  if (Array.isArray(at)) at.splice(Number(last), 1);
  else delete at[last];
  return copy;
}

/** JSON with comments, since users may comment their settings files. */
export const JSON_CODEC: Codec = {
  parse: (text) => parseJsonc(text, 'kept'),
  remove: (text, path) => {
    const root = parseTree(text, [], { allowTrailingComma: true });
    const value = root && findNodeAtLocation(root, [...path]);
    const target = value?.parent?.type === 'property' ? value.parent : value;
    const holder = target?.parent;
    if (target === undefined || holder?.children === undefined) return text;
    const at = holder.children.indexOf(target);
    const [previous, next] = [holder.children[at - 1], holder.children[at + 1]];
    const cut = (from: number, to: number) => text.slice(0, from) + text.slice(to);
    if (next !== undefined) return cut(target.offset, next.offset);
    if (previous !== undefined) return cut(previous.offset + previous.length, target.offset + target.length);
    return cut(holder.offset + 1, holder.offset + holder.length - 1);
  },
};

/** Replaces errors whose advice is for `holdfast configure`, since it does not help here. */
async function clientFile<T>(step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    if (!(error instanceof HoldfastError) || error.hint?.includes('--print') !== true) throw error;
    const Known = error.constructor as new (message: string, options: object) => HoldfastError;
    throw new Known(error.message, { cause: error, hint: 'Mend that, or name another file: --file FILE' });
  }
}
