import { AbortedError, HoldfastError, TimeoutError, VaultClosedError } from '../errors.ts';
import { sleep } from '../system/locks/keyed-mutex.ts';

/*
 * Callers in one process that want the same refresh share one run. Each caller waits as long as it asked to. The run
 * continues without them, because its answer must be saved.
 */

export interface Wait {
  /** Total time to wait, in milliseconds. */
  readonly waitMs: number;
  /** Ends only this caller's wait. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Extra wait when a run's deadline equals its caller's, in milliseconds: the run can give a better reason than a
 * timeout.
 */
const OWN_WORD_MS = 250;

export class SingleFlight<T> {
  readonly #running = new Map<string, Promise<T>>();

  /**
   * Joins the run for `key`, or starts one.
   *
   * @param start starts a run, given its time limit in milliseconds
   * @param isPatient whether this caller starts a new run when another caller's run failed temporarily
   * @throws AbortedError for the caller's signal; TimeoutError when its time ended first
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
        // The run's starter had a shorter deadline, or was less patient.
        const mayPass = error instanceof HoldfastError && error.retryable && isPatient;
        if (joined === undefined || !mayPass || performance.now() >= end) throw error;
      }
    }
  }

  /** Waits until no run is left. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#running.values());
  }

  #begin(key: string, started: Promise<T>): Promise<T> {
    const run = started
      .catch((error: unknown) => {
        // A run has only one signal, that of `close`.
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
      // The caller that started the run receives the error; this one has stopped waiting.
    });
  }
}

function closed(cause: AbortedError): VaultClosedError {
  return new VaultClosedError('The vault was closed.', { cause, hint: 'Open another one: openVault()' });
}
