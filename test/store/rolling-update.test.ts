import { readFile } from 'node:fs/promises';
import type { Redis } from 'ioredis';
import { Client } from 'pg';
import { describe, expect, onTestFinished, test } from 'vitest';
import { StoreUnsuitableError } from '../../src/errors.ts';
import { POSTGRES_SCHEMA_VERSION } from '../../src/postgres.ts';
import type { ClaimRequest, Engine } from '../../src/store/engine/engine.ts';
import { openPostgresStore } from '../../src/store/postgres/pool.ts';
import type { PostgresEngine } from '../../src/store/postgres/postgres.ts';
import { openRedisStore } from '../../src/store/redis/open.ts';
import { postgresStatements } from '../fixtures/version-1/postgres-statements.ts';
import * as scripts from '../fixtures/version-1/redis-scripts.ts';
import { NO_POSTGRES, startPostgres } from '../support/engines/postgres.ts';
import { noRedis, redisServer } from '../support/engines/redis.ts';

/*
 * A fleet is updated one machine at a time. test/fixtures/version-1 freezes the statements of a build of version 1. The
 * tests send them to the engine of the current build.
 */

const ADDRESS = { kid: 'kid', id: 'id' };
const HOUR_MS = 3_600_000;
const LEASE_MS = 60_000;

let claims = 0;
const request = (more: Partial<ClaimRequest> = {}): ClaimRequest => ({
  id: ADDRESS.id,
  name: `claim-${(claims += 1)}`,
  holder: 'today/1/x',
  leaseMs: LEASE_MS,
  patienceMs: 0,
  ...more,
});
const content = (version: string, more = {}) => ({ record: `of ${version}`, version, ageMs: 0, ...more });

/** Operations of a build of version 1 at any engine. Each returns whether it took effect. */
interface Before {
  write(expected: string | undefined, version: string, releases?: number): Promise<boolean>;
  move(kid: string, to: string, expected: string, version: string): Promise<boolean>;
  remove(kid: string): Promise<boolean>;
  /** The epoch, or `undefined` if the claim is refused. */
  claim(version: string, leaseMs?: number): Promise<number | undefined>;
  renew(epoch: number): Promise<boolean>;
  release(epoch: number, note: string): Promise<void>;
}

