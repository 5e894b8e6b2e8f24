import { KeyringAbsentError, KeyringDeniedError } from '../../errors.ts';

/** How long a cached secret is used, in milliseconds. */
export interface Remembering {
  /** Time without another request. */
  readonly freshMs: number;
  /** Maximum time since the last answer, while the source does not answer. */
  readonly outageMs: number;
}

/** Time between retries while the source fails and the old secret is still used, in milliseconds. */
const RETRY_MS = 30_000;

/**
 * Caches an expensive secret in this process's memory. If the source does not answer, the last secret is used for a
 * while. A refusal, or the answer that the secret does not exist, ends that at once.
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

  /** @throws the source's error, if no cached secret may be used instead */
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

  /**
   * Makes the next `get` ask the source.
   *
   * @param readBefore in milliseconds on the monotonic clock
   * @returns `false` if the source was asked since then, or nothing is cached
   */
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
      // A later request may have been answered first.
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
