import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  promises,
  readdirSync,
  readSync,
  type Stats,
} from 'node:fs';
import { dirname, sep } from 'node:path';
import { StorageUnreadableError, StorageUnsafeError } from '../../errors.ts';
import type { Environment } from '../environment.ts';
import { whenShared } from '../os/windows-sharing.ts';
import { checkMayMakeIn, isUnmapped, makeDirectories } from './made-directory.ts';
import { layoutOf } from './paths.ts';
import { shellPath, storageError, systemErrorCode } from './storage-error.ts';

/*
 * A directory is private when it is a real directory, owned by this user, and closed to group and others (0700). A file
 * is private likewise (0600). Anything else is refused, with the command that fixes it, and never fixed silently: an
 * attacker who could loosen the modes may have read or replaced the content.
 *
 * Windows has neither such modes nor such owners. Everything below %LOCALAPPDATA% inherits the access list of the
 * user's profile, which admits the user, SYSTEM and Administrators only. Holdfast does not check that list.
 *
 * Small files are read synchronously, and the files beside this one take `promises` from `node:fs`, whose code loads at
 * the first use: reading a fresh token needs none of it.
 */

/**
 * Creates the directory with mode 0700, or checks an existing one.
 *
 * @throws StorageUnsafeError for a symlink, another owner or loose modes
 * @throws StorageUnwritableError, StorageFullError when the directory cannot be created
 */
async function ensurePrivateDirectory(path: string, environment: Environment): Promise<void> {
  if (await checkPrivateDirectory(path, environment)) return;
  try {
    await makeDirectories(path, { mode: 0o700, uid: environment.uid });
  } catch (error) {
    throw storageError(error, 'write', path, { isOurs: true });
  }
  try {
    await checkPrivateDirectory(path, environment);
  } catch (error) {
    if (!(error instanceof StorageUnsafeError)) throw error;
    // It was created with mode 0700 a moment ago, so chmod would change nothing. Remove it, so that the next attempt
    // reports the same.
    await promises.rmdir(path).catch(() => {});
    throw new StorageUnsafeError(
      `${shellPath(path)} cannot be closed to other users: its file system has fixed owners and modes.`,
      {
        cause: error,
        hint: 'Set HOLDFAST_HOME to a directory on another file system, or mount this one for you alone (uid=…,umask=077).',
      },
    );
  }
}

/**
 * As `ensurePrivateDirectory`, for several directories, the outermost first. Nearly always all exist, so they are
 * checked together first.
 */
export async function ensurePrivateDirectories(
  paths: readonly string[],
  environment: Environment,
): Promise<void> {
  if (await checkPrivateDirectories(paths, environment)) return;
  for (const path of paths) await ensurePrivateDirectory(path, environment);
}

/**
 * Tells whether the directory exists. Creates nothing.
 *
 * @throws StorageUnsafeError when it exists and is not private
 */
export async function checkPrivateDirectory(path: string, environment: Environment): Promise<boolean> {
  let stats: Stats | undefined;
  try {
    // Synchronous: this call takes one or two microseconds, and a turn through the thread pool fifty.
    stats = lstatSync(path, { throwIfNoEntry: false });
  } catch (error) {
    throw storageError(error, 'read', path, { isOurs: true });
  }
  if (stats === undefined) return false;
  if (stats.isSymbolicLink()) {
    throw new StorageUnsafeError(
      `${shellPath(path)} is a symbolic link, so someone else may choose its target.`,
      {
        hint: `Name the real directory instead: export HOLDFAST_HOME="$(readlink -f ${shellPath(path)})", or remove the link: rm ${shellPath(path)}`,
      },
    );
  }
  if (!stats.isDirectory()) {
    throw new StorageUnsafeError(`${shellPath(path)} is not a directory.`, {
      hint: `Move it aside: mv ${shellPath(path)} ${shellPath(`${path}.old`)}`,
    });
  }
  checkOwnerAndMode(path, stats, environment, '700');
  return true;
}

/**
 * Tells whether all directories exist, and checks them together. Creates nothing.
 *
 * @param paths the outermost first: the outermost fault is thrown, whatever faults it causes below
 * @throws StorageUnsafeError when one exists and is not private
 */
export async function checkPrivateDirectories(
  paths: readonly string[],
  environment: Environment,
): Promise<boolean> {
  const checks = await Promise.allSettled(paths.map((path) => checkPrivateDirectory(path, environment)));
  for (const check of checks) if (check.status === 'rejected') throw check.reason;
  return checks.every((check) => check.status === 'fulfilled' && check.value);
}

/**
 * Lists the names in a private directory; an empty list when the directory does not exist.
 *
 * @throws StorageUnsafeError when it exists and is not private
 */
export async function listPrivateDirectory(path: string, environment: Environment): Promise<string[]> {
  if (!(await checkPrivateDirectory(path, environment))) return [];
  try {
    return readdirSync(path);
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return [];
    throw storageError(error, 'read', path, { isOurs: true });
  }
}

/**
 * Reads a file that only this user may read.
 *
 * @param options.maxBytes a larger file is refused unread
 * @returns `undefined` when the file does not exist
 * @throws StorageUnsafeError for a symlink, another owner, loose modes, or anything but a plain file
 * @throws StorageUnreadableError
 */
export async function readPrivateFile(
  path: string,
  environment: Environment,
  options: { maxBytes: number },
): Promise<Buffer | undefined> {
  return withPrivateFile(path, environment, (file, size) => {
    if (size > options.maxBytes) {
      throw new StorageUnreadableError(
        `${shellPath(path)} has ${size} bytes; nothing that Holdfast writes there is larger than ${options.maxBytes}.`,
        { hint: `Move it aside: mv ${shellPath(path)} ${shellPath(`${path}.old`)}` },
      );
    }
    return readAt(file, 0, size);
  });
}

