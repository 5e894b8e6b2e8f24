/** A burst may use the tokens of this much time, in milliseconds. */
const BURST_MS = 5_000;

/** Limits calls to a number per minute, with a short burst after a pause. Uses the monotonic clock. */
export class TokenBucket {
  readonly #perMs: number;
  readonly #most: number;
  #tokens: number;
  #at = performance.now();

  constructor(perMinute: number) {
    this.#perMs = perMinute / 60_000;
    this.#most = Math.max(1, BURST_MS * this.#perMs);
    this.#tokens = this.#most;
  }

  /**
   * Takes a token.
   *
   * @returns whether there was one
   */
  take(): boolean {
    const now = performance.now();
    this.#tokens = Math.min(this.#most, this.#tokens + (now - this.#at) * this.#perMs);
    this.#at = now;
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }

  /**
   * @param position position in the queue, from 1
   * @returns how long the caller at that position must wait, in milliseconds
   */
  waitMs(position: number): number {
    return Math.max(0, (position - this.#tokens) / this.#perMs);
  }
}
