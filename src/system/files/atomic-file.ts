import { randomBytes } from 'node:crypto';
import { constants, promises } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { step } from '../checkpoints.ts';
import { whenShared } from '../os/windows-sharing.ts';
import { storageError, systemErrorCode } from './storage-error.ts';

/** Error codes of a file system without hard links. */
const NO_HARD_LINKS = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK']);

/**
 * Number of descriptors that an atomic write needs at once: the lock, the staged file, and the old file or the
 * directory.
 */
const RESERVED_DESCRIPTORS = 4;

export interface AtomicWriteOptions {
  /** A private directory on the same file system. The file is written there, then renamed. */
  readonly temporary: string;
  /** Write only if the path is free. Of several writers, exactly one gets `written`. */
  readonly exclusive?: boolean | undefined;
}

/** Content that is synced to disk but not yet at its final path. */
export interface StagedFile {
  /** Moves the file to its final path and replaces any file there. Durable when this returns. */
  place(): Promise<void>;
  /** Moves the file to its final path if that is free; `false` if the path is taken. */
  placeIfFree(): Promise<boolean>;
  /** Removes the staged file, unless it was placed. Never throws. */
  discard(): Promise<void>;
}

/**
 * Replaces the file's content atomically: at any moment, and after any crash, a reader finds either the old or the new
 * content complete. Mode 0600. Durable when this returns: the file and its directory are synced.
 *
 * @throws StorageFullError, StorageUnwritableError; the old content is then still in place
 */
export async function writeFileAtomically(
  path: string,
  bytes: Uint8Array,
  { temporary, exclusive }: AtomicWriteOptions,
): Promise<'written' | 'exists'> {
  const staged = await stageFile(path, bytes, temporary);
  try {
    if (exclusive === true) return (await staged.placeIfFree()) ? 'written' : 'exists';
    await staged.place();
    return 'written';
  } finally {
    await staged.discard();
  }
}

/**
 * Does the first half of an atomic write, so that the caller can lock or compare before the second half.
 *
 * @param temporary a private directory on the same file system
 * @throws StorageFullError, StorageUnwritableError; no file is left behind
 */
export async function stageFile(path: string, bytes: Uint8Array, temporary: string): Promise<StagedFile> {
  const staged = join(temporary, `${stagedName(path)}.${randomBytes(8).toString('hex')}`);
  let placed = false;
  const discard = async () => {
    if (placed) return;
    await promises.unlink(staged).catch(() => {
      // The file was never created.
    });
  };
  const named = async (place: () => Promise<boolean>) => {
    try {
      placed = await place();
      if (!placed) return false;
      step('file-placed');
      await syncDirectory(dirname(path));
      step('directory-synced');
      return true;
    } catch (error) {
      throw storageError(error, 'write', path);
    }
  };
  try {
    await writeNewFile(staged, bytes);
  } catch (error) {
    await discard();
    throw storageError(error, 'write', path);
  }
  step('file-staged');
  return {
    discard,
    placeIfFree: () => named(() => takeFreeName(staged, path)),
    place: async () => {
      await named(async () => {
        await whenShared(() => promises.rename(staged, path));
        return true;
      });
    },
  };
}

/** Lists the files that are staged for the path: their writers still run, or died. */
export async function stagedFor(path: string, temporary: string): Promise<string[]> {
  const names = await promises.readdir(temporary).catch(() => []);
  return names.filter((name) => name.startsWith(`${stagedName(path)}.`)).map((name) => join(temporary, name));
}

function stagedName(path: string): string {
  return basename(path).slice(0, 64);
}

/**
 * Writes a small file in place, in one call that a kill of the process cannot split. The file is not synced, and may be
 * incomplete after a power failure. Use it only for data that may be lost.
 *
 * @param bytes always of the same length, so that no older content remains after them
 * @throws StorageFullError, StorageUnwritableError
 */
export async function overwriteFile(path: string, bytes: Uint8Array): Promise<void> {
  try {
    const file = await promises.open(
      path,
      constants.O_WRONLY | constants.O_CREAT | (constants.O_NOFOLLOW ?? 0),
      0o600,
    );
    try {
      await file.write(bytes, 0, bytes.length, 0);
    } finally {
      await file.close();
    }
  } catch (error) {
    throw storageError(error, 'write', path);
  }
}

