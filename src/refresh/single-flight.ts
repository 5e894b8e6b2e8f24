import { AbortedError, HoldfastError, TimeoutError, VaultClosedError } from '../errors.ts';
import { sleep } from '../system/locks/keyed-mutex.ts';

/*
 * Callers of one process that want the same refresh share one run. Each waits for as long as it said; the run goes on without
 * them, since its answer must be saved.
 */

export interface Wait {
  /** How long to wait in all, in milliseconds. */
  readonly waitMs: number;
  /** Ends this caller's wait only. */
  readonly signal?: AbortSignal | undefined;
}

/** A run whose own time ends with its caller's says more of why than its caller could: it gets so long to say it. */
const OWN_WORD_MS = 250;

export class SingleFlight<T> {
  readonly #running = new Map<string, Promise<T>>();

  /**
   * @param start begins a run, given how long it may take, in milliseconds
   * @param isPatient whether a run that another caller began, and that failed in a way that may pass, is begun again for this one
   * @throws AbortedError for the caller's signal; TimeoutError when its time was over first
   */
  async join(
    key: string,
    { waitMs, signal }: Wait,
    isPatient: boolean,
    start: (leftMs: number) => Promise<T>,
  ): Promise<T> {
    if (signal?.aborted)
      throw new AbortedError('The wait was ended by its caller.', { cause: signal.reason });
    const end = performance.now() + waitMs;
    for (;;) {
      const left = Math.max(0, end - performance.now());
      const joined = this.#running.get(key);
      try {
        const run = joined ?? this.#begin(key, start(left));
        return await waitFor(run, left + (isPatient ? OWN_WORD_MS : 0), signal);
      } catch (error) {
        // The run's starter had a shorter deadline, or less patience.
        const mayPass = error instanceof HoldfastError && error.retryable && isPatient;
        if (joined === undefined || !mayPass || performance.now() >= end) throw error;
      }
    }
  }

  /** Until nothing runs any more. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#running.values());
  }

  #begin(key: string, started: Promise<T>): Promise<T> {
    const run = started
      .catch((error: unknown) => {
        // Within a run there is one signal: that of `close`.
        throw error instanceof AbortedError ? closed(error) : error;
      })
      .finally(() => this.#running.delete(key));
    this.#running.set(key, run);
    return run;
  }
}

async function waitFor<T>(run: Promise<T>, ms: number, signal: AbortSignal | undefined): Promise<T> {
  const over = new AbortController();
  try {
    return await Promise.race([
      run,
      sleep(ms, signal ? AbortSignal.any([signal, over.signal]) : over.signal).then(() => {
        throw new TimeoutError('The refresh did not end within the time that its caller gave it.', {
          hint: 'Try again in a moment: it goes on meanwhile.',
        });
      }),
    ]);
  } finally {
    over.abort();
    run.catch(() => {
      // Its own caller hears of it; this one has stopped waiting.
    });
  }
}

function closed(cause: AbortedError): VaultClosedError {
  return new VaultClosedError('The vault was closed.', { cause, hint: 'Open another one: openVault()' });
}
