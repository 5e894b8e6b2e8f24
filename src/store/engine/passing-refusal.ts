import { type HoldfastError, retryable } from '../../errors.ts';
import { sleep } from '../../system/locks/keyed-mutex.ts';

/*
 * Temporary refusals of an engine: it has no connection to spare, it is starting, or another server takes over from it.
 * The engine did nothing, so the caller may retry.
 */

const FIRST_PAUSE_MS = 25;
const LONGEST_PAUSE_MS = 1000;

const PASSING = new WeakSet<HoldfastError>();

/** Marks the error as temporary, and so as retryable. */
export function passing<T extends HoldfastError>(error: T): T {
  PASSING.add(error);
  return retryable(error);
}

export function isPassing(error: unknown): boolean {
  return error instanceof Error && PASSING.has(error as HoldfastError);
}

/** Retries while the engine refuses temporarily, for at most `forMs` milliseconds. Then throws the last error. */
export async function patiently<T>(step: () => Promise<T>, forMs: number, signal?: AbortSignal): Promise<T> {
  const end = performance.now() + forMs;
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)) {
    try {
      return await step();
    } catch (error) {
      const left = end - performance.now();
      if (!isPassing(error) || left <= 0) throw error;
      // An engine may refuse many processes at one moment: the jitter spreads their retries.
      await sleep(Math.min(left, pauseMs * (0.5 + Math.random())), signal);
    }
  }
}
