import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { AbortedError, LockTimeoutError } from '../errors.ts';
import type { Engine } from '../store/engine/engine.ts';
import { type Lease, MAX_NOTE_BYTES, type RecordStore, type RecordVersion } from '../store/record-store.ts';
import type { ContractTest } from './contract.ts';
import { ENGINE_DUTIES } from './engine-duties.ts';

/** A store to test. `reopen` makes another one over the same records, if the records outlive the store. */
export interface StoreUnderTest {
  readonly store: RecordStore;
  readonly reopen?: (() => Promise<RecordStore>) | undefined;
  dispose(): Promise<void>;
}

const DAY_MS = 86_400_000;

const ADDRESS = { kid: 'key-one', id: 'record-one' };

/**
 * The duties of a store, as tests. Each test opens its own store.
 *
 * @example for (const { name, run } of storeContract(open)) test(name, run)
 */
export function storeContract(open: () => Promise<StoreUnderTest>): readonly ContractTest[] {
  const duty = (name: string, check: (under: StoreUnderTest) => Promise<void>): ContractTest => ({
    name,
    run: async () => {
      const under = await open();
      try {
        await check(under);
      } finally {
        await under.store.close();
        await under.dispose();
      }
    },
  });
  return [
    duty('has nothing at first, and asking creates nothing', async ({ store }) => {
      assert.equal(await store.read(ADDRESS), undefined);
      assert.equal(await store.version(ADDRESS), undefined);
      assert.equal(await store.remove(ADDRESS), false);
      assert.equal(await store.quarantine(ADDRESS), undefined);
      assert.deepEqual(await store.kidsOf(ADDRESS.id), []);
      assert.deepEqual(await store.list(), []);
    }),
    duty('gives back what was written, with the version that the write answered', async ({ store }) => {
      const result = await store.cas(ADDRESS, undefined, 'one');
      assert.equal(result.outcome, 'ok');
      assert.deepEqual(
        { record: (await store.read(ADDRESS))?.record, version: await store.version(ADDRESS) },
        { record: 'one', version: result.outcome === 'ok' ? result.version : undefined },
      );
    }),
    duty('refuses a write that expects nothing where something is', async ({ store }) => {
      await store.cas(ADDRESS, undefined, 'one');
      assert.deepEqual(await store.cas(ADDRESS, undefined, 'two'), { outcome: 'conflict' });
      assert.equal((await store.read(ADDRESS))?.record, 'one');
    }),
    duty('refuses a write that expects an older version', async ({ store }) => {
      await store.cas(ADDRESS, undefined, 'one');
      const older = await store.version(ADDRESS);
      assert.equal((await store.cas(ADDRESS, older, 'two')).outcome, 'ok');
      assert.deepEqual(await store.cas(ADDRESS, older, 'three'), { outcome: 'conflict' });
      assert.equal((await store.read(ADDRESS))?.record, 'two');
    }),
    duty('refuses a write that expects something where nothing is', async ({ store }) => {
      assert.deepEqual(await store.cas(ADDRESS, 'never', 'one'), { outcome: 'conflict' });
      assert.equal(await store.read(ADDRESS), undefined);
    }),
    duty('lets exactly one of many concurrent writers win', async ({ store }) => {
      const results = await Promise.all(
        Array.from({ length: 10 }, (_, index) => store.cas(ADDRESS, undefined, `writer ${index}`)),
      );
      const winners = results.flatMap((result, index) => (result.outcome === 'ok' ? [index] : []));
      assert.equal(winners.length, 1);
      assert.equal((await store.read(ADDRESS))?.record, `writer ${winners[0]}`);
    }),
    duty('keeps records of different keys and ids apart', async ({ store }) => {
      const others = [ADDRESS, { kid: 'key-two', id: ADDRESS.id }, { kid: ADDRESS.kid, id: 'record-two' }];
      for (const [index, address] of others.entries()) await store.cas(address, undefined, `value ${index}`);
      for (const [index, address] of others.entries()) {
        assert.equal((await store.read(address))?.record, `value ${index}`);
      }
      assert.deepEqual((await store.kidsOf(ADDRESS.id)).sort(), ['key-one', 'key-two']);
      assert.deepEqual(
        (await store.list()).map(({ kid, id }) => `${kid}/${id}`).sort(),
        others.map(({ kid, id }) => `${kid}/${id}`).sort(),
      );
    }),
    duty('removes only the version that it was told to', async ({ store }) => {
      await store.cas(ADDRESS, undefined, 'one');
      const older = await store.version(ADDRESS);
      await store.cas(ADDRESS, older, 'two');
      assert.equal(await store.remove(ADDRESS, older), false);
      assert.equal(await store.remove(ADDRESS, await store.version(ADDRESS)), true);
      assert.equal(await store.read(ADDRESS), undefined);
    }),
    duty(
      'moves a record to another key, whole, and only the version that it was told to',
      async ({ store }) => {
        const to = { kid: 'key-two', id: ADDRESS.id };
        await store.cas(ADDRESS, undefined, 'old key');
        const version = (await store.version(ADDRESS)) ?? '';
        assert.deepEqual(await store.move(ADDRESS, to, 'another', 'new key'), { outcome: 'conflict' });
        const result = await store.move(ADDRESS, to, version, 'new key');
        assert.equal(result.outcome, 'ok');
        assert.equal(await store.read(ADDRESS), undefined);
        assert.equal((await store.read(to))?.record, 'new key');
        assert.equal(await store.version(to), result.outcome === 'ok' ? result.version : undefined);
        assert.deepEqual(await store.kidsOf(ADDRESS.id), ['key-two']);
      },
    ),
    duty('moves nothing over a record that is there', async ({ store }) => {
      const to = { kid: 'key-two', id: ADDRESS.id };
      await store.cas(ADDRESS, undefined, 'one');
      await store.cas(to, undefined, 'two');
      const version = (await store.version(ADDRESS)) ?? '';
      assert.deepEqual(await store.move(ADDRESS, to, version, 'three'), { outcome: 'conflict' });
      assert.equal((await store.read(ADDRESS))?.record, 'one');
      assert.equal((await store.read(to))?.record, 'two');
    }),
    duty('moves a record aside so that its place is free', async ({ store }) => {
      await store.cas(ADDRESS, undefined, 'damaged');
      assert.equal(typeof (await store.quarantine(ADDRESS)), 'string');
      assert.equal(await store.read(ADDRESS), undefined);
      assert.equal((await store.cas(ADDRESS, undefined, 'new')).outcome, 'ok');
    }),
    duty('gives a lease to one at a time, and to the next when it is released', async ({ store }) => {
      const first = await store.lock(ADDRESS.id, { waitMs: 1000 });
      await assert.rejects(store.lock(ADDRESS.id, { waitMs: 0 }), LockTimeoutError);
      const waiting = store.lock(ADDRESS.id, { waitMs: 10_000 });
      await first.release();
      await first.release();
      await (await waiting).release();
    }),
    duty('ends the wait for a lease when its caller gives up', async ({ store }) => {
      const first = await store.lock(ADDRESS.id, { waitMs: 1000 });
      const giveUp = new AbortController();
      const waiting = assert.rejects(
        store.lock(ADDRESS.id, { waitMs: 10_000, signal: giveUp.signal }),
        AbortedError,
      );
      giveUp.abort();
      await waiting;
      await first.release();
      await (await store.lock(ADDRESS.id, { waitMs: 1000 })).release();
    }),
    duty('leases of different records do not touch each other', async ({ store }) => {
      const leases = await Promise.all([
        store.lock('record-one', { waitMs: 1000 }),
        store.lock('record-two', { waitMs: 1000 }),
      ]);
      await Promise.all(leases.map((lease) => lease.release()));
    }),
    duty('says whether a lease is held, and asking takes it from nobody', async ({ store }) => {
      assert.equal(await store.locked(ADDRESS.id), false);
      const lease = await store.lock(ADDRESS.id, { waitMs: 1000 });
      assert.equal(await store.locked(ADDRESS.id), true);
      assert.equal(await store.locked('record-two'), false);
      await assert.rejects(store.lock(ADDRESS.id, { waitMs: 0 }), LockTimeoutError);
      await lease.release();
      assert.equal(await store.locked(ADDRESS.id), false);
    }),
    duty('keeps the note of a lease for the next holder, whole, until it is removed', async ({ store }) => {
      const longest = '✓'.repeat(Math.floor(MAX_NOTE_BYTES / 3));
      for (const note of ['first', longest, 'short', '']) {
        const lease = await store.lock(ADDRESS.id, { waitMs: 1000 });
        await lease.setNote(note);
        await lease.release();
        const next = await store.lock(ADDRESS.id, { waitMs: 1000 });
        assert.equal(await next.note(), note === '' ? undefined : note);
        await next.release();
      }
      const other = await store.lock('record-two', { waitMs: 1000 });
      assert.equal(await other.note(), undefined);
      await other.release();
    }),
    duty('claims only a record that is there in that version', async ({ store }) => {
      if (store.claim === undefined) return;
      assert.equal(await store.claim(ADDRESS, 'never', { waitMs: 0 }), undefined);
      const older = await written(store, 'one');
      const newer = await written(store, 'two', older);
      assert.equal(await store.claim(ADDRESS, older, { waitMs: 0 }), undefined);
      assert.equal(await store.claim({ ...ADDRESS, kid: 'key-two' }, newer, { waitMs: 0 }), undefined);
      assert.equal(await store.locked(ADDRESS.id), false);
      await (await claimed(store, newer)).release();
      const to = { kid: 'key-two', id: ADDRESS.id };
      const moved = await store.move(ADDRESS, to, newer, 'three');
      if (moved.outcome !== 'ok') throw new assert.AssertionError({ message: 'the record was not moved' });
      assert.equal(await store.claim(ADDRESS, newer, { waitMs: 0 }), undefined);
      const lease = await store.claim(to, moved.version, { waitMs: 0 });
      assert.ok(lease, 'the record can be claimed where it was moved to');
      await lease.release();
      await store.remove(to);
      assert.equal(await store.claim(to, moved.version, { waitMs: 0 }), undefined);
    }),
    duty(
      'makes one who claims wait for the holder, or learn that the record has changed',
      async ({ store }) => {
        if (store.claim === undefined) return;
        const version = await written(store, 'one');
        const lease = await claimed(store, version);
        await assert.rejects(store.claim(ADDRESS, version, { waitMs: 0 }), LockTimeoutError);
        const waiting = store.claim(ADDRESS, version, { waitMs: 10_000 });
        await written(store, 'two', version, lease);
        assert.equal(await waiting, undefined);
      },
    ),
    duty('gives a claim back in the step that writes, note and all', async ({ store }) => {
      if (store.claim === undefined) return;
      const version = await written(store, 'one');
      const lease = await claimed(store, version);
      await lease.setNote('for the next');
      const next = await claimed(store, await written(store, 'two', version, lease));
      assert.equal(await next.note(), 'for the next');
      assert.equal(next.abandonedAt, undefined, 'nothing is in doubt');
      await lease.release();
      assert.equal(await store.locked(ADDRESS.id), true, 'who gave a claim back can no longer end another');
      await next.release();
    }),
    duty('does not give a claim back in a write that conflicts', async ({ store }) => {
      if (store.claim === undefined) return;
      const version = await written(store, 'one');
      const lease = await claimed(store, version);
      const newer = await written(store, 'two', version);
      assert.deepEqual(await store.cas(ADDRESS, version, 'three', { lease }), { outcome: 'conflict' });
      assert.equal(await store.locked(ADDRESS.id), true);
      await assert.rejects(store.claim(ADDRESS, newer, { waitMs: 0 }), LockTimeoutError);
      await lease.release();
      assert.equal(await store.locked(ADDRESS.id), false);
    }),
    duty('numbers claims upwards, also over a removal of the record', async ({ store }) => {
      if (store.claim === undefined) return;
      const epochs: number[] = [];
      let version = await written(store, 'one');
      for (const end of ['release', 'write', 'remove', 'release']) {
        const lease = await claimed(store, version);
        epochs.push(lease.epoch ?? Number.NaN);
        if (end === 'write') version = await written(store, 'two', version, lease);
        else await lease.release();
        if (end !== 'remove') continue;
        await store.remove(ADDRESS, version);
        version = await written(store, 'three');
      }
      for (const [index, epoch] of epochs.entries()) {
        assert.ok(index === 0 || epoch > (epochs[index - 1] ?? epoch), `${epochs.join(', ')} do not grow`);
        assert.ok(Number.isSafeInteger(epoch));
      }
    }),
    duty('answers how old tokens are: the age that was given, and growing', async ({ store }) => {
      if (store.claim === undefined) return;
      const ageOf = async (address = ADDRESS) => (await store.read(address))?.ageMs ?? Number.NaN;
      const first = await store.cas(ADDRESS, undefined, 'one', { ageMs: DAY_MS });
      const age = await ageOf();
      assert.ok(age >= DAY_MS && age < 2 * DAY_MS, `${age} ms`);
      // The engine's clock may count whole milliseconds.
      for (let tries = 0; tries < 1000 && (await ageOf()) <= age; tries += 1) await pause(5);
      assert.ok((await ageOf()) > age);
      const version = first.outcome === 'ok' ? first.version : undefined;
      await store.cas(ADDRESS, version, 'two', { ageMs: 0 });
      assert.ok((await ageOf()) < DAY_MS, 'new tokens are new');
      const to = { kid: 'key-two', id: ADDRESS.id };
      await store.move(ADDRESS, to, (await store.version(ADDRESS)) ?? '', 'three', { ageMs: DAY_MS });
      assert.ok((await ageOf(to)) >= DAY_MS, 'a move keeps the age');
    }),
    duty('keeps room for a record and gives it back, leaving nothing behind', async ({ store }) => {
      const room = await store.reserve();
      assert.deepEqual(await store.list(), []);
      await room.release();
      await room.release();
      assert.deepEqual(await store.list(), []);
    }),
    duty('a rehearsal leaves nothing behind', async ({ store }) => {
      await store.selfTest();
      assert.deepEqual(await store.list(), []);
    }),
    duty('what was written is there after reopening', async ({ store, reopen }) => {
      await store.cas(ADDRESS, undefined, 'one');
      assert.equal(store.durability() === 'disk', reopen !== undefined, 'a lasting store can be reopened');
      if (reopen === undefined) return;
      const again = await reopen();
      try {
        assert.equal((await again.read(ADDRESS))?.record, 'one');
      } finally {
        await again.close();
      }
    }),
    ...ENGINE_DUTIES.map(({ name, check }) =>
      duty(name, async ({ store }) => {
        const engine = await engineOf(store);
        if (engine !== undefined) await check(engine);
      }),
    ),
  ];
}

/** Checks the shape, not the class: a program may have loaded the class of `holdfast/stores` twice. */
async function engineOf(
  store: RecordStore & { engine?: () => Promise<Engine> },
): Promise<Engine | undefined> {
  return store.engine?.();
}

/**
 * Writes at `ADDRESS`.
 *
 * @returns the new version
 */
async function written(
  store: RecordStore,
  record: string,
  expected?: RecordVersion,
  lease?: Lease,
): Promise<RecordVersion> {
  const result = await store.cas(ADDRESS, expected, record, { lease });
  if (result.outcome === 'ok') return result.version;
  throw new assert.AssertionError({ message: `a write ended as ${result.outcome}` });
}

async function claimed(store: RecordStore, version: RecordVersion): Promise<Lease> {
  const lease = await store.claim?.(ADDRESS, version, { waitMs: 0 });
  assert.ok(lease, 'the record can be claimed');
  return lease;
}
