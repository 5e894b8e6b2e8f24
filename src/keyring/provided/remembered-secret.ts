import { KeyringAbsentError, KeyringDeniedError } from '../../errors.ts';

/** How long what was asked for is used, in milliseconds. */
export interface Remembering {
  /** Without asking again. */
  readonly freshMs: number;
  /** At most, counted from the last answer, while whoever is asked does not answer. */
  readonly outageMs: number;
}

/** Between two tries while there is no answer and the old one serves, in milliseconds. */
const RETRY_MS = 30_000;

/**
 * A secret that is dear to ask for, in this process's memory. Where the answer fails to come, the last one serves on for a
 * while; a refusal, or "there is no such thing", ends it at once.
 */
export class RememberedSecret<T> {
  readonly #ask: () => Promise<T | undefined>;
  readonly #remembering: Remembering;
  #value: T | undefined;
  #answeredAt = 0;
  #askAgainAt = 0;
  #triedAt = 0;
  #asking: Promise<T | undefined> | undefined;

  constructor(ask: () => Promise<T | undefined>, remembering: Remembering) {
    this.#ask = ask;
    this.#remembering = remembering;
  }

  /** @throws what asking throws, where nothing may serve in its place */
  get(): Promise<T | undefined> {
    if (this.#value !== undefined && performance.now() < this.#askAgainAt)
      return Promise.resolve(this.#value);
    if (this.#asking === undefined) {
      const asking = this.#askNow().finally(() => {
        if (this.#asking === asking) this.#asking = undefined;
      });
      this.#asking = asking;
    }
    return this.#asking;
  }

  /** Asks anew at the next `get`; `false` when that was done since that moment, or nothing is remembered. */
  forget(readBefore: number): boolean {
    if (this.#value === undefined || this.#triedAt >= readBefore) return false;
    this.#askAgainAt = 0;
    this.#asking = undefined;
    return true;
  }

  clear(): void {
    this.#value = undefined;
    this.#asking = undefined;
  }

  async #askNow(): Promise<T | undefined> {
    const triedAt = performance.now();
    this.#triedAt = triedAt;
    try {
      const value = await this.#ask();
      // A later question may have been answered first.
      if (this.#triedAt === triedAt) {
        this.#value = value;
        this.#answeredAt = triedAt;
        this.#askAgainAt = triedAt + this.#remembering.freshMs;
      }
      return value;
    } catch (error) {
      const refused = error instanceof KeyringDeniedError || error instanceof KeyringAbsentError;
      const known = this.#value;
      if (refused || known === undefined || triedAt - this.#answeredAt > this.#remembering.outageMs) {
        this.#value = undefined;
        throw error;
      }
      this.#askAgainAt = performance.now() + Math.min(RETRY_MS, this.#remembering.freshMs);
      return known;
    }
  }
}
