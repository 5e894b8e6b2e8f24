import { dirname } from 'node:path';
import { isThere } from '../system/files/client-file.ts';
import { acquireLock } from '../system/locks/lock.ts';

/* The locks that peers written in Rust hold on a file of their own: flock, LockFileEx on Windows. */

/** As long as Codex itself waits; a refresh under the lock may take 45 s. */
const WAIT_MS = 60_000;

/**
 * Runs the step under that lock. A version of the peer that does not lock has not made what it needs, and then nothing is
 * made for it.
 *
 * @param path the lock file
 * @param options.needs what is there where the peer locks: its directory of locks, or the lock file itself
 * @throws LockTimeoutError when the peer holds it for a minute
 */
export async function underSourceLock<T>(
  path: string,
  { needs = dirname(path) }: { readonly needs?: string },
  step: () => Promise<T>,
): Promise<T> {
  if (!(await isThere(needs))) return step();
  const lock = await acquireLock(path, { waitMs: WAIT_MS });
  try {
    return await step();
  } finally {
    await lock.release();
  }
}