const duties = (open: () => Promise<{ before: Before; engine: Engine }>) => {
  test('a build of version 1 claims, renews, writes and removes beside this build', async () => {
    const { before, engine } = await open();
    await engine.write(ADDRESS, undefined, content('one'));
    const first = await engine.claim(request());
    if (first.outcome !== 'claimed') throw new Error('not claimed');
    expect(await before.claim('one')).toBeUndefined();
    await engine.release(ADDRESS.id, { epoch: first.epoch, note: 'from today' });
    const second = await before.claim('one');
    expect(second).toBeGreaterThan(first.epoch);
    expect(await before.renew(second ?? 0)).toBe(true);
    expect(await engine.claim(request())).toEqual({ outcome: 'held' });
    expect(await engine.renew(ADDRESS.id, first.epoch, LEASE_MS)).toBe(false);
    expect(await before.write('one', 'two', second)).toBe(true);
    const third = await engine.claim(request({ only: { address: ADDRESS, version: 'two' } }));
    expect(third.outcome === 'claimed' && third.epoch > (second ?? 0)).toBe(true);
    const releases = { epoch: third.outcome === 'claimed' ? third.epoch : 0, note: undefined };
    expect(await engine.write(ADDRESS, 'two', content('three', { releases }))).toEqual({
      outcome: 'written',
    });
    expect(await before.claim('two')).toBeUndefined();
    expect(await before.move('kid', 'other', 'three', 'four')).toBe(true);
    expect(await engine.kidsOf(ADDRESS.id)).toEqual(['other']);
    expect(await before.remove('other')).toBe(true);
    expect(await engine.list()).toEqual([]);
  });

  test('a record written by a build of version 1 is due, whatever its due time was before', async () => {
    const { before, engine } = await open();
    expect(await before.write(undefined, 'one')).toBe(true);
    expect(await engine.due(0, 10)).toMatchObject([{ ...ADDRESS, version: 'one' }]);
    await engine.write(ADDRESS, 'one', content('two', { dueInMs: HOUR_MS }));
    expect(await engine.due(0, 10)).toEqual([]);
    expect(await before.write('two', 'three')).toBe(true);
    const due = await engine.due(2 * HOUR_MS, 10);
    expect(due).toMatchObject([{ ...ADDRESS, version: 'three' }]);
    expect(await engine.reschedule(ADDRESS, 'three', HOUR_MS)).toBe(true);
    expect(await engine.due(0, 10)).toEqual([]);
  });

  test('a claim by a build of version 1 belongs to no process, and may have sent a request', async () => {
    const { before, engine } = await open();
    await engine.write(ADDRESS, undefined, content('one'));
    const mine = request();
    const first = await engine.claim(mine);
    if (first.outcome !== 'claimed') throw new Error('not claimed');
    await engine.withdraw(ADDRESS.id, mine.name);
    expect(await before.claim('one')).toBeGreaterThan(first.epoch);
    expect(await engine.claim(mine)).toEqual({ outcome: 'held' });
    await engine.withdraw(ADDRESS.id, mine.name);
    expect(await engine.leased(ADDRESS.id)).toBe(true);
    const write = () => engine.write(ADDRESS, 'one', content('two', { onlyIfLast: first.epoch }));
    expect(await write()).toMatchObject({ outcome: 'followed', last: { mayHaveSent: true, open: true } });
  });

  test('a claim remembers that one by a build of version 1 before it may have sent a request', async () => {
    const { before, engine } = await open();
    await engine.write(ADDRESS, undefined, content('one'));
    const first = await engine.claim(request());
    if (first.outcome !== 'claimed') throw new Error('not claimed');
    await engine.release(ADDRESS.id, { epoch: first.epoch, note: undefined, unsent: true });
    const second = await before.claim('one');
    await before.release(second ?? 0, '');
    const third = await engine.claim(request());
    if (third.outcome !== 'claimed') throw new Error('not claimed');
    await engine.release(ADDRESS.id, { epoch: third.epoch, note: undefined, unsent: true });
    const write = await engine.write(ADDRESS, 'one', content('two', { onlyIfLast: first.epoch }));
    expect(write).toMatchObject({ outcome: 'followed', last: { epoch: third.epoch, mayHaveSent: true } });
  });
};

