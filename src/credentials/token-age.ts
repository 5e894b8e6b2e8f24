import { type Credential, isRenewable, type Tokens } from '../credential.ts';
import { ageOf, type Moment } from '../system/clock.ts';

/*
 * When to refresh (DESIGN section 6): at 90 % of an access token's life or five minutes before its end, whichever is
 * later. Until its end the old token is still usable, so no caller waits for the new one.
 *
 * All times use the token's age. Setting the wall clock, forwards or back, changes nothing within a boot.
 */

/** `early`: usable, and due for its refresh. `lapsed`: too little life is left to make a request with it. */
export type Freshness = 'fresh' | 'early' | 'lapsed';

const EARLY_SHARE = 0.9;
const EARLY_BEFORE_END_MS = 5 * 60 * 1000;

/**
 * A token that ends within this time, in milliseconds, would expire during a request. At most a twentieth of its life.
 */
const MARGIN_MS = 10_000;
const MARGIN_SHARE = 0.05;

/** A token without an expiry that is refused at this age, in milliseconds, has been useful. */
const INEFFECTIVE_AGE_MS = 60_000;

/**
 * Tolerated difference between the clocks of two machines that share a store, in milliseconds. A token from further
 * ahead was dated by a wrong clock.
 */
const CLOCK_TOLERANCE_MS = 60_000;

/** Each process has its own moment in the window, so that a fleet does not refresh all at once. */
const JITTER = Math.random() / 2;

/** The age of the access token, in milliseconds; `undefined` when it seems to come from the future. */
export function tokenAge({ obtainedAt, obtainedBoot }: Tokens, now: Moment): number | undefined {
  const age = ageOf({ wall: obtainedAt, boot: obtainedBoot }, now);
  return age < -CLOCK_TOLERANCE_MS ? undefined : age;
}

/**
 * Re-dates the tokens by the age that the store's clock gives, on this machine's clock. The clock of the machine that
 * wrote them may be wrong.
 */
export function redated(
  credential: Credential,
  ageMs: number | undefined,
  { wall, boot }: Moment,
): Credential {
  if (ageMs === undefined) return credential;
  const { obtainedBoot: _theirs, ...tokens } = credential.tokens;
  const life = lifeOf(credential.tokens);
  const obtainedAt = Math.max(0, Math.round(wall - ageMs));
  return {
    ...credential,
    tokens: {
      ...tokens,
      obtainedAt,
      ...(life === undefined ? {} : { expiresAt: obtainedAt + life }),
      // A token that is older than this boot has no moment in it.
      ...(boot !== undefined && boot.ms >= ageMs
        ? { obtainedBoot: { id: boot.id, ms: Math.round(boot.ms - ageMs) } }
        : {}),
    },
  };
}

export function freshness({ tokens }: Credential, now: Moment): Freshness {
  const life = lifeOf(tokens);
  if (life === undefined) return 'fresh';
  const age = tokenAge(tokens, now);
  // Its age is unknown. Refresh it now, and serve it until that succeeds.
  if (age === undefined) return 'early';
  if (age >= lapsesAfter(life)) return 'lapsed';
  return age >= refreshAfter(life) ? 'early' : 'fresh';
}

/** How long callers can be given this token without a check, in milliseconds. */
export function freshFor({ tokens }: Credential, now: Moment): number {
  const life = lifeOf(tokens);
  if (life === undefined) return Number.POSITIVE_INFINITY;
  const age = tokenAge(tokens, now);
  return age === undefined ? 0 : Math.max(0, Math.min(refreshAfter(life), lapsesAfter(life)) - age);
}

/**
 * How long to serve a token after its refresh failed, without another try, in milliseconds: `pauseMs`, but no longer
 * than the token is valid.
 */
export function servedFor({ tokens }: Credential, now: Moment, pauseMs: number): number {
  const life = lifeOf(tokens);
  const age = tokenAge(tokens, now);
  if (life === undefined || age === undefined) return pauseMs;
  const lapses = lapsesAfter(life);
  return Math.max(0, Math.min(pauseMs, (age < lapses ? lapses : life) - age));
}

/**
 * Whether a token that is refused now was useless: it was refused in the first half of its life. A token that was
 * refused later worked until then, at a server that shortens the lifetime it declares.
 */
export function wasIneffective({ tokens }: Credential, now: Moment): boolean {
  const life = lifeOf(tokens) ?? 2 * INEFFECTIVE_AGE_MS;
  const age = tokenAge(tokens, now);
  return age === undefined || age < life / 2;
}

/** When to refresh it, in milliseconds from now; `Infinity` if a refresh is not possible. */
export function dueInMs(credential: Credential, now: Moment): number {
  const isSettled = credential.loginRequired !== undefined || !isRenewable(credential);
  return isSettled ? Number.POSITIVE_INFINITY : freshFor(credential, now);
}

/** Whether any life is left at all. */
export function alive({ tokens }: Credential, now: Moment): boolean {
  const life = lifeOf(tokens);
  const age = tokenAge(tokens, now);
  return life === undefined || age === undefined || age < life;
}

/**
 * When the access token lapses, by the current wall clock, in milliseconds since the epoch. A token from the future has
 * at most its whole life left; more is not known.
 */
export function lapsesAt({ tokens }: Credential, now: Moment): number | undefined {
  const life = lifeOf(tokens);
  return life === undefined ? undefined : now.wall - (tokenAge(tokens, now) ?? 0) + life;
}

function lifeOf({ obtainedAt, expiresAt }: Tokens): number | undefined {
  return expiresAt === undefined ? undefined : expiresAt - obtainedAt;
}

function refreshAfter(life: number): number {
  const from = Math.max(EARLY_SHARE * life, life - EARLY_BEFORE_END_MS);
  return Math.floor(from + JITTER * (life - from));
}

function lapsesAfter(life: number): number {
  return Math.floor(life - Math.min(MARGIN_MS, MARGIN_SHARE * Math.max(0, life)));
}
