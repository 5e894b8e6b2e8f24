import { randomUUID } from 'node:crypto';
import {
  mkdir,
  open,
  readFile,
  realpath,
  rename,
  rm,
  rmdir,
  stat,
  unlink,
  writeFile,
} from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { LockTimeoutError } from '../../errors.ts';
import { shellPath, storageError, systemErrorCode } from '../files/storage-error.ts';
import { sleep } from './keyed-mutex.ts';

/*
 * Locks that other programs have made for their own files: a name beside the file, or in a directory of locks, that one
 * process at a time can make. Each is taken, taken for left behind, and given back as that program itself does it. All are
 * meant for steps of milliseconds: none is touched meanwhile.
 */

/** What a rename onto a directory says that is not empty. */
const TAKEN = new Set(['ENOTEMPTY', 'EEXIST']);

/** Gives it back. */
type Release = () => Promise<void>;

/**
 * Runs the step while the lock is ours.
 *
 * @param path what the lock is called, for who waits in vain
 * @param options.take one attempt; `undefined` while another process has it
 * @throws LockTimeoutError when a living holder keeps it for `waitMs`
 * @throws StorageUnwritableError, StorageFullError
 */
export async function underExternalLock<T>(
  path: string,
  options: { readonly waitMs: number; readonly take: () => Promise<Release | undefined> },
  step: () => Promise<T>,
): Promise<T> {
  const deadline = performance.now() + options.waitMs;
  let release: Release | undefined;
  for (;;) {
    try {
      release = await options.take();
    } catch (error) {
      throw storageError(error, 'write', path);
    }
    if (release !== undefined) break;
    if (performance.now() > deadline) {
      throw new LockTimeoutError(
        `Another program has held ${shellPath(path)} for ${Math.round(options.waitMs / 1000)} s.`,
        { hint: 'End the program whose file that is, then try again.' },
      );
    }
    await sleep(50 * (0.5 + Math.random()));
  }
  try {
    return await step();
  } finally {
    await release().catch(() => {
      // Whoever took it for left behind has it now.
    });
  }
}

/**
 * A directory whose holder touches it every few seconds (the package proper-lockfile).
 *
 * @param options.staleMs how long after its last touch it counts as left behind
 */
export function underLockDirectory<T>(
  path: string,
  options: { readonly staleMs: number; readonly waitMs: number },
  step: () => Promise<T>,
): Promise<T> {
  const take = async () => {
    if (await made(path)) return () => rmdir(path);
    if (await isOlder([path], options.staleMs)) await quietly(rmdir(path));
    return undefined;
  };
  return underExternalLock(path, { waitMs: options.waitMs, take }, step);
}

/**
 * A directory that comes into its place with a file in it that names the holder, so that nobody sees it without (Cline).
 *
 * @param options.staleMs how long after it was made it counts as left behind
 */
export function underOwnedDirectory<T>(
  path: string,
  options: { readonly staleMs: number; readonly waitMs: number },
  step: () => Promise<T>,
): Promise<T> {
  const token = `${process.pid}.${Date.now()}.${randomUUID()}`;
  const staged = `${path}.tmp.${token}`;
  const owner = `owner.${token}`;
  const take = async () => {
    if (await isOlder([path], options.staleMs)) {
      // Moved aside first: of several that find it so, one removes it, and none the lock of the next holder.
      const aside = `${path}.stale.${token}`;
      await quietly(rename(path, aside).then(() => rm(aside, { recursive: true, force: true })));
    }
    try {
      await mkdir(staged, { mode: 0o700 });
      await writeFile(join(staged, owner), token, { flag: 'wx', mode: 0o600 });
      // Fails on a directory that is not empty.
      await rename(staged, path);
    } catch (error) {
      await rm(staged, { recursive: true, force: true });
      // Its holder may have given it back by now. Windows has another code for it.
      if (TAKEN.has(systemErrorCode(error) ?? '') || (await isThere(path))) return undefined;
      throw error;
    }
    return async () => {
      await unlink(join(path, owner));
      await rmdir(path);
    };
  };
  return underExternalLock(path, { waitMs: options.waitMs, take }, step);
}

/**
 * A directory with `heartbeat`, which its holder touches, and `meta.json`, which says who that is (opencode).
 *
 * @param options.staleMs how long after its last heartbeat it counts as left behind
 */
