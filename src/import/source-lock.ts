import { dirname } from 'node:path';
import { isThere } from '../system/files/client-file.ts';
import { acquireLock } from '../system/locks/lock.ts';

/* Lock files of sources written in Rust: flock, LockFileEx on Windows. */

/** As long as Codex itself waits, in milliseconds; a refresh under the lock may take 45 s. */
const WAIT_MS = 60_000;

/**
 * Runs the step under that lock. A version of the source that does not lock lacks the lock's directory or file. Then
 * nothing is created, and no lock is taken.
 *
 * @param path the lock file
 * @param options.needs exists if the source locks: its directory of locks, or the lock file itself
 * @throws LockTimeoutError if the source holds it for a minute
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
