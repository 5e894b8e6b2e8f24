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
 * Takes the locks that other programs use for their own files: a path beside the file, or in a directory of locks, that
 * one process at a time can create. Each lock is taken, judged abandoned, and released as the other program does it.
 * All are for steps of milliseconds, so Holdfast never renews a lock while it holds it.
 */

/** Error codes of a rename onto a directory that is not empty. */
const TAKEN = new Set(['ENOTEMPTY', 'EEXIST']);

/** Releases the lock. */
type Release = () => Promise<void>;

/**
 * Runs the step under the lock.
 *
 * @param path the lock's path, for the timeout error
 * @param options.take makes one attempt; returns `undefined` while another process holds the lock
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
      // A process that took the lock for abandoned holds it now.
    });
  }
}

/**
 * Runs the step under a directory that its holder touches every few seconds (the package proper-lockfile).
 *
 * @param options.staleMs the time since the last touch, in milliseconds, after which the lock counts as abandoned
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
 * Runs the step under a directory with a file that names the holder (Cline). A rename puts both in place together, so
 * nobody sees the directory without the file.
 *
 * @param options.staleMs the age, in milliseconds, at which the lock counts as abandoned
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
      // Moved aside first: of several processes that find the lock stale, one removes it, and none removes the next
      // holder's lock.
      const aside = `${path}.stale.${token}`;
      await quietly(rename(path, aside).then(() => rm(aside, { recursive: true, force: true })));
    }
    try {
      await mkdir(staged, { mode: 0o700 });
      await writeFile(join(staged, owner), token, { flag: 'wx', mode: 0o600 });
      // The rename fails on a directory that is not empty.
      await rename(staged, path);
    } catch (error) {
      await rm(staged, { recursive: true, force: true });
      // The lock is held, though its holder may have released it by now. Windows has another code for this.
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
 * Runs the step under a directory with `heartbeat`, which its holder touches, and `meta.json`, which names the holder
 * (opencode).
 *
 * @param options.staleMs the time since the last heartbeat, in milliseconds, after which the lock counts as abandoned
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

/**
 * The age, in milliseconds, at which a lock file without a pid counts as abandoned. Until then its holder may still
 * write it.
 */
const UNFINISHED_MS = 1_000;

/**
 * Runs the step under a lock file beside the file, `<file>.lock`, with the holder's pid (mcporter). The lock counts as
 * abandoned when no such process exists.
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
    // Signal 0 checks whether the process exists. EPERM means that it exists and belongs to someone else.
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return systemErrorCode(error) === 'ESRCH';
  } finally {
    await file.close();
  }
}

/**
 * Removes an abandoned lock. Of several processes that find it, the one that creates the breaker at `path` checks it
 * again and removes it.
 */
async function withBreaker(
  path: string,
  lock: {
    readonly isStale: () => Promise<boolean>;
    readonly remove: () => Promise<void>;
    /** The age, in milliseconds, at which the breaker itself counts as abandoned. */
    readonly staleMs?: number;
    /** Whether the program's breaker is a file with the process's pid, instead of a directory. */
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

/** Creates the directory; `false` when the path exists. */
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

/** Tells whether the first existing path was last modified more than `ageMs` milliseconds ago. */
async function isOlder(paths: readonly string[], ageMs: number): Promise<boolean> {
  for (const path of paths) {
    const touched = (await stat(path).catch(() => undefined))?.mtimeMs;
    if (touched !== undefined) return Date.now() - touched > ageMs;
  }
  return false;
}

/** Ignores the failure of a removal, since another process may remove it first. */
async function quietly(step: Promise<unknown>): Promise<void> {
  await step.catch(() => undefined);
}