export function underHeartbeatDirectory<T>(
  path: string,
  options: { readonly staleMs: number; readonly waitMs: number },
  step: () => Promise<T>,
): Promise<T> {
  const heartbeat = join(path, 'heartbeat');
  const meta = join(path, 'meta.json');
  const isStale = () => isOlder([heartbeat, meta, path], options.staleMs);
  const remove = () => rm(path, { recursive: true, force: true });
  const take = async () => {
    if (!(await made(path))) {
      if (await isStale())
        await withBreaker(`${path}.breaker`, { isStale, remove, staleMs: options.staleMs });
      return undefined;
    }
    const token = randomUUID();
    const holder = { token, pid: process.pid, hostname: hostname(), createdAt: new Date().toISOString() };
    try {
      await writeFile(heartbeat, '', { flag: 'wx', mode: 0o600 });
      await writeFile(meta, JSON.stringify(holder), { flag: 'wx', mode: 0o600 });
    } catch (error) {
      await remove();
      throw error;
    }
    return async () => {
      if ((await readFile(meta, 'utf8')).includes(token)) await remove();
    };
  };
  return underExternalLock(path, { waitMs: options.waitMs, take }, step);
}

/** How long a lock file without a number in it may be in the making. */
const UNFINISHED_MS = 1_000;

/**
 * A file beside that file, `<file>.lock`, with the number of the process that has it (mcporter). It was left behind when no
 * such process is there.
 */
export async function underPidFile<T>(
  file: string,
  options: { readonly waitMs: number },
  step: () => Promise<T>,
): Promise<T> {
  const path = `${await realpath(file).catch(() => file)}.lock`;
  const isStale = () => isLeftBehind(path);
  const take = async () => {
    const text = `${process.pid}\n${new Date().toISOString()}\n`;
    try {
      await writeFile(path, text, { flag: 'wx', mode: 0o600 });
    } catch (error) {
      if (systemErrorCode(error) !== 'EEXIST') throw error;
      if (await isStale()) {
        await withBreaker(`${path}.break`, { isStale, remove: () => unlink(path), isFile: true });
      }
      return undefined;
    }
    return async () => {
      if ((await readFile(path, 'utf8')) === text) await unlink(path);
    };
  };
  return underExternalLock(path, { waitMs: options.waitMs, take }, step);
}

async function isLeftBehind(path: string): Promise<boolean> {
  const file = await open(path, 'r').catch(() => undefined);
  if (file === undefined) return false;
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(64), 0, 64, 0);
    const pid = Number.parseInt(buffer.toString('latin1', 0, bytesRead), 10);
    if (!(pid > 0)) return Date.now() - (await file.stat()).mtimeMs > UNFINISHED_MS;
    // Signal 0 asks whether the process exists; EPERM means that it does, and is someone else's.
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return systemErrorCode(error) === 'ESRCH';
  } finally {
    await file.close();
  }
}

/** Of several that find a lock left behind, the one that makes this name removes it, when it still finds it so. */
async function withBreaker(
  path: string,
  lock: {
    readonly isStale: () => Promise<boolean>;
    readonly remove: () => Promise<void>;
    /** How long after it was made a breaker counts as left behind itself. */
    readonly staleMs?: number;
    /** Whether the program makes a file for it, with the number of the process, and no directory. */
    readonly isFile?: boolean;
  },
): Promise<void> {
  try {
    if (lock.isFile === true) await writeFile(path, `${process.pid}\n`, { flag: 'wx', mode: 0o600 });
    else await mkdir(path, { mode: 0o700 });
  } catch (error) {
    if (systemErrorCode(error) !== 'EEXIST') throw error;
    const isLeft =
      lock.staleMs === undefined ? await isLeftBehind(path) : await isOlder([path], lock.staleMs);
    if (isLeft) await rm(path, { recursive: true, force: true });
    return;
  }
  try {
    if (await lock.isStale()) await quietly(lock.remove());
  } finally {
    await rm(path, { recursive: true, force: true });
  }
}

/** Makes the directory; `false` when something has that name. */
async function made(path: string): Promise<boolean> {
  try {
    await mkdir(path, { mode: 0o700 });
    return true;
  } catch (error) {
    if (systemErrorCode(error) === 'EEXIST') return false;
    throw error;
  }
}

async function isThere(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}

/** Whether the first of these that is there was last touched longer ago than that. */
async function isOlder(paths: readonly string[], ageMs: number): Promise<boolean> {
  for (const path of paths) {
    const touched = (await stat(path).catch(() => undefined))?.mtimeMs;
    if (touched !== undefined) return Date.now() - touched > ageMs;
  }
  return false;
}

/** For a removal in which another process may be faster. */
async function quietly(step: Promise<unknown>): Promise<void> {
  await step.catch(() => undefined);
}
