import type { Credential } from '../credential.ts';
import type { BeginOptions } from '../credentials/lease/credential-lease.ts';
import { lapsesAt } from '../credentials/token-age.ts';
import { type Moment, thisMoment } from '../system/clock.ts';

/*
 * How a server treats a second use of a refresh token. No metadata declares it, yet it decides how to follow a claim
 * whose holder went silent during its request. A server with a replay window answers again, so waiting gains nothing
 * (eager). A strict server ends the login, so we wait for a holder that may only be paused and still have the answer
 * (patient). If only the holder's death frees a lease, no holder can come back, and none of this matters.
 */

export type Reuse = 'window' | 'strict' | 'unknown';

/**
 * Servers whose window is documented or was reported; as of 2026-11. The entry is the issuer's host or a parent domain
 * of it. `config.json` sets it for others: `"servers": { "<URL>": { "replay": "strict" } }`.
 */
const KNOWN: readonly (readonly [host: string, replay: Reuse])[] = [
  // Ten seconds; the immediate parent works always.
  ['supabase.com', 'window'],
  ['supabase.co', 'window'],
  // Thirty minutes, as reported (anthropics/claude-code issue 85236).
  ['linear.app', 'window'],
];

/**
 * A running refresh ends first, after its own timeout at the latest; its tokens are the ones that count. Milliseconds.
 */
const OPERATION_WAIT_MS = 100_000;

/** The longest common replay window, in milliseconds (Okta and Cognito: up to a minute). */
const USUAL_WINDOW_MS = 60_000;

export class ReusePolicy {
  readonly #set: (credential: Credential) => Promise<Reuse | undefined>;
  readonly #strict = new Set<string>();

  /** @param set the user's setting for that server, if any */
  constructor(set: (credential: Credential) => Promise<Reuse | undefined> = async () => undefined) {
    this.#set = set;
  }

  async of(credential: Credential): Promise<Reuse> {
    const { issuer } = credential.server;
    // A login reports a setting that cannot be read. It is no reason to withhold a token.
    const said = await this.#set(credential).catch(() => undefined);
    if (said !== undefined) return said;
    if (this.#strict.has(issuer)) return 'strict';
    const host = URL.canParse(issuer) ? new URL(issuer).hostname : '';
    return KNOWN.find(([known]) => host === known || host.endsWith(`.${known}`))?.[1] ?? 'unknown';
  }

  /**
   * Records that a server refused a refresh token after an earlier request with an unknown outcome. A strict server
   * only makes holders patient. Holdfast never learns that a server has a window: a second success proves nothing,
   * because the first request may never have arrived.
   */
  learnStrict({ server: { issuer } }: Credential): void {
    this.#strict.add(issuer);
  }

  /**
   * How long after a request its server lets the newest of several answers count, in milliseconds. 0 if unknown: every
   * answer may then be the only one.
   */
  async newestCountsForMs(credential: Credential): Promise<number> {
    return (await this.of(credential)) === 'window' ? USUAL_WINDOW_MS : 0;
  }

  /** How an operation that changes or ends the credential waits for its lease: as a refresh would. */
  async patience(credential: Credential, signal: AbortSignal | undefined): Promise<BeginOptions> {
    return { waitMs: OPERATION_WAIT_MS, canWaitMs: await this.canWaitMs(credential, thisMoment()), signal };
  }

  /**
   * How long a caller can wait without new tokens for a holder that went silent, in milliseconds. If nothing is known
   * about the server, this is the remaining life of the old token, because crashes are far more common than long
   * pauses.
   */
  async canWaitMs(credential: Credential, now: Moment): Promise<number> {
    const replay = await this.of(credential);
    if (replay === 'window') return 0;
    if (replay === 'strict') return Number.POSITIVE_INFINITY;
    return Math.max(0, (lapsesAt(credential, now) ?? Number.POSITIVE_INFINITY) - now.wall);
  }
}