describe.skipIf(NO_POSTGRES)('PostgreSQL', () => {
  const say = postgresStatements('holdfast');
  const migrationOfVersion1 = new URL('../fixtures/version-1/postgres-schema.sql', import.meta.url);

  /** A database of version 1, and the operations of such a build on it. */
  async function database() {
    const postgres = await startPostgres();
    onTestFinished(() => postgres.dispose());
    const client = new Client({ connectionString: postgres.url() });
    await client.connect();
    onTestFinished(() => client.end());
    await client.query(await readFile(migrationOfVersion1, 'utf8'));
    const store = openPostgresStore({ connectionString: postgres.url() });
    onTestFinished(() => store.close());
    const run = async (text: string, values: unknown[]) => (await client.query(text, values)).rows;
    const { tenant } = store;
    const { id } = ADDRESS;
    const before: Before = {
      write: async (expected, version, releases = -1) => {
        const values = [tenant, id, 'kid', `of ${version}`, version, 0, expected, null, releases, null];
        return (await run(expected === undefined ? say.create : say.replace, values)).length > 0;
      },
      move: async (kid, to, expected, version) => {
        const values = [tenant, id, to, `of ${version}`, version, 0, expected, kid, -1, null];
        return (await run(say.move, values)).length > 0;
      },
      remove: async (kid) => (await run(say.remove, [tenant, id, kid, null])).length > 0,
      claim: async (version, leaseMs = LEASE_MS) => {
        const values = [tenant, id, 'version-1/1/x', leaseMs, 0, 'kid', version];
        const [row] = await run(say.claimVersion, values);
        return row?.epoch ?? undefined;
      },
      renew: async (epoch) => (await run(say.renew, [tenant, id, epoch, LEASE_MS])).length > 0,
      release: async (epoch, note) => void (await run(say.release, [tenant, id, epoch, note])),
    };
    return { postgres, client, before, engine: (await store.engine()) as PostgresEngine };
  }

  describe('during the update of a fleet', () => {
    duties(async () => {
      const opened = await database();
      await opened.engine.migrate();
      return opened;
    });
  });

  test('reads a database of version 1, and asks for a migration before any write', async () => {
    const { before, engine } = await database();
    await before.write(undefined, 'one');
    expect(await engine.read(ADDRESS)).toMatchObject({ record: 'of one', version: 'one' });
    const refused = await engine.claim(request()).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(StoreUnsuitableError);
    expect(refused).toMatchObject({
      message: expect.stringContaining(`of version 1; this Holdfast needs ${POSTGRES_SCHEMA_VERSION}`),
      hint: 'Run `holdfast store migrate`.',
    });
    await engine.migrate();
    expect(await engine.claim(request())).toMatchObject({ outcome: 'claimed' });
  });

  test('keeps records, claims and notes of version 1 through one migration, and through a second', async () => {
    const { before, engine, client } = await database();
    await before.write(undefined, 'one');
    const epoch = await before.claim('one');
    await before.release(epoch ?? 0, 'from version 1');
    await client.query(`INSERT INTO holdfast.records (tenant, id, kid, record, version, obtained_at, written_at)
      SELECT 'default', 'many-' || i, 'kid', 'r', 'v', now(), now() FROM generate_series(1, 500) i`);
    await engine.migrate();
    await engine.migrate();
    expect(await engine.read(ADDRESS)).toMatchObject({ record: 'of one', version: 'one' });
    expect(await engine.due(0, 1000)).toHaveLength(501);
    const claim = await engine.claim(request({ only: { address: ADDRESS, version: 'one' } }));
    expect(claim).toMatchObject({ outcome: 'claimed', note: 'from version 1' });
    const { rows } = await client.query('SELECT version, revision FROM holdfast.schema_version');
    expect(rows).toEqual([{ version: 1, revision: POSTGRES_SCHEMA_VERSION }]);
    const plan = await client.query(`SET enable_seqscan = off;
      EXPLAIN SELECT id FROM holdfast.records WHERE tenant = 'default' AND CASE WHEN due_for = version
        THEN due_at ELSE 0 END <= 5 ORDER BY CASE WHEN due_for = version THEN due_at ELSE 0 END, id, kid LIMIT 10`);
    expect(JSON.stringify(plan)).toContain('records_due');
  });

  test('refuses tables of a version that only newer builds can use', async () => {
    const { engine, client } = await database();
    await engine.migrate();
    await client.query('INSERT INTO holdfast.schema_version (version, revision) VALUES (2, 3)');
    await expect(engine.claim(request())).rejects.toMatchObject({
      code: 'store-unsuitable',
      hint: 'Update Holdfast on this machine.',
    });
  });
});

describe.skipIf(noRedis)('Redis during the update of a fleet', () => {
  duties(async () => {
    const server = await redisServer();
    const client = server.client();
    const store = openRedisStore({ url: server.url });
    onTestFinished(() => store.close());
    return { before: versionOneOf(client), engine: await store.engine() };
  });
});

function versionOneOf(client: Redis): Before {
  const ask = (script: scripts.Script, ...steps: string[]) =>
    client.eval(script.text, 1, 'holdfast:{default/id}', ...steps);
  return {
    write: async (expected, version, releases) => {
      const steps = ['kid', expected === undefined ? '-' : `=${expected}`, `of ${version}`, version, '0'];
      if (releases !== undefined) steps.push(String(releases));
      return (await ask(scripts.WRITE, ...steps)) === '1';
    },
    move: async (kid, to, expected, version) =>
      (await ask(scripts.MOVE, kid, to, `=${expected}`, `of ${version}`, version, '0')) === '1',
    remove: async (kid) => (await ask(scripts.REMOVE, kid, '*')) === '1',
    claim: async (version, leaseMs = LEASE_MS) => {
      const name = `version-1-${(claims += 1)}`;
      const steps = ['version-1/1/x', name, String(leaseMs), '0', 'kid', `=${version}`];
      const [outcome, epoch] = (await ask(scripts.CLAIM, ...steps)) as string[];
      return outcome === 'claimed' ? Number(epoch) : undefined;
    },
    renew: async (epoch) => (await ask(scripts.RENEW, String(epoch), String(LEASE_MS))) === '1',
    release: async (epoch, note) => void (await ask(scripts.RELEASE, String(epoch), note)),
  };
}
