import { AbortedError } from '../../errors.ts';

/*
 * Serializes the callers of one process that use the same key. A lock excludes other processes; this mutex orders the
 * callers in front of it, so that only one at a time tries the lock.
 */

export interface WaitOptions {
  /** Time limit for waiting for a living holder, in milliseconds. 0: one attempt. */
  readonly waitMs: number;
  /** Ends the wait with `AbortedError`. */
  readonly signal?: AbortSignal | undefined;
}

export class KeyedMutex {
  readonly #last = new Map<string, Promise<void>>();

  /**
   * Waits for the earlier callers of the key.
   *
   * @param timedOut creates the error to throw after `waitMs`
   * @returns the function that lets the next caller go
   */
  async acquire(key: string, options: WaitOptions, timedOut: () => Error): Promise<() => void> {
    if (options.signal?.aborted) throw aborted(options.signal);
    const before = this.#last.get(key);
    let leave: () => void = () => {};
    const mine = new Promise<void>((resolve) => {
      leave = resolve;
    });
    // A caller that gives up leaves at once, and later callers still wait for the earlier ones.
    const turn = (before ?? Promise.resolve()).then(() => mine);
    this.#last.set(key, turn);
    void turn.then(() => {
      if (this.#last.get(key) === turn) this.#last.delete(key);
    });
    if (before === undefined) return leave;
    try {
      await waitUpTo(before, options, timedOut);
      return leave;
    } catch (error) {
      leave();
      throw error;
    }
  }
}

/** Waits `ms` milliseconds. Rejects with AbortedError when the signal aborts first. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(aborted(signal));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop);
      resolve();
    }, ms);
    if (signal?.aborted) stop();
    else signal?.addEventListener('abort', stop, { once: true });
  });
}

function aborted(signal: AbortSignal | undefined): AbortedError {
  return new AbortedError('The wait was ended by its caller.', { cause: signal?.reason });
}

async function waitUpTo(turn: Promise<void>, options: WaitOptions, timedOut: () => Error): Promise<void> {
  const over = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, over.signal]) : over.signal;
  try {
    await Promise.race([
      turn,
      sleep(options.waitMs, signal).then(() => {
        throw timedOut();
      }),
    ]);
  } finally {
    over.abort();
  }
}
