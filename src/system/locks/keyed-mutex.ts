import { AbortedError } from '../../errors.ts';

/*
 * Callers of one process that want the same thing, one after the other. What excludes other processes is a lock; this
 * keeps them in order, and off it.
 */

export interface WaitOptions {
  /** How long to wait for a living holder, in milliseconds. 0: one try. */
  readonly waitMs: number;
  /** Ends the wait with `AbortedError`. */
  readonly signal?: AbortSignal | undefined;
}

export class KeyedMutex {
  readonly #last = new Map<string, Promise<void>>();

  /**
   * Waits for the earlier callers of that key. Answers the function that lets the next one go.
   *
   * @param timedOut makes the error to throw when `waitMs` is over
   */
  async turn(key: string, options: WaitOptions, timedOut: () => Error): Promise<() => void> {
    if (options.signal?.aborted) throw aborted(options.signal);
    const before = this.#last.get(key);
    let leave: () => void = () => {};
    const mine = new Promise<void>((resolve) => {
      leave = resolve;
    });
    // Who gives up leaves at once, and those behind still wait for those before.
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

/** Waits so many milliseconds, or until the signal, then throws AbortedError. */
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
