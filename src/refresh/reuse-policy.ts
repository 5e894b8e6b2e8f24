import type { Credential } from '../credential.ts';
import type { BeginOptions } from '../credentials/lease/credential-lease.ts';
import { lapsesAt } from '../credentials/token-age.ts';
import { type Moment, thisMoment } from '../system/clock.ts';

/*
 * What a server does with a refresh token that is presented a second time. No metadata says it, and it decides how a claim
 * is followed whose holder went silent in the middle of its request. A server with a replay window answers again, so
 * waiting gains nothing (eager). A strict one ends the login: there it is worth waiting for a holder that is merely stopped,
 * with the answer in hand (patient). Where a lease is freed by nothing but the death of its holder, nobody can come back,
 * and none of this matters.
 */

export type Reuse = 'window' | 'strict' | 'unknown';

/**
 * Servers whose window is documented or was reported; as of 2026-11. By the host of the issuer, itself or below.
 * `config.json` says it for others: `"servers": { "<URL>": { "replay": "strict" } }`.
 */
const KNOWN: readonly (readonly [host: string, replay: Reuse])[] = [
  // Ten seconds, and the immediate parent always.
  ['supabase.com', 'window'],
  ['supabase.co', 'window'],
  // Thirty minutes, as reported (anthropics/claude-code issue 85236).
  ['linear.app', 'window'],
];

/** A refresh under way ends first, at its own timeout at the latest, in milliseconds; its tokens are those that count. */
const OPERATION_WAIT_MS = 100_000;

/** The longest window that is common (Okta and Cognito: up to a minute). */
const USUAL_WINDOW_MS = 60_000;

export class ReusePolicy {
  readonly #set: (credential: Credential) => Promise<Reuse | undefined>;
  readonly #strict = new Set<string>();

  /** @param set what the user has said of that server, if anything */
  constructor(set: (credential: Credential) => Promise<Reuse | undefined> = async () => undefined) {
    this.#set = set;
  }

  async of(credential: Credential): Promise<Reuse> {
    const { issuer } = credential.server;
    // A setting that cannot be read is said where it is used, at a login; it is no reason to give no token.
    const said = await this.#set(credential).catch(() => undefined);
    if (said !== undefined) return said;
    if (this.#strict.has(issuer)) return 'strict';
    const host = URL.canParse(issuer) ? new URL(issuer).hostname : '';
    return KNOWN.find(([known]) => host === known || host.endsWith(`.${known}`))?.[1] ?? 'unknown';
  }

  /**
   * A refresh token was refused whose earlier request had no known end. That a server is strict only makes holders patient. That
   * one has a window is never learnt: a second success proves nothing, since the first request may never have arrived.
   */
  learnStrict({ server: { issuer } }: Credential): void {
    this.#strict.add(issuer);
  }

  /**
   * For how long after a request its server lets the newest of several answers count, in milliseconds. 0 where that is not
   * known: there every answer may be the only one.
   */
  async newestCountsForMs(credential: Credential): Promise<number> {
    return (await this.of(credential)) === 'window' ? USUAL_WINDOW_MS : 0;
  }

  /** How an operation that changes or ends the credential waits for its lease: as a refresh would. */
  async patience(credential: Credential, signal: AbortSignal | undefined): Promise<BeginOptions> {
    return { waitMs: OPERATION_WAIT_MS, canWaitMs: await this.canWaitMs(credential, thisMoment()), signal };
  }

  /**
   * How long one can do without new tokens for the sake of a holder that went silent, in milliseconds. Where nothing is known
   * of the server: as long as the old token serves, since crashes are far more common than long stops.
   */
  async canWaitMs(credential: Credential, now: Moment): Promise<number> {
    const replay = await this.of(credential);
    if (replay === 'window') return 0;
    if (replay === 'strict') return Number.POSITIVE_INFINITY;
    return Math.max(0, (lapsesAt(credential, now) ?? Number.POSITIVE_INFINITY) - now.wall);
  }
}
