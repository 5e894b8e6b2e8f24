import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Credential } from '../../src/credential.ts';
import { alive, freshFor, freshness, lapsesAt, servedFor } from '../../src/credentials/token-age.ts';
import type { Moment } from '../../src/system/clock.ts';
import { sampleCredential } from '../support/homes/credential.ts';
import '../support/fixed-seed.ts';

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const OBTAINED = 1_800_000_000_000;

function lasting(lifeMs: number | undefined, obtainedAt = OBTAINED): Credential {
  const sample = sampleCredential('https://mcp.example.com');
  const expiresAt = lifeMs === undefined ? undefined : obtainedAt + lifeMs;
  return { ...sample, tokens: { ...sample.tokens, obtainedAt, expiresAt } };
}

const at = (wall: number): Moment => ({ wall });
const freshUntil = (credential: Credential) => OBTAINED + freshFor(credential, at(OBTAINED));
const servedUntil = (credential: Credential, now: number, pause: number) =>
  now + servedFor(credential, at(now), pause);

/** Lives from a second to ten years. */
const lives = fc.integer({ min: SECOND, max: 315_360_000 * SECOND });
const shares = fc.double({ min: 0, max: 1, noNaN: true });

describe('the time of a refresh', () => {
  test('refreshes no token before 90 % of its life or five minutes before its end, whichever is later', () => {
    fc.assert(
      fc.property(lives, (life) => {
        const from = OBTAINED + Math.max(0.9 * life, life - 5 * MINUTE);
        expect(freshness(lasting(life), at(Math.floor(from) - 1))).toBe('fresh');
        expect(freshUntil(lasting(life))).toBeGreaterThanOrEqual(Math.floor(from));
      }),
    );
  });

  test('refreshes in the first half of the time left, so that a caller can still use the old token', () => {
    fc.assert(
      fc.property(lives, (life) => {
        const from = Math.max(0.9 * life, life - 5 * MINUTE);
        const latest = OBTAINED + from + (life - from) / 2;
        expect(freshUntil(lasting(life))).toBeLessThanOrEqual(Math.ceil(latest));
        expect(freshness(lasting(life), at(Math.ceil(latest)))).not.toBe('fresh');
      }),
    );
  });

  test('a token goes from fresh to early to lapsed, and never back', () => {
    const order = ['fresh', 'early', 'lapsed'];
    fc.assert(
      fc.property(lives, shares, shares, (life, one, other) => {
        const [sooner, later] = [Math.min(one, other), Math.max(one, other)].map(
          (share) => OBTAINED + share * life * 1.1,
        );
        const [before, after] = [sooner, later].map((now = 0) => freshness(lasting(life), at(now)));
        expect(order.indexOf(after ?? '')).toBeGreaterThanOrEqual(order.indexOf(before ?? ''));
      }),
    );
  });

  test('a token is fresh exactly until the moment it states', () => {
    fc.assert(
      fc.property(lives, (life) => {
        const until = freshUntil(lasting(life));
        expect(freshness(lasting(life), at(until - 1))).toBe('fresh');
        expect(freshness(lasting(life), at(until))).not.toBe('fresh');
      }),
    );
  });

  test('a token lapses ten seconds before its end, or after 95 % of a shorter life', () => {
    expect(freshness(lasting(60 * MINUTE), at(OBTAINED + 60 * MINUTE - 10 * SECOND))).toBe('lapsed');
    expect(freshness(lasting(60 * MINUTE), at(OBTAINED + 60 * MINUTE - 10 * SECOND - 1))).toBe('early');
    expect(freshness(lasting(20 * SECOND), at(OBTAINED + 19 * SECOND))).toBe('lapsed');
    expect(freshness(lasting(20 * SECOND), at(OBTAINED + 19 * SECOND - 1))).toBe('early');
  });

  test('a token without an expiry is fresh forever', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }), (now) => {
        expect(freshness(lasting(undefined), at(now))).toBe('fresh');
        expect(alive(lasting(undefined), at(now))).toBe(true);
      }),
    );
    expect(freshUntil(lasting(undefined))).toBe(Number.POSITIVE_INFINITY);
  });

  test('a token that has expired on arrival was never fresh', () => {
    for (const life of [0, -MINUTE]) {
      expect(freshness(lasting(life), at(OBTAINED))).toBe('lapsed');
      expect(alive(lasting(life), at(OBTAINED))).toBe(false);
      expect(freshUntil(lasting(life))).toBeLessThanOrEqual(OBTAINED);
    }
  });
});

