/** A burst may take what has gathered in so many milliseconds. */
const BURST_MS = 5_000;

/** Lets so many through a minute, and a short burst after a pause. On the monotonic clock. */
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

  /** Whether one may go now. */
  take(): boolean {
    const now = performance.now();
    this.#tokens = Math.min(this.#most, this.#tokens + (now - this.#at) * this.#perMs);
    this.#at = now;
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }

  /** How long until the so-manyth of those who wait may go, in milliseconds. */
  waitMs(place: number): number {
    return Math.max(0, (place - this.#tokens) / this.#perMs);
  }
}
