import { type HoldfastError, retryable } from '../../errors.ts';
import { sleep } from '../../system/locks/keyed-mutex.ts';

/*
 * Refusals of an engine that pass by themselves: it has no connection to spare, it is starting, or another server takes over
 * from it. Nothing was done, so the same may be asked again.
 */

const FIRST_PAUSE_MS = 25;
const LONGEST_PAUSE_MS = 1000;

const PASSING = new WeakSet<HoldfastError>();

/** Marks the error as one that passes, and so as one to retry. */
export function passing<T extends HoldfastError>(error: T): T {
  PASSING.add(error);
  return retryable(error);
}

export function isPassing(error: unknown): boolean {
  return error instanceof Error && PASSING.has(error as HoldfastError);
}

/** Asks again while the engine refuses for a reason that passes, and at most for `forMs`. Throws what it said last. */
export async function patiently<T>(step: () => Promise<T>, forMs: number, signal?: AbortSignal): Promise<T> {
  const end = performance.now() + forMs;
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)) {
    try {
      return await step();
    } catch (error) {
      const left = end - performance.now();
      if (!isPassing(error) || left <= 0) throw error;
      // Many processes may have been refused at one moment: they come back at different ones.
      await sleep(Math.min(left, pauseMs * (0.5 + Math.random())), signal);
    }
  }
}
