import { HoldfastError } from '../errors.ts';
import type { RecordAddress } from '../store/record-store.ts';
import type { RecordAccess } from './sealed/record-access.ts';

/*
 * After the way to an engine broke, another server may answer that lacks the last writes: a replica was promoted, a backup
 * restored. The next process that asks for such a login would send a refresh token that was used up. So this process reads at
 * once what it has written, and does not wait until somebody asks for it.
 */

/** Between two tries while the engine stays away, in milliseconds: growing. */
const FIRST_RETRY_MS = 250;
const LONGEST_RETRY_MS = 2_000;

export class LookBack {
  readonly #store: RecordAccess;
  readonly #written: () => readonly RecordAddress[];
  #timer: NodeJS.Timeout | undefined;
  #isLooking = false;
  #isWanted = false;
  #isClosed = false;

  /** @param written where this process has written */
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

  /** Whether the engine could say what it has. */
  async #look(): Promise<boolean> {
    const addresses = this.#written();
    if (addresses.length === 0) return true;
    try {
      const { held } = await this.#store.open(addresses);
      // Whatever is older there than here is written again.
      for (const stored of held) this.#store.newest(stored);
      return true;
    } catch (error) {
      // A defect is not asked about again.
      return !(error instanceof HoldfastError && error.retryable);
    }
  }
}