describe('the time a token is served after a failed refresh', () => {
  const pauses = fc.integer({ min: 0, max: 10 * MINUTE });

  test('serves a token never beyond its end, and never longer than the pause', () => {
    fc.assert(
      fc.property(lives, shares, pauses, (life, share, pause) => {
        const credential = lasting(life);
        const now = OBTAINED + share * life;
        fc.pre(alive(credential, at(now)));
        const until = servedUntil(credential, now, pause);
        expect(until).toBeLessThanOrEqual(now + pause);
        expect(until).toBeLessThanOrEqual(OBTAINED + life);
      }),
    );
  });

  test('serves a token until it lapses at most, since a refresh is then worth the wait', () => {
    const credential = lasting(60 * MINUTE);
    const lapses = OBTAINED + 60 * MINUTE - 10 * SECOND;
    expect(servedUntil(credential, lapses - SECOND, MINUTE)).toBe(lapses);
    expect(servedUntil(credential, lapses, MINUTE)).toBe(lapses + 10 * SECOND);
  });
});

describe('a wall clock that jumps', () => {
  const BOOT = 1_000_000;
  const moment = (sinceMs: number, wall: number, id = 'this boot'): Moment => ({
    wall,
    boot: { id, ms: BOOT + sinceMs },
  });
  function obtained(lifeMs: number): Credential {
    const credential = lasting(lifeMs);
    return {
      ...credential,
      tokens: { ...credential.tokens, obtainedBoot: { id: 'this boot', ms: BOOT } },
    };
  }
  const jumps = fc.integer({ min: 0, max: 100 * 365 * 24 * 60 * MINUTE });

  test('a wall clock that is set back changes nothing within a boot, however far', () => {
    fc.assert(
      fc.property(lives, shares, jumps, fc.integer({ min: 0, max: MINUTE }), (life, share, jump, pause) => {
        const since = Math.floor(share * life * 1.1);
        const [steady, jumped] = [moment(since, OBTAINED + since), moment(since, OBTAINED + since - jump)];
        const credential = obtained(life);
        for (const how of [freshness, alive, freshFor] as const) {
          expect(how(credential, jumped)).toEqual(how(lasting(life), at(OBTAINED + since)));
          expect(how(credential, jumped)).toEqual(how(credential, steady));
        }
        expect(servedFor(credential, jumped, pause)).toBe(servedFor(credential, steady, pause));
      }),
    );
  });

  test('a token lapses by the wall clock if the boot clock stood still, as in a suspended virtual machine', () => {
    fc.assert(
      fc.property(lives, shares, jumps, (life, share, stoodStill) => {
        const since = Math.floor(share * life * 1.1);
        const awake = moment(since, OBTAINED + since + stoodStill);
        for (const how of [freshness, alive, freshFor] as const) {
          expect(how(obtained(life), awake)).toEqual(how(lasting(life), at(OBTAINED + since + stoodStill)));
        }
      }),
    );
  });

  test('shows the time left by the boot clock when the wall clock was set back', () => {
    const jumped = moment(10 * MINUTE, OBTAINED - 365 * 24 * 60 * MINUTE);
    expect(lapsesAt(obtained(60 * MINUTE), jumped)).toBe(jumped.wall + 50 * MINUTE);
    expect(lapsesAt(lasting(undefined), jumped)).toBeUndefined();
  });

  test('goes by the wall clock after another boot', () => {
    const later = moment(0, OBTAINED + 59 * MINUTE, 'another boot');
    expect(freshness(obtained(60 * MINUTE), later)).toBe('early');
    expect(freshness(obtained(60 * MINUTE), moment(0, OBTAINED + 10 * MINUTE, 'another boot'))).toBe('fresh');
  });

  test('refreshes a token from the future at once, and serves it until that succeeds', () => {
    const before = at(OBTAINED - 365 * 24 * 60 * MINUTE);
    expect(freshness(lasting(60 * MINUTE), before)).toBe('early');
    expect(freshFor(lasting(60 * MINUTE), before)).toBe(0);
    expect(alive(lasting(60 * MINUTE), before)).toBe(true);
    expect(servedFor(lasting(60 * MINUTE), before, MINUTE)).toBe(MINUTE);
    // It has at most its whole life left, whatever the clock showed when it came.
    expect(lapsesAt(lasting(60 * MINUTE), before)).toBe(before.wall + 60 * MINUTE);
    // Two machines with one store may differ by seconds, which does not make the token early.
    expect(freshness(lasting(60 * MINUTE), at(OBTAINED - 30 * SECOND))).toBe('fresh');
  });
});
