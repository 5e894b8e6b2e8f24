import { systemErrorCode } from '../files/storage-error.ts';
import { sleep } from '../locks/keyed-mutex.ts';

/*
 * Windows refuses to rename over an open file, and to open a file that is about to be removed. Both conditions last for
 * milliseconds: a Holdfast reader, a virus scanner or the search index has the file open.
 */

const REFUSALS = new Set(['EPERM', 'EACCES', 'EBUSY']);
/** Short, to catch a moment between two readers. */
const FIRST_PAUSE_MS = 1;
const LAST_PAUSE_MS = 8;
/** Time limit for retries, in milliseconds. A refusal that lasts longer is permanent. */
const PATIENCE_MS = 1_000;

/** Runs the step. On Windows, retries a refused step for up to `PATIENCE_MS`. */
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