/**
 * Reads the size of a private file and at most `head` and `tail` bytes from its two ends. Throws the errors of
 * `readPrivateFile`.
 *
 * @returns `undefined` when the file does not exist
 */
export async function readPrivateFileEnds(
  path: string,
  environment: Environment,
  ends: { head: number; tail: number },
): Promise<{ size: number; head: Buffer; tail: Buffer } | undefined> {
  return withPrivateFile(path, environment, (file, size) => {
    const tail = Math.min(ends.tail, size);
    return {
      size,
      head: readAt(file, 0, Math.min(ends.head, size)),
      tail: readAt(file, size - tail, tail),
    };
  });
}

/** The file is a local one of a few kilobytes: the calls together take less than one turn through the thread pool. */
async function withPrivateFile<T>(
  path: string,
  environment: Environment,
  step: (file: number, size: number) => T,
): Promise<T | undefined> {
  let file: number;
  try {
    // O_NONBLOCK: a FIFO in place of the file must not block the open.
    file = await whenShared(async () =>
      openSync(path, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0)),
    );
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined;
    throw storageError(error, 'read', path, { isOurs: true });
  }
  try {
    if (constants.O_NOFOLLOW === undefined) refuseLink(path);
    const stats = fstatSync(file);
    if (!stats.isFile()) {
      throw new StorageUnsafeError(`${shellPath(path)} is not a plain file.`, {
        hint: `Move it aside: mv ${shellPath(path)} ${shellPath(`${path}.old`)}`,
      });
    }
    checkOwnerAndMode(path, stats, environment, '600');
    return step(file, stats.size);
  } catch (error) {
    throw storageError(error, 'read', path);
  } finally {
    closeSync(file);
  }
}

/** Reads `length` bytes from offset `from`, or fewer at the end of the file. */
function readAt(file: number, from: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  let filled = 0;
  while (filled < length) {
    const bytesRead = readSync(file, bytes, filled, length - filled, from + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return bytes.subarray(0, filled);
}

/**
 * Tells whether the path exists, with any file type.
 *
 * @param says the source of the path, for the error
 */
export async function exists(path: string, says?: string): Promise<boolean> {
  try {
    return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch (error) {
    throw storageError(error, 'read', path, { says });
  }
}

/** The time at which an entry of the directory last changed, in nanoseconds; `undefined` without a directory. */
export function changedAt(path: string): bigint | undefined {
  return lstatSync(path, { bigint: true, throwIfNoEntry: false })?.mtimeNs;
}

/** Refuses a symbolic link on platforms without O_NOFOLLOW (Windows). */
function refuseLink(path: string): void {
  if (lstatSync(path).isSymbolicLink()) {
    throw Object.assign(new Error('it is a symbolic link'), { code: 'ELOOP' });
  }
}

function checkOwnerAndMode(
  path: string,
  stats: Stats,
  environment: Environment,
  wanted: '600' | '700',
): void {
  const { uid } = environment;
  if (uid === undefined) return;
  if (stats.uid !== uid && isUnmapped(stats.uid)) {
    throw new StorageUnsafeError(
      `${shellPath(path)} belongs to a user whom this user namespace does not have (shown as ${stats.uid}).`,
      {
        hint: 'Run the container with that user mapped (podman: --userns=keep-id), or set HOLDFAST_HOME to a directory that this user made.',
      },
    );
  }
  if (stats.uid !== uid) {
    throw new StorageUnsafeError(`${shellPath(path)} belongs to user ${stats.uid}, not to you (${uid}).`, {
      hint: `If it should be yours: sudo chown -R ${uid} ${shellPath(path)}. Otherwise set HOLDFAST_HOME to a directory of your own.`,
    });
  }
  const mode = stats.mode & 0o7777;
  if ((mode & 0o077) !== 0) {
    throw new StorageUnsafeError(
      `${shellPath(path)} is open to other users (mode ${mode.toString(8).padStart(4, '0')}).`,
      { hint: `Close it: ${closingCommand(path, environment, wanted)}` },
    );
  }
}

/**
 * Returns the command that closes the path. Inside Holdfast's home it closes the whole home, since a copied home has
 * lost the modes of all its files.
 */
function closingCommand(path: string, environment: Environment, wanted: '600' | '700'): string {
  const home = homeAbove(path, environment);
  return home === undefined ? `chmod ${wanted} ${shellPath(path)}` : `chmod -R go= ${shellPath(home)}`;
}

/** Returns Holdfast's home if it contains the path. */
function homeAbove(path: string, environment: Environment): string | undefined {
  try {
    const { home } = layoutOf(environment);
    return path === home || path.startsWith(home + sep) ? home : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Checks that the directory can be created, so its nearest existing ancestor must be writable. Creates nothing.
 *
 * @param environment set only if the directory is to be one of Holdfast's own
 * @throws StorageUnwritableError, StorageUnreadableError
 * @throws StorageUnsafeError when root would create its own directory in another user's
 */
export async function checkCanMakeDirectory(path: string, environment?: Environment): Promise<void> {
  for (let above = dirname(path); ; above = dirname(above)) {
    try {
      await promises.access(above, constants.W_OK | constants.X_OK);
      if (environment !== undefined) checkMayMakeIn(above, await promises.stat(above), environment.uid);
      return;
    } catch (error) {
      if (systemErrorCode(error) !== 'ENOENT' || dirname(above) === above)
        throw storageError(error, 'write', above, { isOurs: environment !== undefined });
    }
  }
}
