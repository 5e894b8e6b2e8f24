import type { Credential } from '../credential.ts';

/*
 * An authorization server that refuses many logins at once has a fault of its own, such as a lost database or a wrong
 * clock. Its refusals then end no login. A process sees only the logins that it refreshes, so this protects a refresher
 * and a proxy with many users; a single command has only one login.
 */

/** Maximum number of logins that one issuer refuses by chance within `WITHIN_MS` milliseconds. */
const MOST_REFUSED = 4;
const WITHIN_MS = 60_000;

export class RefusalBreaker {
  /** By issuer: when it last refused each login, on the monotonic clock. */
  readonly #refused = new Map<string, Map<string, number>>();

  /**
   * Counts a refusal.
   *
   * @param id the record id of the login
   * @returns whether the issuer refuses too many logins for any refusal to be believed
   */
  refused({ server: { issuer } }: Credential, id: string): boolean {
    const now = performance.now();
    const logins = this.#refused.get(issuer) ?? new Map<string, number>();
    this.#refused.set(issuer, logins);
    logins.set(id, now);
    for (const [login, at] of logins) if (now - at > WITHIN_MS) logins.delete(login);
    return logins.size > MOST_REFUSED;
  }
}
