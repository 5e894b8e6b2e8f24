import type { AccessToken } from '../tokens/access-token.ts';

/** How long a request that carries an older token may be under way, in milliseconds. */
const GRACE_MS = 10_000;

/**
 * Tokens that were handed to an SDK, which later says that one was refused and not which. Of twenty requests that are refused
 * at once, the last are heard of when the first has had the token renewed: so what comes soon after a new generation began to
 * be handed out is about the one before, as often as that one was handed out.
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

  /** Counts a refusal, and yields the generation that it is about; nothing when none was handed out. */
  refused(): number | undefined {
    const [newest, before] = [this.#newest, this.#before];
    if (newest === undefined) return undefined;
    const isLate = before !== undefined && before.times > 0 && performance.now() - newest.since < GRACE_MS;
    const about = isLate ? before : newest;
    about.times -= 1;
    return about.generation;
  }
}
