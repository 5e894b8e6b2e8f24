import type { Credential } from '../credential.ts';

/*
 * An authorization server that refuses many logins at once has a fault of its own, such as a lost database or a wrong clock.
 * Then its refusals end no login. One process sees only the logins it refreshes, so this protects a refresher and a proxy of many
 * users; a single command has no more than one.
 */

/** More logins than this at one issuer are not refused within the time below by chance. */
const MOST_REFUSED = 4;
const WITHIN_MS = 60_000;

export class RefusalBreaker {
  /** By issuer: when each login was refused last, on the monotonic clock. */
  readonly #refused = new Map<string, Map<string, number>>();

  /**
   * Counts a refusal.
   *
   * @param id the record id of the login
   * @returns whether the issuer refuses so many logins that none of it is believed
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
