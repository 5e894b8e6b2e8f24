import { constants, lstatSync, type Stats } from 'node:fs';
import { access, type FileHandle, lstat, open, readdir, rmdir, stat } from 'node:fs/promises';
import { dirname, sep } from 'node:path';
import { StorageUnreadableError, StorageUnsafeError } from '../../errors.ts';
import type { Environment } from '../environment.ts';
import { sleep } from '../locks/keyed-mutex.ts';
import { whenShared } from '../os/windows-sharing.ts';
import { checkMayMakeIn, isUnmapped, makeDirectories } from './made-directory.ts';
import { layoutOf } from './paths.ts';
import { shellPath, storageError, systemErrorCode } from './storage-error.ts';

/*
 * A directory is private when it is a real directory, ours, and closed to group and others (0700); a file likewise
 * (0600). What is not so is refused with the command that mends it, never mended in silence: whoever could loosen it
 * may have read or replaced what lies in it.
 *
 * Windows has neither such modes nor such owners. There what keeps others out is the access list that everything below
 * %LOCALAPPDATA% inherits from the user's profile: the user, SYSTEM and Administrators. It is not looked at.
 */

/**
 * Makes the directory, 0700, when it is not there; checks it when it is.
 *
 * @throws StorageUnsafeError for a symlink, a foreign owner or loose modes
 * @throws StorageUnwritableError, StorageFullError when it cannot be made
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
    // It was made closed a moment ago. It goes again, so that the next try says the same, and no chmod that does nothing.
    await rmdir(path).catch(() => {});
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
 * As `ensurePrivateDirectory`, for several, the outermost first: where all are there, which is nearly always, they are
 * looked at together.
 */
export async function ensurePrivateDirectories(
  paths: readonly string[],
  environment: Environment,
): Promise<void> {
  if (await checkPrivateDirectories(paths, environment)) return;
  for (const path of paths) await ensurePrivateDirectory(path, environment);
}

/**
 * Whether the directory is there; creates nothing.
 *
 * @throws StorageUnsafeError when it is there and not private
 */
