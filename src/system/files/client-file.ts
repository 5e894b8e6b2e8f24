import { constants, type Stats } from 'node:fs';
import { access, open, readdir, realpath, rename, stat, truncate, unlink, writeFile } from 'node:fs/promises';
import { basename, delimiter, dirname, isAbsolute, join } from 'node:path';
import {
  InvalidArgumentError,
  LockTimeoutError,
  StorageUnreadableError,
  StorageUnwritableError,
} from '../../errors.ts';
import { step } from '../checkpoints.ts';
import type { Environment } from '../environment.ts';
import { sleep } from '../locks/keyed-mutex.ts';
import { whenShared } from '../os/windows-sharing.ts';
import { syncDirectory } from './atomic-file.ts';
import { makeDirectories } from './made-directory.ts';
import { shellPath, storageError, systemErrorCode } from './storage-error.ts';

/*
 * Reads and replaces another program's configuration file, which belongs to the user. It may be a link into a dotfiles
 * repository, it has its own mode and owner, and the other program may write it at any moment.
 */

/** Claude Code stores its history and its servers in the same file. */
const MAX_BYTES = 64 * 1024 * 1024;
/**
 * Time limit for waiting until another Holdfast process has written the file, in milliseconds. A write takes
 * milliseconds.
 */
const PATIENCE_MS = 5_000;
/** The age, in milliseconds, at which a staged file counts as abandoned by a killed process. */
const ABANDONED_AFTER_MS = 30_000;

/** The result of reading the file. */
export interface ClientFile {
  /** The file's real path, with all links resolved. */
  readonly path: string;
  /** `undefined` when the file does not exist. */
  readonly text: string | undefined;
  readonly stats: Stats | undefined;
}

/**
 * Reads the file.
 *
 * @param options.maxBytes smaller than the default if somebody else may have written the file
 * @throws InvalidArgumentError when the file is not plain, not UTF-8 or too large; when the path is relative
 * @throws StorageUnreadableError
 */
export async function readClientFile(
  path: string,
  { maxBytes = MAX_BYTES }: { readonly maxBytes?: number | undefined } = {},
): Promise<ClientFile> {
  if (!isAbsolute(path)) {
    // Without HOME the path is relative to the current directory, which anybody may control.
    throw new InvalidArgumentError(`${shellPath(path)} is not an absolute path, so it was not read.`, {
      hint: 'Set HOME to your home directory, or name the file: --file FILE',
    });
  }
  try {
    const target = await targetOf(path);
    const file = await open(target, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)).catch(
      (error: unknown) => {
        if (systemErrorCode(error) === 'ENOENT') return undefined;
        throw error;
      },
    );
    if (file === undefined) return { path: target, text: undefined, stats: undefined };
    try {
      const stats = await file.stat();
      if (!stats.isFile()) throw unusable(target, 'is not a plain file');
      if (stats.size > maxBytes) throw unusable(target, `has ${stats.size} bytes`);
      return { path: target, text: utf8(await file.readFile(), target), stats };
    } finally {
      await file.close();
    }
  } catch (error) {
    throw clientFileError(error, 'read', path);
  }
}

/**
 * Replaces the file's content in one step and preserves its mode and owner. A file that is a mount of its own, as in a
 * container, cannot be replaced, so it is overwritten in place.
 *
 * @param options.mode for a new file and new directories
 * @returns `false`, without a write, when the file has changed since it was read
 * @throws LockTimeoutError, StorageFullError, StorageUnwritableError; the old content is then still in place
 */
export async function replaceClientFile(
  file: ClientFile,
  text: string,
  options: { readonly mode: 'private' | 'shared' },
): Promise<boolean> {
  const { path, stats } = file;
  const staged = join(dirname(path), `.${basename(path)}.holdfast`);
  let isStaged = false;
  try {
    await makeDirectories(dirname(path), {
      mode: options.mode === 'private' ? 0o700 : 0o777,
      uid: process.geteuid?.(),
    });
    // All Holdfast processes use the same staged name, so it also serves as a lock: one process at a time compares and
    // renames.
    const handle = await openAlone(staged, options.mode === 'private' || stats !== undefined ? 0o600 : 0o666);
    isStaged = true;
    try {
      await handle.writeFile(text, 'utf8');
      if (stats !== undefined) await keepOwnerAndMode(handle, stats, path);
      await handle.sync();
    } finally {
      await handle.close();
    }
    step('file-staged');
    if (!(await isUnchanged(path, stats))) return false;
    isStaged = !(await takeName(staged, path, text));
    step('file-placed');
    if (!isStaged) await syncDirectory(dirname(path));
    step('directory-synced');
    return true;
  } catch (error) {
    throw clientFileError(error, 'write', path);
  } finally {
    if (isStaged) {
      await unlink(staged).catch(() => {
        // Another process took the file for abandoned and removed it.
      });
    }
  }
}

/** Tells whether a file or directory exists at the path. */
export async function isThere(path: string): Promise<boolean> {
  return isAbsolute(path) && (await stat(path).catch(() => undefined)) !== undefined;
}

