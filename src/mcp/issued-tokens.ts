import type { AccessToken } from '../tokens/access-token.ts';

/** How long a request with an older token may be in flight, in milliseconds. */
const GRACE_MS = 10_000;

/**
 * Tracks the tokens given to an SDK, which reports a refusal without naming the token. When twenty requests are refused
 * at once, the last reports arrive after the first one led to a refresh. So a refusal soon after a new generation
 * appeared counts against the previous generation, as many times as that one was issued.
 */
export class IssuedTokens {
  #newest: { readonly generation: number; readonly since: number; times: number } | undefined;
  #before: { readonly generation: number; times: number } | undefined;

  add({ generation }: AccessToken): void {
    if (generation !== this.#newest?.generation) {
      this.#before = this.#newest;
      this.#newest = { generation, since: performance.now(), times: 0 };
    }
    this.#newest.times += 1;
  }

  /**
   * Counts a refusal.
   *
   * @returns the generation that was refused; `undefined` when no token was issued
   */
  refused(): number | undefined {
    const [newest, before] = [this.#newest, this.#before];
    if (newest === undefined) return undefined;
    const isLate = before !== undefined && before.times > 0 && performance.now() - newest.since < GRACE_MS;
    const about = isLate ? before : newest;
    about.times -= 1;
    return about.generation;
  }
}
