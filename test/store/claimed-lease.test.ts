import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { LeaseLostError, StoreUnreachableError } from '../../src/errors.ts';
import { EngineStore } from '../../src/store/engine/engine-store.ts';
import { memoryEngine, SharedMemory } from '../support/engines/memory-engine.ts';

/*
 * When the holder of a claim may send, by the clock of its own process. The tests stop that clock and move it by hand.
 */

const clock = vi.hoisted(() => ({ now: 0 }));
vi.mock('../../src/system/clock.ts', async (original) => ({
  ...(await original<typeof import('../../src/system/clock.ts')>()),
  elapsingMoment: () => clock.now,
  elapsedSince: (moment: number) => clock.now - moment,
}));

const ADDRESS = { kid: 'kid', id: 'id' };
const LEASE_MS = 60_000;
/** The time before the end of a lease in which nothing is sent any more. */
const GUARD_MS = LEASE_MS / 10;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** Two processes at one engine with one record. */
async function two() {
  const shared = new SharedMemory();
  const [near, far] = [memoryEngine(shared), memoryEngine(shared)];
  const a = new EngineStore(near, { leaseMs: LEASE_MS });
  const b = new EngineStore(far, { leaseMs: LEASE_MS });
  onTestFinished(async () => void (await Promise.all([a.close(), b.close()])));
  const written = await a.cas(ADDRESS, undefined, 'one');
  if (written.outcome !== 'ok') throw new Error('not written');
  return { shared, near, a, b, version: written.version };
}

async function claimed(store: EngineStore, version: string) {
  const lease = await store.claim(ADDRESS, version, { waitMs: 0 });
  if (lease === undefined) throw new Error('not claimed');
  return lease;
}

describe('the holder of a claim', () => {
  test('sends nothing when the answer to its claim took longer than the lease', async () => {
    const { near, a, version } = await two();
    const claim = near.claim.bind(near);
    near.claim = async (request) => {
      const answer = await claim(request);
      clock.now += LEASE_MS;
      return answer;
    };
    const lease = await claimed(a, version);
    expect(() => lease.check()).toThrow(LeaseLostError);
  });

  test('counts its lease from the attempt that was granted, not from one that was refused', async () => {
    const { near, a, b, version } = await two();
    const other = await claimed(b, version);
    const claim = near.claim.bind(near);
    near.claim = async (request) => {
      near.claim = claim;
      const answer = await claim(request);
      await other.release();
      clock.now += LEASE_MS;
      return answer;
    };
    const waiting = a.claim(ADDRESS, version, { waitMs: 10_000 });
    await vi.advanceTimersByTimeAsync(1000);
    const lease = await waiting;
    expect(lease).toBeDefined();
    expect(() => lease?.check()).not.toThrow();
  });

  test('sends nothing in the last tenth of its lease, since a request may need that time to leave', async () => {
    const { near, a, version } = await two();
    const lease = await claimed(a, version);
    near.cut.add('renew');
    clock.now += LEASE_MS - GUARD_MS - 1;
    lease.check();
    clock.now += 1;
    expect(() => lease.check()).toThrow(LeaseLostError);
  });

  test('sends nothing once a renewal finds a newer claim, however much of its lease is left', async () => {
    const { shared, near, a, b, version } = await two();
    const lease = await claimed(a, version);
    // The engine's clock was set forward, but not that of this process.
    shared.advance(LEASE_MS + 1);
    const next = await claimed(b, version);
    lease.check();
    await vi.advanceTimersByTimeAsync(LEASE_MS / 3);
    expect(near.calls).toContain('renew');
    expect(() => lease.check()).toThrow(LeaseLostError);
    await next.release();
  });

  test('asks the engine before a request when its claim is older than a second', async () => {
    const { shared, near, a, b, version } = await two();
    const lease = await claimed(a, version);
    // The engine's clock was set forward, but not that of this process.
    shared.advance(LEASE_MS + 1);
    const next = await claimed(b, version);
    await lease.confirm();
    expect(near.calls).not.toContain('renew');
    clock.now += 1001;
    await expect(lease.confirm()).rejects.toBeInstanceOf(LeaseLostError);
    expect(() => lease.check()).toThrow(LeaseLostError);
    await next.confirm();
    await next.release();
  });

  test('asks the engine before a request when the wall clock has jumped, as after a resumed snapshot', async () => {
    const { shared, a, b, version } = await two();
    const lease = await claimed(a, version);
    shared.advance(LEASE_MS + 1);
    const next = await claimed(b, version);
    const now = Date.now();
    vi.spyOn(Date, 'now').mockReturnValue(now + 3_600_000);
    await expect(lease.confirm()).rejects.toBeInstanceOf(LeaseLostError);
    vi.restoreAllMocks();
    await next.release();
  });

  test('sends nothing while the engine cannot confirm that its claim is still the latest', async () => {
    const { near, a, version } = await two();
    const lease = await claimed(a, version);
    near.cut.add('renew');
    clock.now += 1001;
    await expect(lease.confirm()).rejects.toBeInstanceOf(LeaseLostError);
    near.cut.delete('renew');
    await lease.confirm();
    lease.check();
  });

  test('may send for a whole lease after each renewal', async () => {
    const { near, a, version } = await two();
    const lease = await claimed(a, version);
    clock.now += LEASE_MS / 3;
    await vi.advanceTimersByTimeAsync(LEASE_MS / 3);
    expect(near.calls).toContain('renew');
    near.cut.add('renew');
    clock.now += LEASE_MS - GUARD_MS - 1;
    lease.check();
    clock.now += 1;
    expect(() => lease.check()).toThrow(LeaseLostError);
  });
});