export async function checkPrivateDirectory(path: string, environment: Environment): Promise<boolean> {
  let stats: Stats | undefined;
  try {
    // Synchronous: it takes a microsecond or two, and a turn through the thread pool fifty.
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
 * Whether all of them are there, looked at together; creates nothing.
 *
 * @param paths the outermost first: what is wrong there is the error, whatever it means for those below
 * @throws StorageUnsafeError when one is there and not private
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
 * The names in a private directory; none when it is not there.
 *
 * @throws StorageUnsafeError when it is there and not private
 */
export async function listPrivateDirectory(path: string, environment: Environment): Promise<string[]> {
  if (!(await checkPrivateDirectory(path, environment))) return [];
  try {
    return await readdir(path);
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return [];
    throw storageError(error, 'read', path, { isOurs: true });
  }
}

/**
 * Reads a file that only we may read; `undefined` when it is not there.
 *
 * @param options.maxBytes a larger file is refused unread
 * @throws StorageUnsafeError for a symlink, a foreign owner, loose modes, or what is no plain file
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
 * The size of such a file, and its bytes at both ends, as many as are asked for and there; `undefined` when it is not there.
 * Throws what `readPrivateFile` throws.
 */
export async function readPrivateFileEnds(
  path: string,
  environment: Environment,
  ends: { head: number; tail: number },
): Promise<{ size: number; head: Buffer; tail: Buffer } | undefined> {
  return withPrivateFile(path, environment, async (file, size) => {
    const tail = Math.min(ends.tail, size);
    return {
      size,
      head: await readAt(file, 0, Math.min(ends.head, size)),
      tail: await readAt(file, size - tail, tail),
    };
  });
}

async function withPrivateFile<T>(
  path: string,
  environment: Environment,
  step: (file: FileHandle, size: number) => Promise<T>,
): Promise<T | undefined> {
  let file: FileHandle;
  try {
    // O_NONBLOCK: a FIFO put in the file's place must not hang the open.
    file = await whenShared(() =>
      open(path, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0)),
    );
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined;
    throw storageError(error, 'read', path, { isOurs: true });
  }
  try {
    if (constants.O_NOFOLLOW === undefined) await refuseLink(path);
    const stats = await file.stat();
    if (!stats.isFile()) {
      throw new StorageUnsafeError(`${shellPath(path)} is not a plain file.`, {
        hint: `Move it aside: mv ${shellPath(path)} ${shellPath(`${path}.old`)}`,
      });
    }
    checkOwnerAndMode(path, stats, environment, '600');
    return await step(file, stats.size);
  } catch (error) {
    throw storageError(error, 'read', path);
  } finally {
    await file.close();
  }
}

/** So many bytes from there on; fewer where the file ends before. */
async function readAt(file: FileHandle, from: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await file.read(bytes, filled, length - filled, from + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return bytes.subarray(0, filled);
}

/** Whether anything has that name; what it is, is not looked at. @param says what named it, for the error */
export async function exists(path: string, says?: string): Promise<boolean> {
  try {
    return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch (error) {
    throw storageError(error, 'read', path, { says });
  }
}

/** When an entry of the directory was last made, renamed or removed, in nanoseconds; `undefined` where there is no directory. */
export function changedAt(path: string): bigint | undefined {
  return lstatSync(path, { bigint: true, throwIfNoEntry: false })?.mtimeNs;
}

/** Where open cannot be told not to follow one (Windows). */
async function refuseLink(path: string): Promise<void> {
  if ((await lstat(path)).isSymbolicLink()) {
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

/** For all of a home at once: a copy of one has lost the modes of everything in it. */
function closingCommand(path: string, environment: Environment, wanted: '600' | '700'): string {
  const home = homeAbove(path, environment);
  return home === undefined ? `chmod ${wanted} ${shellPath(path)}` : `chmod -R go= ${shellPath(home)}`;
}

/** Holdfast's home, where the path is in it. */
function homeAbove(path: string, environment: Environment): string | undefined {
  try {
    const { home } = layoutOf(environment);
    return path === home || path.startsWith(home + sep) ? home : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Checks that the directory could be made: that the nearest one above it which exists can be written. Makes nothing.
 *
 * @param environment given where the directory is to be Holdfast's own
 * @throws StorageUnwritableError, StorageUnreadableError
 * @throws StorageUnsafeError where root would make its own in another user's directory
 */
export async function checkCanMakeDirectory(path: string, environment?: Environment): Promise<void> {
  for (let above = dirname(path); ; above = dirname(above)) {
    try {
      await access(above, constants.W_OK | constants.X_OK);
      if (environment !== undefined) checkMayMakeIn(above, await stat(above), environment.uid);
      return;
    } catch (error) {
      if (systemErrorCode(error) !== 'ENOENT' || dirname(above) === above)
        throw storageError(error, 'write', above, { isOurs: environment !== undefined });
    }
  }
}

/** How long a pipe may keep us waiting, in milliseconds. */
const PIPE_DEADLINE_MS = 10_000;
const PIPE_POLL_MS = 20;

/**
 * Reads a file that someone else laid out for us, such as a mounted secret: whoever did chose its owner, its modes, and
 * whether it is a link. `undefined` when it is not there. Ends in time whatever is there.
 *
 * @param options.pipes whether a pipe will do, such as `/dev/stdin` or `<(command)`: it gives what it has only once
 * @param options.check looks at what was opened, and throws where it may not be read
 * @param options.says what named the file, such as a variable, for the errors
 * @throws StorageUnreadableError when it is too large, no plain file, or a pipe that brings nothing for ten seconds
 */
export async function readGivenFile(
  path: string,
  options: {
    maxBytes: number;
    pipes?: boolean;
    says?: string | undefined;
    check?: (stats: Stats) => void | Promise<void>;
  },
): Promise<Buffer | undefined> {
  const { maxBytes, pipes = true, says, check } = options;
  const named = says === undefined ? shellPath(path) : `${says} names ${shellPath(path)}, which`;
  let file: FileHandle;
  try {
    // O_NONBLOCK: the open of a FIFO that nobody writes to would wait for ever.
    file = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined;
    if (systemErrorCode(error) === 'ENXIO') throw notPlain(named, 'a socket', pipes);
    throw storageError(error, 'read', path, { says });
  }
  try {
    const stats = await file.stat();
    const kind = kindOf(stats);
    if (kind !== undefined && !(pipes && stats.isFIFO())) throw notPlain(named, kind, pipes);
    await check?.(stats);
    const deadline = performance.now() + PIPE_DEADLINE_MS;
    // One byte more than allowed tells a file that is too large from one that just fits.
    const bytes = Buffer.alloc(maxBytes + 1);
    let filled = 0;
    while (filled < bytes.length) {
      const bytesRead = await readSome(file, bytes, filled);
      if (bytesRead === 0) break;
      if (bytesRead !== undefined) filled += bytesRead;
      else if (performance.now() < deadline) await sleep(PIPE_POLL_MS);
      else {
        throw new StorageUnreadableError(`${named} is a pipe that did not end within 10 s.`, {
          hint: 'See whether the program that writes to it runs.',
        });
      }
    }
    if (filled > maxBytes) {
      throw new StorageUnreadableError(`${shellPath(path)} is larger than ${maxBytes} bytes.`, {
        hint: 'Check that this is the file that was meant.',
      });
    }
    return bytes.subarray(0, filled);
  } catch (error) {
    throw storageError(error, 'read', path, { says });
  } finally {
    await file.close();
  }
}

/** `undefined` where a pipe has nothing yet. */
async function readSome(file: FileHandle, bytes: Buffer, from: number): Promise<number | undefined> {
  try {
    return (await file.read(bytes, from, bytes.length - from)).bytesRead;
  } catch (error) {
    if (systemErrorCode(error) === 'EAGAIN') return undefined;
    throw error;
  }
}

/** What it is, where it is no plain file. */
function kindOf(stats: Stats): string | undefined {
  if (stats.isFile()) return undefined;
  if (stats.isDirectory()) return 'a directory';
  return stats.isFIFO() ? 'a pipe' : 'a device';
}

function notPlain(named: string, kind: string, pipes: boolean): StorageUnreadableError {
  const once = kind === 'a pipe' ? ' It is read more than once, and a pipe gives its content only once.' : '';
  return new StorageUnreadableError(`${named} is ${kind}.${once}`, {
    hint: `Name a plain file${pipes ? ' or a pipe' : ''}.`,
  });
}
