import { systemErrorCode } from '../files/storage-error.ts';
import { sleep } from '../locks/keyed-mutex.ts';

/*
 * Windows does not rename over a file that someone has open, and does not open one that is about to be removed. Both last
 * for milliseconds: a reader of ours, a virus scanner, the search index.
 */

const REFUSALS = new Set(['EPERM', 'EACCES', 'EBUSY']);
/** Short, so that a moment between two readers is met. */
const FIRST_PAUSE_MS = 1;
const LAST_PAUSE_MS = 8;
/** Whatever still refuses after so long means it. */
const PATIENCE_MS = 1_000;

/** Does the step; on Windows again and again for a second while it is refused. */
export async function whenShared<T>(step: () => Promise<T>): Promise<T> {
  if (process.platform !== 'win32') return step();
  const deadline = performance.now() + PATIENCE_MS;
  for (let wait = FIRST_PAUSE_MS; ; wait = Math.min(wait * 2, LAST_PAUSE_MS)) {
    try {
      return await step();
    } catch (error) {
      if (!REFUSALS.has(systemErrorCode(error) ?? '') || performance.now() > deadline) throw error;
      await sleep(wait * (0.5 + Math.random()));
    }
  }
}