describe('a claim whose answer was lost', () => {
  /** Lets the next claim reach the engine, and loses the answer. */
  function losing(near: ReturnType<typeof memoryEngine>, isLanded = true) {
    const claim = near.claim.bind(near);
    near.claim = async (request) => {
      near.claim = claim;
      if (isLanded) await claim(request);
      throw new StoreUnreachableError('The answer was lost.');
    };
  }

  test('grants a claim whose answer was lost to the process that made it, at once and for a whole lease', async () => {
    const { shared, near, a, b, version } = await two();
    losing(near);
    await expect(claimed(a, version)).rejects.toBeInstanceOf(StoreUnreachableError);
    const [epoch] = [...shared.claims.values()].map((claim) => claim.epoch);
    await expect(claimed(b, version)).rejects.toThrow('Another process');
    const lease = await claimed(a, version);
    expect(lease.epoch).toBe(epoch);
    lease.check();
    await lease.release();
    await (await claimed(b, version)).release();
  });

  test('grants a claim whose answer was lost to only one of two callers in that process', async () => {
    const { near, a, version } = await two();
    losing(near);
    await expect(claimed(a, version)).rejects.toBeInstanceOf(StoreUnreachableError);
    const both = await Promise.allSettled([claimed(a, version), claimed(a, version)]);
    expect(both.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  });

  test('makes a new claim when the lost one never reached the engine', async () => {
    const { shared, near, a, version } = await two();
    losing(near, false);
    await expect(claimed(a, version)).rejects.toBeInstanceOf(StoreUnreachableError);
    expect(shared.claims.size).toBe(0);
    await (await claimed(a, version)).release();
  });

  test('a claim whose answer was lost keeps nobody out once the record has changed', async () => {
    const { near, a, b, version } = await two();
    losing(near);
    await expect(claimed(a, version)).rejects.toBeInstanceOf(StoreUnreachableError);
    const written = await b.cas(ADDRESS, version, 'two');
    if (written.outcome !== 'ok') throw new Error('not written');
    expect(await a.claim(ADDRESS, version, { waitMs: 0 })).toBeUndefined();
    await (await claimed(b, written.version)).release();
  });

  test('makes a new claim when the one whose answer was lost has already ended', async () => {
    const { shared, near, a, version } = await two();
    losing(near);
    await expect(claimed(a, version)).rejects.toBeInstanceOf(StoreUnreachableError);
    for (const claim of shared.claims.values()) claim.released = true;
    const waiting = a.claim(ADDRESS, version, { waitMs: 10_000 });
    await vi.advanceTimersByTimeAsync(1000);
    const lease = await waiting;
    lease?.check();
    await lease?.release();
  });
});
