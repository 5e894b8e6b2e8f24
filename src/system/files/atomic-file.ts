import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, link, lstat, open, readdir, rename, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { step } from '../checkpoints.ts';
import { whenShared } from '../os/windows-sharing.ts';
import { storageError, systemErrorCode } from './storage-error.ts';

/** A file system without hard links says one of these. */
const NO_HARD_LINKS = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK']);

/** What an atomic write under a lock has open at once: the lock, the staged file, the old one or the directory. */
const RESERVED_DESCRIPTORS = 4;

export interface AtomicWriteOptions {
  /** A private directory on the same file system, where the file is written before it takes its name. */
  readonly temporary: string;
  /** Write only if nothing has that name yet: of many writers exactly one gets `written`. */
  readonly exclusive?: boolean | undefined;
}

/** Content that is on disk, synced, and has no name yet that anyone looks for. */
export interface StagedFile {
  /** Gives it that name, in place of what has it. Durable when it returns. */
  place(): Promise<void>;
  /** Gives it that name if nothing has it; `false` when something has. */
  placeIfFree(): Promise<boolean>;
  /** Removes it, unless it was placed. Never throws. */
  discard(): Promise<void>;
}

/**
 * Gives the file its new content so that any reader, at any moment and after any crash, finds the old or the new one
 * whole. Mode 0600. Durable when it returns: the file and its directory are synced.
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
 * The first half of an atomic write, for those who can do something else meanwhile: take a lock, compare.
 *
 * @param temporary a private directory on the same file system
 * @throws StorageFullError, StorageUnwritableError; nothing is left behind
 */
export async function stageFile(path: string, bytes: Uint8Array, temporary: string): Promise<StagedFile> {
  const staged = join(temporary, `${stagedName(path)}.${randomBytes(8).toString('hex')}`);
  let placed = false;
  const discard = async () => {
    if (placed) return;
    await unlink(staged).catch(() => {
      // It was never made.
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
        await whenShared(() => rename(staged, path));
        return true;
      });
    },
  };
}

/** What was staged for that path and has not taken its name: its writer is at it, or died. */
export async function stagedFor(path: string, temporary: string): Promise<string[]> {
  const names = await readdir(temporary).catch(() => []);
  return names.filter((name) => name.startsWith(`${stagedName(path)}.`)).map((name) => join(temporary, name));
}

function stagedName(path: string): string {
  return basename(path).slice(0, 64);
}

/**
 * Writes a small file in place, in one call that a kill of the process cannot cut in two. Not synced, and not whole after
 * a power cut: for what is a help and no promise.
 *
 * @param bytes always as many, so that nothing of an older content stays behind them
 * @throws StorageFullError, StorageUnwritableError
 */
export async function overwriteFile(path: string, bytes: Uint8Array): Promise<void> {
  try {
    const file = await open(
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
 * Takes up space, and descriptors, that a later write will need, so that it is known before anything is at stake that
 * they are there. Released right before that write.
 *
 * @throws StorageFullError, StorageUnwritableError
 */
export async function reserveSpace(temporary: string, bytes: number): Promise<{ release(): Promise<void> }> {
  const path = join(temporary, `reserved.${randomBytes(8).toString('hex')}`);
  const files: FileHandle[] = [];
  const release = async () => {
    await Promise.allSettled(files.splice(0).map((file) => file.close()));
    await unlink(path).catch(() => {
      // It was never made, or is released already.
    });
  };
  try {
    // Random, so that no file system takes it for a hole or squeezes it to nothing.
    await writeNewFile(path, randomBytes(bytes));
    for (let index = 0; index < RESERVED_DESCRIPTORS; index += 1) files.push(await open(path, 'r'));
    // The room is taken for as long as it is open: whoever is killed gives it back.
    await unlink(path).catch(() => {
      // This file system wants it closed first.
    });
    return { release };
  } catch (error) {
    await release();
    throw storageError(error, 'write', path);
  }
}

/** Removes the file for good; `false` when it was not there. */
export async function removeFileDurably(path: string): Promise<boolean> {
  try {
    await whenShared(() => unlink(path));
    await syncDirectory(dirname(path));
    return true;
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return false;
    throw storageError(error, 'write', path);
  }
}

/** Moves a file within one file system, durably; `false` when it was not there. The new name must be free. */
export async function moveFileDurably(from: string, to: string): Promise<boolean> {
  try {
    await whenShared(() => rename(from, to));
    await syncDirectory(dirname(to));
    await syncDirectory(dirname(from));
    return true;
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return false;
    throw storageError(error, 'write', to);
  }
}

/**
 * Removes what writers that were killed left behind in the temporary directory.
 *
 * @param abandonedAfterMs how old a file of that name is when it is of no use to anyone
 */
export async function sweepTemporaries(
  temporary: string,
  abandonedAfterMs: (name: string) => number,
): Promise<void> {
  let names: string[];
  try {
    names = await readdir(temporary);
  } catch {
    return;
  }
  for (const name of names) {
    const path = join(temporary, name);
    try {
      const stats = await lstat(path);
      if (stats.isFile() && Date.now() - stats.mtimeMs > abandonedAfterMs(name)) await unlink(path);
    } catch {
      // Another process swept it first.
    }
  }
}

/** Makes names in the directory durable. Windows has no such call; there NTFS journals them. */
export async function syncDirectory(path: string): Promise<void> {
  if (process.platform === 'win32') return;
  const directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await directory.sync();
  } catch (error) {
    // Some network and FUSE file systems refuse to sync a directory; the data itself is synced.
    const code = systemErrorCode(error);
    if (code !== 'EINVAL' && code !== 'ENOTSUP' && code !== 'EOPNOTSUPP') throw error;
  } finally {
    await directory.close();
  }
}

async function writeNewFile(path: string, bytes: Uint8Array): Promise<void> {
  const file = await open(
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

/** Gives the staged file its name if that is free. link(2) fails on a name that is taken; rename(2) would replace it. */
async function takeFreeName(staged: string, path: string): Promise<boolean> {
  try {
    await whenShared(() => link(staged, path));
    await whenShared(() => unlink(staged));
    return true;
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'EEXIST') return false;
    if (code === undefined || !NO_HARD_LINKS.has(code)) throw error;
  }
  // Without hard links the check and the rename are two steps; callers that race hold a lock.
  try {
    await lstat(path);
    return false;
  } catch (error) {
    if (systemErrorCode(error) !== 'ENOENT') throw error;
    await whenShared(() => rename(staged, path));
    return true;
  }
}
