import type { Credential } from '../credential.ts';

/*
 * When to refresh (DESIGN section 6): at 90 % of an access token's life or five minutes before its end, whichever is
 * later. From then until the end the old token still serves, so nobody has to wait for the new one.
 */

/** `early`: good, and due for its refresh. `lapsed`: too little life is left for a request to be made with it. */
export type Freshness = 'fresh' | 'early' | 'lapsed';

const EARLY_SHARE = 0.9;
const EARLY_BEFORE_END_MS = 5 * 60 * 1000;

/** A token that ends within the next moments would lapse under way. At most a twentieth of its life. */
const MARGIN_MS = 10_000;
const MARGIN_SHARE = 0.05;

/** Each process has its own moment in the window, so that a fleet does not come all at once. */
const JITTER = Math.random() / 2;

export function freshness({ tokens }: Credential, now: number): Freshness {
  if (tokens.expiresAt === undefined) return 'fresh';
  if (now >= lapsesAt(tokens.obtainedAt, tokens.expiresAt)) return 'lapsed';
  return now >= refreshAt(tokens.obtainedAt, tokens.expiresAt) ? 'early' : 'fresh';
}

/** Until when a caller may be given this token without another thought, in milliseconds since the epoch. */
export function freshUntil({ tokens }: Credential): number {
  return tokens.expiresAt === undefined
    ? Number.POSITIVE_INFINITY
    : Math.min(refreshAt(tokens.obtainedAt, tokens.expiresAt), lapsesAt(tokens.obtainedAt, tokens.expiresAt));
}

/** Until when a token is served whose refresh has just failed, with no other try: for `pauseMs`, and no longer than it is good. */
export function servedUntil({ tokens }: Credential, now: number, pauseMs: number): number {
  if (tokens.expiresAt === undefined) return now + pauseMs;
  const lapses = lapsesAt(tokens.obtainedAt, tokens.expiresAt);
  return Math.min(now + pauseMs, now < lapses ? lapses : tokens.expiresAt);
}

/** Whether any life is left at all. */
export function alive({ tokens }: Credential, now: number): boolean {
  return tokens.expiresAt === undefined || now < tokens.expiresAt;
}

function refreshAt(obtainedAt: number, expiresAt: number): number {
  const from = Math.max(obtainedAt + EARLY_SHARE * (expiresAt - obtainedAt), expiresAt - EARLY_BEFORE_END_MS);
  return from + JITTER * (expiresAt - from);
}

function lapsesAt(obtainedAt: number, expiresAt: number): number {
  return expiresAt - Math.min(MARGIN_MS, MARGIN_SHARE * Math.max(0, expiresAt - obtainedAt));
}