/**
 * Lists the names in another program's directory, sorted. An empty list when the directory does not exist, or when the
 * path is relative.
 */
export async function namesIn(path: string): Promise<string[]> {
  if (!isAbsolute(path)) return [];
  try {
    return (await readdir(path)).toSorted();
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return [];
    throw storageError(error, 'read', path);
  }
}

/** Finds the program on PATH, as a shell does; `undefined` when it is not there. */
export async function programOnPath(
  name: string,
  { variables, platform }: Environment,
): Promise<string | undefined> {
  const names = platform === 'win32' ? [`${name}.exe`, `${name}.cmd`] : [name];
  // npx and npm run prepend directories to PATH for this one command only.
  const directories = (variables['PATH'] ?? '')
    .split(delimiter)
    .filter((one) => one !== '' && !/node_modules[\\/]\.bin[\\/]?$|[\\/]_npx[\\/]/.test(one));
  for (const directory of directories) {
    for (const candidate of names) {
      const path = join(directory, candidate);
      try {
        await access(path, constants.X_OK);
        if ((await stat(path)).isFile()) return path;
      } catch {
        // The program is not in this directory.
      }
    }
  }
  return undefined;
}

/** Resolves all links in the path, even if the file does not exist yet. */
async function targetOf(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if (systemErrorCode(error) !== 'ENOENT') throw error;
  }
  try {
    // The directory may be a link even if the file does not exist yet.
    return join(await realpath(dirname(path)), basename(path));
  } catch (error) {
    if (systemErrorCode(error) !== 'ENOENT') throw error;
    return path;
  }
}

function utf8(bytes: Uint8Array, path: string): string {
  try {
    // A byte order mark at the beginning must stay in the file.
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw unusable(path, 'is not UTF-8');
  }
}

function unusable(path: string, what: string): InvalidArgumentError {
  return new InvalidArgumentError(`${shellPath(path)} ${what}, so it is left alone.`, {
    hint: 'Look at it, or print the entry and put it in by hand: add --print',
  });
}

async function openAlone(path: string, mode: number): Promise<Awaited<ReturnType<typeof open>>> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    try {
      return await open(
        path,
        constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | (constants.O_NOFOLLOW ?? 0),
        mode,
      );
    } catch (error) {
      if (systemErrorCode(error) !== 'EEXIST') throw error;
    }
    const age = Date.now() - ((await stat(path).catch(() => undefined))?.mtimeMs ?? Date.now());
    if (age > ABANDONED_AFTER_MS) {
      await unlink(path).catch(() => {
        // Another process removed it first.
      });
    } else if (performance.now() > deadline) {
      throw new LockTimeoutError(`Another holdfast has been writing that file for ${PATIENCE_MS} ms.`, {
        hint: `If none is running: rm ${shellPath(path)}`,
      });
    } else {
      await sleep(20 * (0.5 + Math.random()));
    }
  }
}

async function keepOwnerAndMode(
  handle: Awaited<ReturnType<typeof open>>,
  { uid, gid, mode }: Stats,
  path: string,
): Promise<void> {
  if (process.platform === 'win32') return;
  const own = await handle.stat();
  if (own.uid !== uid || own.gid !== gid) {
    try {
      await handle.chown(uid, gid);
    } catch (error) {
      throw new StorageUnwritableError(
        `${shellPath(path)} belongs to user ${uid} and group ${gid}, and would not any more.`,
        { cause: error, hint: 'Run it as that user, or print the entry and put it in by hand: add --print' },
      );
    }
  }
  await handle.chmod(mode & 0o7777);
}

/**
 * Renames the staged file. Overwrites the file in place on EBUSY, which means a mount of its own, as in a container.
 *
 * @returns `false` when the file was overwritten in place, so the staged file still exists
 */
async function takeName(staged: string, path: string, text: string): Promise<boolean> {
  try {
    await whenShared(() => rename(staged, path));
    return true;
  } catch (error) {
    if (systemErrorCode(error) !== 'EBUSY' || process.platform === 'win32') throw error;
  }
  await writeFile(path, text, { encoding: 'utf8', flag: 'r+', flush: true });
  await truncate(path, Buffer.byteLength(text));
  return false;
}

async function isUnchanged(path: string, before: Stats | undefined): Promise<boolean> {
  const now = await stat(path).catch((error: unknown) => {
    if (systemErrorCode(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (now === undefined || before === undefined) return now === before;
  return now.ino === before.ino && now.size === before.size && now.mtimeMs === before.mtimeMs;
}

/** As `storageError`, but without its hints about Holdfast's own directory. */
function clientFileError(error: unknown, action: 'read' | 'write', path: string): Error {
  const known = storageError(error, action, path);
  if (known === error || known.hint?.includes('HOLDFAST_HOME') !== true) return known;
  const options = { cause: error, hint: 'Mend that, or print the entry and put it in by hand: add --print' };
  return action === 'read'
    ? new StorageUnreadableError(known.message, options)
    : new StorageUnwritableError(known.message, options);
}
