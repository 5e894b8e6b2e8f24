import { HoldfastError } from '../errors.ts';
import type { RecordAddress } from '../store/record-store.ts';
import type { RecordAccess } from './sealed/record-access.ts';

/*
 * Checks the records that this process wrote after the connection to an engine broke. The server that answers next may
 * lack the last writes: a replica was promoted, or a backup was restored. Another process would then send a refresh
 * token that is used up. So this process reads its records at once, without waiting for a caller.
 */

/** The pause between two tries while the engine is unreachable, in milliseconds; it grows. */
const FIRST_RETRY_MS = 250;
const LONGEST_RETRY_MS = 2_000;

export class LookBack {
  readonly #store: RecordAccess;
  readonly #written: () => readonly RecordAddress[];
  #timer: NodeJS.Timeout | undefined;
  #isLooking = false;
  #isWanted = false;
  #isClosed = false;

  /** @param written the addresses that this process has written */
  constructor(store: RecordAccess, written: () => readonly RecordAddress[]) {
    this.#store = store;
    this.#written = written;
  }

  /** Looks as soon as the engine answers. */
  soon(): void {
    this.#isWanted = true;
    if (!this.#isLooking && this.#timer === undefined) this.#lookIn(0, FIRST_RETRY_MS);
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  #lookIn(ms: number, nextMs: number): void {
    if (this.#isClosed) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#isLooking = true;
      this.#isWanted = false;
      void this.#look().then((isDone) => {
        this.#isLooking = false;
        if (!isDone) this.#lookIn(nextMs, Math.min(2 * nextMs, LONGEST_RETRY_MS));
        else if (this.#isWanted) this.#lookIn(FIRST_RETRY_MS, FIRST_RETRY_MS);
      });
    }, ms);
    this.#timer.unref();
  }

  /** Whether the engine answered. */
  async #look(): Promise<boolean> {
    const addresses = this.#written();
    if (addresses.length === 0) return true;
    try {
      const { held } = await this.#store.open(addresses);
      // `newest` writes a record again if the store has an older state.
      for (const stored of held) this.#store.newest(stored);
      return true;
    } catch (error) {
      // Do not retry after a bug.
      return !(error instanceof HoldfastError && error.retryable);
    }
  }
}
