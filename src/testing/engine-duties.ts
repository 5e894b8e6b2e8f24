import assert from 'node:assert/strict';
import {
  type ClaimRequest,
  type Engine,
  MAX_OUTBOX_ENTRIES,
  type WriteAnswer,
} from '../store/engine/engine.ts';

/*
 * The duties of an engine beyond those of a store: named claims, conditional writes, the outbox, and due times.
 */

interface EngineDuty {
  readonly name: string;
  readonly check: (engine: Engine) => Promise<void>;
}

const ADDRESS = { kid: 'key-one', id: 'record-one' };
const HOUR_MS = 3_600_000;
const WRITTEN = { outcome: 'written' };

export const ENGINE_DUTIES: readonly EngineDuty[] = [
  {
    name: 'grants a claim again that is asked for again by its name, and no other',
    check: async (engine) => {
      const first = await granted(engine, 'one');
      const again = await granted(engine, 'one');
      assert.equal(again.epoch, first.epoch);
      assert.equal(again.abandonedAt, undefined);
      assert.deepEqual(await claim(engine, 'two'), { outcome: 'held' });
      assert.equal(await engine.renew(ADDRESS.id, first.epoch, HOUR_MS), true);
    },
  },
  {
    name: 'keeps the note of a claim for the same claim when it is asked for again',
    check: async (engine) => {
      const before = await granted(engine, 'before');
      await engine.release(ADDRESS.id, { epoch: before.epoch, note: 'for the next' });
      assert.equal((await granted(engine, 'one')).note, 'for the next');
      assert.equal((await granted(engine, 'one')).note, 'for the next');
    },
  },
  {
    name: 'does not grant a claim a second time that has ended',
    check: async (engine) => {
      const { epoch } = await granted(engine, 'one');
      await engine.release(ADDRESS.id, { epoch, note: undefined });
      assert.deepEqual(await claim(engine, 'one'), { outcome: 'held' });
      await granted(engine, 'two');
    },
  },
  {
    name: 'withdraws a claim by its name, and only the one that is open',
    check: async (engine) => {
      await engine.withdraw(ADDRESS.id, 'nobody');
      await granted(engine, 'one');
      await engine.withdraw(ADDRESS.id, 'another');
      assert.equal(await engine.leased(ADDRESS.id), true);
      await engine.withdraw(ADDRESS.id, 'one');
      assert.equal(await engine.leased(ADDRESS.id), false);
      await granted(engine, 'two');
    },
  },
  {
    name: 'answers of many records and leases what it answers of each, if it takes such questions',
    check: async (engine) => {
      const other = { kid: 'key-two', id: ADDRESS.id };
      const missing = { kid: ADDRESS.kid, id: 'record-two' };
      await engine.write(ADDRESS, undefined, content('one'));
      await engine.write(other, undefined, content('two'));
      const found = await engine.readMany?.([other, missing, ADDRESS]);
      const versions = found?.map((one) => one?.version) ?? ['two', undefined, 'one'];
      assert.deepEqual(versions, ['two', undefined, 'one']);
      await granted(engine, 'one');
      const leased = (await engine.leasedAmong?.([missing.id, ADDRESS.id])) ?? [ADDRESS.id];
      assert.deepEqual([...leased], [ADDRESS.id]);
    },
  },
  {
    name: 'numbers claims by its clock, and higher than the last one',
    check: async (engine) => {
      let last = 0;
      for (const name of ['one', 'two', 'three']) {
        const { epoch, now } = await granted(engine, name);
        assert.ok(Number.isSafeInteger(epoch), `${epoch} is a whole number`);
        assert.ok(epoch > last, `${epoch} follows ${last}`);
        assert.ok(epoch >= Math.floor(now) - 1000, `${epoch} is not before ${now}`);
        last = epoch;
        await engine.release(ADDRESS.id, { epoch, note: undefined });
      }
    },
  },
  {
    name: 'recognises a write that is made again by its version',
    check: async (engine) => {
      assert.deepEqual(await engine.write(ADDRESS, undefined, content('one')), WRITTEN);
      assert.deepEqual(await engine.write(ADDRESS, undefined, content('one')), WRITTEN);
      assert.deepEqual(await engine.write(ADDRESS, 'one', content('two')), WRITTEN);
      assert.deepEqual(await engine.write(ADDRESS, 'one', content('two')), WRITTEN);
      assert.deepEqual(await engine.write(ADDRESS, 'one', content('three')), { outcome: 'conflict' });
      const to = { kid: 'key-two', id: ADDRESS.id };
      assert.deepEqual(await engine.move(ADDRESS, to, 'two', content('moved')), WRITTEN);
      assert.deepEqual(await engine.move(ADDRESS, to, 'two', content('moved')), WRITTEN);
      assert.equal((await engine.read(to))?.record, 'of moved');
    },
  },
  {
    name: 'writes under a claim while it is the last one, also after it has lapsed or ended',
    check: async (engine) => {
      await engine.write(ADDRESS, undefined, content('one'));
      const { epoch } = await granted(engine, 'a', { leaseMs: 1 });
      const onlyIfLast = epoch;
      assert.deepEqual(await engine.write(ADDRESS, 'one', content('two', { onlyIfLast })), WRITTEN);
      await engine.release(ADDRESS.id, { epoch, note: undefined });
      assert.deepEqual(await engine.write(ADDRESS, 'two', content('three', { onlyIfLast })), WRITTEN);
      assert.deepEqual(await engine.write(ADDRESS, 'two', content('four', { onlyIfLast })), {
        outcome: 'conflict',
      });
    },
  },
  {
    name: 'changes nothing for a claim that another has followed, and says what is known of that one',
    check: async (engine) => {
      await engine.write(ADDRESS, undefined, content('one'));
      const first = await granted(engine, 'a');
      await engine.release(ADDRESS.id, { epoch: first.epoch, note: undefined, unsent: true });
      const second = await granted(engine, 'b');
      const onlyIfLast = first.epoch;
      const to = { kid: 'key-two', id: ADDRESS.id };
      const tries = [
        () => engine.write(ADDRESS, 'one', content('two', { onlyIfLast })),
        () => engine.move(ADDRESS, to, 'one', content('two', { onlyIfLast })),
        () => engine.remove(ADDRESS, 'one', onlyIfLast),
      ];
      for (const attempt of tries) {
        const last = followed(await attempt());
        assert.equal(last.epoch, second.epoch);
        assert.equal(last.open, true);
        assert.equal(last.mayHaveSent, false);
        assert.ok(last.ageMs >= 0 && last.ageMs < HOUR_MS, `${last.ageMs} ms`);
      }
      assert.equal(await engine.version(ADDRESS), 'one');
      assert.equal(await engine.version(to), undefined);
      assert.deepEqual(
        await engine.write(to, undefined, content('new', { onlyIfLast: second.epoch })),
        WRITTEN,
      );
      assert.equal(followed(await engine.write(to, 'new', content('newer', { onlyIfLast }))).open, true);
      assert.equal(await engine.version(to), 'new');
      assert.deepEqual(await engine.remove(ADDRESS, 'one', second.epoch), WRITTEN);
      assert.equal(await engine.version(ADDRESS), undefined);
    },
  },
  {
    name: 'tells a claim that announced a request from one that never did',
    check: async (engine) => {
      await engine.write(ADDRESS, undefined, content('one'));
      const { epoch: onlyIfLast } = await granted(engine, 'a', { leaseMs: 1 });
      await engine.withdraw(ADDRESS.id, 'a');
      const attempt = async () =>
        followed(await engine.write(ADDRESS, 'one', content('two', { onlyIfLast })));
      const second = await granted(engine, 'b');
      await engine.renew(ADDRESS.id, second.epoch, HOUR_MS);
      assert.equal((await attempt()).mayHaveSent, false);
      await engine.release(ADDRESS.id, { epoch: second.epoch, note: undefined, unsent: true });
      const quiet = await attempt();
      assert.deepEqual([quiet.mayHaveSent, quiet.open], [false, false]);
      const third = await granted(engine, 'c');
      assert.equal(await engine.renew(ADDRESS.id, third.epoch, HOUR_MS, true), true);
      assert.equal((await attempt()).mayHaveSent, true);
      await engine.release(ADDRESS.id, { epoch: third.epoch, note: undefined, unsent: true });
      const fourth = await granted(engine, 'd');
      await engine.release(ADDRESS.id, { epoch: fourth.epoch, note: undefined, unsent: true });
      assert.equal((await attempt()).mayHaveSent, true, 'one before the last one has sent');
    },
  },
  {
    name: 'lets either a late answer land or a later claim announce its request, and never both',
    check: async (engine) => {
      await engine.write(ADDRESS, undefined, content('one'));
      const late = await granted(engine, 'a', { leaseMs: 1 });
      await engine.withdraw(ADDRESS.id, 'a');
      const { epoch: onlyIfUnsentSince } = late;
      const next = await granted(engine, 'b');
      const announce = (version: string) =>
        engine.renew(ADDRESS.id, next.epoch, HOUR_MS, true, { address: ADDRESS, version });
      assert.deepEqual(await engine.write(ADDRESS, 'one', content('two', { onlyIfUnsentSince })), WRITTEN);
      assert.equal(await announce('one'), false, 'the record has changed');
      assert.deepEqual(
        await engine.write(ADDRESS, 'two', content('three', { onlyIfUnsentSince })),
        WRITTEN,
        'what was not announced was not sent',
      );
      assert.equal(await announce('three'), true);
      const last = followed(await engine.write(ADDRESS, 'three', content('four', { onlyIfUnsentSince })));
      assert.deepEqual([last.epoch, last.mayHaveSent], [next.epoch, true]);
      const own = { onlyIfUnsentSince: next.epoch };
      assert.deepEqual(await engine.write(ADDRESS, 'three', content('five', own)), WRITTEN);
    },
  },
  {
    name: 'takes a claim that was released, or that ended in a write, for one that has sent',
    check: async (engine) => {
      await engine.write(ADDRESS, undefined, content('one'));
      const first = await granted(engine, 'a');
      await engine.withdraw(ADDRESS.id, 'a');
      const second = await granted(engine, 'b');
      await engine.release(ADDRESS.id, { epoch: second.epoch, note: undefined });
      const after = (onlyIfLast: number) =>
        engine.write(ADDRESS, 'one', content('never', { onlyIfLast })).then(followed);
      assert.equal((await after(first.epoch)).mayHaveSent, true);
      const third = await granted(engine, 'c');
      assert.equal((await after(second.epoch)).mayHaveSent, false);
      const releases = { epoch: third.epoch, note: undefined };
      await engine.write(ADDRESS, 'one', content('two', { releases }));
      const last = followed(
        await engine.write(ADDRESS, 'two', content('never', { onlyIfLast: second.epoch })),
      );
      assert.deepEqual([last.mayHaveSent, last.open], [true, false]);
    },
  },
  {
    name: 'ends a claim in the step that moves the record',
    check: async (engine) => {
      await engine.write(ADDRESS, undefined, content('one'));
      const { epoch } = await granted(engine, 'a');
      const to = { kid: 'key-two', id: ADDRESS.id };
      const releases = { epoch, note: 'moved' };
      const move = content('two', { releases, onlyIfLast: epoch });
      assert.deepEqual(await engine.move(ADDRESS, to, 'one', move), WRITTEN);
      assert.equal(await engine.leased(ADDRESS.id), false);
      assert.equal((await granted(engine, 'b')).note, 'moved');
    },
  },
  {
    name: 'keeps each entry of the outbox, once, until it is removed by its name',
    check: async (engine) => {
      assert.deepEqual(await engine.listOutbox(ADDRESS.id), []);
      const names = ['2.1790000000000.a', '10.5.a', '2.1790000000001.b', '9.99.c'];
      for (const name of [...names, '9.99.c']) {
        assert.equal(
          await engine.putOutbox(ADDRESS.id, { name, kid: 'key-one', record: `of ${name}` }),
          true,
        );
      }
      const found = await engine.listOutbox(ADDRESS.id);
      assert.deepEqual(
        found.map(({ name }) => name),
        ['10.5.a', '9.99.c', '2.1790000000001.b', '2.1790000000000.a'],
      );
      for (const { name, kid, record, writtenAt } of found) {
        assert.deepEqual([kid, record], ['key-one', `of ${name}`]);
        assert.ok(writtenAt > 0);
      }
      assert.deepEqual(await engine.listOutbox('record-two'), []);
      assert.deepEqual(await engine.list(), [], 'an entry is no record');
      await engine.removeOutbox(ADDRESS.id, ['9.99.c', '1.1.never']);
      await engine.removeOutbox(ADDRESS.id, []);
      assert.equal((await engine.listOutbox(ADDRESS.id)).length, 3);
      await engine.write(ADDRESS, undefined, content('one'));
      await engine.remove(ADDRESS, 'one');
      assert.equal((await engine.listOutbox(ADDRESS.id)).length, 3, 'they outlive the record');
    },
  },
  {
    name: 'keeps the newest entries of the outbox when there are too many',
    check: async (engine) => {
      const entry = (generation: number) => ({ name: `${generation}.7.x`, kid: 'key-one', record: 'sealed' });
      for (let generation = 2; generation < MAX_OUTBOX_ENTRIES + 2; generation += 1) {
        assert.equal(await engine.putOutbox(ADDRESS.id, entry(generation)), true);
      }
      assert.equal(await engine.putOutbox(ADDRESS.id, entry(1)), false, 'all of them are newer');
      assert.equal(await engine.putOutbox(ADDRESS.id, entry(100)), true);
      const names = (await engine.listOutbox(ADDRESS.id)).map(({ name }) => name);
      assert.equal(names.length, MAX_OUTBOX_ENTRIES);
      assert.equal(names[0], '100.7.x');
      assert.equal(names.at(-1), '3.7.x');
    },
  },
  {
    name: 'answers which records are due, the earliest first and page by page',
    check: async (engine) => {
      const at = (id: string) => ({ kid: 'key-one', id });
      const dues = { c: 30_000, a: 10_000, later: 2 * HOUR_MS, never: Number.POSITIVE_INFINITY, b: 20_000 };
      for (const [id, dueInMs] of Object.entries(dues)) {
        await engine.write(at(id), undefined, content('one', { dueInMs }));
      }
      const all = await pages(engine, HOUR_MS, 2);
      assert.deepEqual(
        all.map(({ id }) => id),
        ['a', 'b', 'c'],
      );
      assert.equal(all[0]?.version, 'one');
      assert.deepEqual(await engine.due(0, 10), []);
      await engine.write(at('b'), 'one', content('two', { dueInMs: 2 * HOUR_MS }));
      await engine.remove(at('a'), 'one');
      await engine.move(at('c'), { kid: 'key-two', id: 'c' }, 'one', content('two', { dueInMs: 1000 }));
      const now = await pages(engine, HOUR_MS, 1);
      assert.deepEqual(
        now.map(({ kid, id, version }) => [kid, id, version]),
        [['key-two', 'c', 'two']],
      );
    },
  },
  {
    name: 'takes a record without a due time for one that is due, until that is set',
    check: async (engine) => {
      const ids = ['one', 'two', 'three'];
      for (const id of ids) await engine.write({ kid: 'key-one', id }, undefined, content('v'));
      const due = await pages(engine, 0, 2);
      assert.deepEqual(due.map(({ id }) => id).sort(), [...ids].sort());
      assert.equal(await engine.reschedule({ kid: 'key-one', id: 'one' }, 'v', HOUR_MS), true);
      assert.equal(await engine.reschedule({ kid: 'key-one', id: 'two' }, 'another', HOUR_MS), false);
      assert.equal(await engine.reschedule({ kid: 'key-one', id: 'gone' }, 'v', HOUR_MS), false);
      const left = await pages(engine, 0, 2);
      assert.deepEqual(left.map(({ id }) => id).sort(), ['three', 'two']);
      assert.equal((await engine.read({ kid: 'key-one', id: 'one' }))?.version, 'v');
    },
  },
];

function content(version: string, more = {}) {
  return { record: `of ${version}`, version, ageMs: 0, ...more };
}

function claim(engine: Engine, name: string, more: Partial<ClaimRequest> = {}) {
  return engine.claim({
    id: ADDRESS.id,
    name,
    holder: 'a duty',
    leaseMs: HOUR_MS,
    patienceMs: 0,
    ...more,
  });
}

async function granted(engine: Engine, name: string, more: Partial<ClaimRequest> = {}) {
  const answer = await claim(engine, name, more);
  if (answer.outcome === 'claimed') return answer;
  throw new assert.AssertionError({ message: `the claim ${name} was answered ${answer.outcome}` });
}

function followed(answer: WriteAnswer) {
  if (answer.outcome === 'followed') return answer.last;
  throw new assert.AssertionError({ message: `what another claim has followed was ${answer.outcome}` });
}

async function pages(engine: Engine, withinMs: number, limit: number) {
  const found = await engine.due(withinMs, limit);
  for (let page = found; page.length === limit; found.push(...page)) {
    page = await engine.due(withinMs, limit, page.at(-1));
  }
  return found;
}
