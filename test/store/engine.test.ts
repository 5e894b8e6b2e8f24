import { describe, expect, onTestFinished, test } from 'vitest';
import { LeaseLostError, LockTimeoutError, StoreUnreachableError } from '../../src/errors.ts';
import { EngineStore } from '../../src/store/engine/engine-store.ts';
import { storeContract } from '../../src/testing/index.ts';
import { memoryEngine, SharedMemory } from '../support/engines/memory-engine.ts';

describe('the contract of a store over an engine', () => {
  const contract = storeContract(async () => {
    const shared = new SharedMemory();
    const open = () => new EngineStore(memoryEngine(shared));
    return { store: open(), reopen: async () => open(), dispose: async () => {} };
  });
  for (const { name, run } of contract) test(name, run);
});

const ADDRESS = { kid: 'kid', id: 'id' };

/** Two processes at one engine with one record. */
async function two(leaseMs = 1000) {
  const shared = new SharedMemory();
  const [near, far] = [memoryEngine(shared), memoryEngine(shared)];
  const [a, b] = [near, far].map((engine) => new EngineStore(engine, { leaseMs, patienceMs: 5000 }));
  if (a === undefined || b === undefined) throw new Error('two stores');
  const written = await a.cas(ADDRESS, undefined, 'one');
  if (written.outcome !== 'ok') throw new Error('not written');
  onTestFinished(async () => void (await Promise.all([a.close(), b.close()])));
  return { shared, near, far, a, b, version: written.version };
}

describe('a claim', () => {
  test('another process gets a claim when its holder is silent, but not before the lease is over', async () => {
    const { shared, near, a, b, version } = await two();
    const first = await a.claim(ADDRESS, version, { waitMs: 0 });
    near.cut.add('renew');
    await expect(b.claim(ADDRESS, version, { waitMs: 0 })).rejects.toBeInstanceOf(LockTimeoutError);
    shared.advance(1100);
    const second = await b.claim(ADDRESS, version, { waitMs: 0 });
    expect(second?.epoch).toBeGreaterThan(first?.epoch ?? Number.NaN);
    expect(second?.abandonedAt).toBeGreaterThan(0);
    await second?.release();
  });

  test('a claimant with time to spare waits longer for a silent holder', async () => {
    const { shared, near, a, b, version } = await two();
    await a.claim(ADDRESS, version, { waitMs: 0 });
    near.cut.add('renew');
    shared.advance(1100);
    const patient = { waitMs: 0, canWaitMs: 60_000 };
    await expect(b.claim(ADDRESS, version, patient)).rejects.toBeInstanceOf(LockTimeoutError);
    shared.advance(5000);
    await (await b.claim(ADDRESS, version, patient))?.release();
  });

  test('an engine that restarted gives a holder one lease to return before another gets its claim', async () => {
    const { shared, near, a, b, version } = await two();
    await a.claim(ADDRESS, version, { waitMs: 0 });
    near.cut.add('renew');
    shared.advance(5000);
    shared.startedAt = shared.now();
    await expect(b.claim(ADDRESS, version, { waitMs: 0 })).rejects.toBeInstanceOf(LockTimeoutError);
    shared.advance(1100);
    await (await b.claim(ADDRESS, version, { waitMs: 0 }))?.release();
  });

  test('nothing is sent once the lease may be over, whatever the engine said last', async () => {
    const { near, a, version } = await two(200);
    const lease = await a.claim(ADDRESS, version, { waitMs: 0 });
    lease?.check();
    near.cut.add('renew');
    await expect.poll(() => probe(() => lease?.check())).toBeInstanceOf(LeaseLostError);
    near.cut.delete('renew');
    await expect.poll(() => near.calls.filter((call) => call === 'renew').length).toBeGreaterThan(1);
    await lease?.release();
  });

  test('a claim that another has followed lets nothing be sent, and its release ends nothing', async () => {
    const { shared, a, b, version } = await two(300);
    const first = await a.claim(ADDRESS, version, { waitMs: 0 });
    shared.advance(400);
    const second = await b.claim(ADDRESS, version, { waitMs: 0 });
    await expect.poll(() => probe(() => first?.check())).toBeInstanceOf(LeaseLostError);
    await first?.release();
    await expect(a.claim(ADDRESS, version, { waitMs: 0 })).rejects.toBeInstanceOf(LockTimeoutError);
    await second?.release();
  });

  test('a claim for a version that has changed is refused', async () => {
    const { a, b, version } = await two();
    await b.cas(ADDRESS, version, 'two');
    expect(await a.claim(ADDRESS, version, { waitMs: 0 })).toBeUndefined();
    await b.remove(ADDRESS);
    expect(await a.claim(ADDRESS, version, { waitMs: 0 })).toBeUndefined();
  });

  test('a write ends its claim in the same step, and leaves the note for the next claim', async () => {
    const { near, a, b, version } = await two();
    const lease = await a.claim(ADDRESS, version, { waitMs: 0 });
    await lease?.setNote('for the next');
    const written = await a.cas(ADDRESS, version, 'two', { lease });
    await lease?.release();
    expect(near.calls).not.toContain('release');
    const now = written.outcome === 'ok' ? written.version : '';
    const next = await b.claim(ADDRESS, now, { waitMs: 0 });
    expect(await next?.note()).toBe('for the next');
    expect(next?.abandonedAt).toBeUndefined();
    await next?.release();
  });

  test('a write that came too late does not end the newer claim', async () => {
    const { a, b, version } = await two();
    const lease = await a.claim(ADDRESS, version, { waitMs: 0 });
    await b.cas(ADDRESS, version, 'two');
    expect(await a.cas(ADDRESS, version, 'three', { lease })).toEqual({ outcome: 'conflict' });
    lease?.check();
    await lease?.release();
  });
});

test('reports a write without an answer as unknown, since it may have landed', async () => {
  const { near, a, version } = await two();
  near.cut.add('write');
  const result = await a.cas(ADDRESS, version, 'two');
  expect(result).toMatchObject({ outcome: 'unknown', cause: expect.any(StoreUnreachableError) });
});

test('takes the age of tokens from the engine’s clock, whatever the clocks of the machines', async () => {
  const { shared, a, b } = await two();
  await a.cas({ ...ADDRESS, id: 'aged' }, undefined, 'tokens', { ageMs: 1000 });
  shared.advance(2000);
  const ageMs = (await b.read({ ...ADDRESS, id: 'aged' }))?.ageMs ?? 0;
  expect(ageMs).toBeGreaterThanOrEqual(3000);
  expect(ageMs).toBeLessThan(60_000);
});

function probe(step: () => void): unknown {
  try {
    return step();
  } catch (error) {
    return error;
  }
}