/**
 * Reserves the disk space and descriptors that a later write needs, before anything depends on that write. The caller
 * releases them right before it.
 *
 * @throws StorageFullError, StorageUnwritableError
 */
export async function reserveSpace(temporary: string, bytes: number): Promise<{ release(): Promise<void> }> {
  const path = join(temporary, `reserved.${randomBytes(8).toString('hex')}`);
  const files: FileHandle[] = [];
  const release = async () => {
    await Promise.allSettled(files.splice(0).map((file) => file.close()));
    await promises.unlink(path).catch(() => {
      // The file was never created, or is already removed.
    });
  };
  try {
    // Random bytes, so that no file system stores them as a hole or compresses them.
    await writeNewFile(path, randomBytes(bytes));
    for (let index = 0; index < RESERVED_DESCRIPTORS; index += 1) files.push(await promises.open(path, 'r'));
    // Unlinked while open: the space stays reserved, and the kernel frees it if this process dies.
    await promises.unlink(path).catch(() => {
      // This file system does not unlink open files.
    });
    return { release };
  } catch (error) {
    await release();
    throw storageError(error, 'write', path);
  }
}

/** Removes the file durably; `false` if it does not exist. */
export async function removeFileDurably(path: string): Promise<boolean> {
  try {
    await whenShared(() => promises.unlink(path));
    await syncDirectory(dirname(path));
    return true;
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return false;
    throw storageError(error, 'write', path);
  }
}

/** Moves a file within one file system, durably; `false` if it does not exist. The new path must be free. */
export async function moveFileDurably(from: string, to: string): Promise<boolean> {
  try {
    await whenShared(() => promises.rename(from, to));
    await syncDirectory(dirname(to));
    await syncDirectory(dirname(from));
    return true;
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return false;
    throw storageError(error, 'write', to);
  }
}

/**
 * Removes files that killed writers left in the temporary directory.
 *
 * @param abandonedAfterMs returns the age, in milliseconds, at which a file of that name counts as abandoned
 */
export async function sweepTemporaries(
  temporary: string,
  abandonedAfterMs: (name: string) => number,
): Promise<void> {
  let names: string[];
  try {
    names = await promises.readdir(temporary);
  } catch {
    return;
  }
  for (const name of names) {
    const path = join(temporary, name);
    try {
      const stats = await promises.lstat(path);
      if (stats.isFile() && Date.now() - stats.mtimeMs > abandonedAfterMs(name)) await promises.unlink(path);
    } catch {
      // Another process swept it first.
    }
  }
}

/** Makes the names in a directory durable. Windows has no such call, but NTFS journals names. */
export async function syncDirectory(path: string): Promise<void> {
  if (process.platform === 'win32') return;
  const directory = await promises.open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await directory.sync();
  } catch (error) {
    // Some network and FUSE file systems refuse to sync a directory; the file's data is synced already.
    const code = systemErrorCode(error);
    if (code !== 'EINVAL' && code !== 'ENOTSUP' && code !== 'EOPNOTSUPP') throw error;
  } finally {
    await directory.close();
  }
}

async function writeNewFile(path: string, bytes: Uint8Array): Promise<void> {
  const file = await promises.open(
    path,
    constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | (constants.O_NOFOLLOW ?? 0),
    0o600,
  );
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}

/**
 * Moves the staged file to its final path if that is free. link(2) fails on an existing path; rename(2) would replace
 * it.
 */
async function takeFreeName(staged: string, path: string): Promise<boolean> {
  try {
    await whenShared(() => promises.link(staged, path));
    await whenShared(() => promises.unlink(staged));
    return true;
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'EEXIST') return false;
    if (code === undefined || !NO_HARD_LINKS.has(code)) throw error;
  }
  // Without hard links, the check and the rename are two steps; concurrent callers hold a lock.
  try {
    await promises.lstat(path);
    return false;
  } catch (error) {
    if (systemErrorCode(error) !== 'ENOENT') throw error;
    await whenShared(() => promises.rename(staged, path));
    return true;
  }
}
