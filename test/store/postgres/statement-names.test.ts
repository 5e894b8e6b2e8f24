import { createHash } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { StoreUnreachableError } from '../../../src/errors.ts';
import { type PostgresPool, postgresMigration } from '../../../src/postgres.ts';
import type { EngineStore } from '../../../src/store/engine/engine-store.ts';
import { openPostgresStore } from '../../../src/store/postgres/pool.ts';
import { storeContract } from '../../../src/testing/index.ts';
import {
  NO_PGBOUNCER,
  NO_POSTGRES,
  PGBOUNCER_KEEPS_NAMES,
  type Postgres,
  startPgBouncer,
  startPostgres,
  startWire,
} from '../../support/engines/postgres.ts';

const ADDRESS = { kid: 'kid', id: 'id' };
/** Refreshes after which each statement of a refresh has its name. */
const WARM = 8;

type Sent = Parameters<PostgresPool['query']>[0];

interface Watched {
  readonly pool: pg.Pool;
  readonly store: EngineStore;
  /** The statements that the store sent, and how each ended. */
  readonly sent: { readonly name: string | undefined; code?: string }[];
}

describe.skipIf(NO_POSTGRES)('prepared statements in PostgreSQL', () => {
  let postgres: Postgres;
  let tenants = 0;

  beforeAll(async () => {
    postgres = await startPostgres();
    await asOwner(postgresMigration());
  });
  afterAll(() => postgres.dispose());

  async function asOwner(text: string): Promise<pg.QueryResult> {
    const client = new pg.Client({ connectionString: postgres.url() });
    await client.connect();
    try {
      return await client.query(text);
    } finally {
      await client.end();
    }
  }

  /** A store of a new tenant over a pool that shows what is sent. */
  function watched(url = postgres.url(), { max = 1, schema = 'holdfast' } = {}): Watched {
    const pool = new pg.Pool({ connectionString: url, max });
    pool.on('error', () => {});
    const sent: Watched['sent'] = [];
    const query = async (one: Sent) => {
      const entry: Watched['sent'][number] = { name: one.name };
      sent.push(entry);
      try {
        return await pool.query(one);
      } catch (error) {
        entry.code = error instanceof pg.DatabaseError ? (error.code ?? '') : String(error);
        throw error;
      }
    };
    const store = openPostgresStore({ pool: { query }, schema, tenant: `tenant-${++tenants}` });
    onTestFinished(async () => {
      await store.close();
      await pool.end();
    });
    return { pool, store, sent };
  }

  /** Refreshes a record that counts its refreshes: claims it, reads it and writes one more. Throws if one is lost. */
  async function refreshes(store: EngineStore, count: number, address = ADDRESS): Promise<number> {
    let last = 0;
    for (let done = 0; done < count; done += 1) {
      const found = await store.read(address);
      const lease = found && (await store.claim(address, found.version, { waitMs: 0 }));
      if (found !== undefined && lease === undefined) throw new Error('the claim was superseded');
      last = Number(found?.record ?? '0') + 1;
      const result = await store.cas(address, found?.version, String(last), { lease });
      if (result.outcome !== 'ok') throw new Error(`the write was lost: ${result.outcome}`);
      expect(await store.locked(address.id)).toBe(false);
    }
    return last;
  }

  const refusals = ({ sent }: Watched) => sent.flatMap(({ code }) => code ?? []);
  const lastNames = ({ sent }: Watched, count: number) =>
    sent.slice(-count).flatMap(({ name }) => name ?? []);

  describe('the contract of a store, with every statement prepared', () => {
    let pool: pg.Pool;
    beforeAll(() => {
      pool = new pg.Pool({ connectionString: postgres.url(), max: 4 });
    });
    afterAll(() => pool.end());
    const query = ({ name, text, values, ...more }: Sent) => {
      const hash = createHash('sha256').update(text).digest('hex').slice(0, 32);
      return pool.query({ ...more, text, ...(values && { values, name: name ?? hash }) });
    };
    const contract = storeContract(async () => {
      const tenant = `tenant-${++tenants}`;
      const open = () => openPostgresStore({ pool: { query }, tenant });
      return { store: open(), reopen: async () => open(), dispose: async () => {} };
    });
    for (const { name, run } of contract) test(name, run);
  });

  test('plans each statement of a refresh once for a connection', async () => {
    const { pool, store } = watched();
    expect(await refreshes(store, WARM + 20)).toBe(WARM + 20);
    const { rows } = await pool.query(
      `SELECT name, statement, generic_plans::int AS kept, custom_plans::int AS made
      FROM pg_prepared_statements ORDER BY statement`,
    );
    expect(rows).toHaveLength(3);
    for (const { name, statement, kept, made } of rows) {
      expect(name).toBe(`holdfast_${createHash('sha256').update(statement).digest('hex').slice(0, 32)}`);
      // PostgreSQL makes a plan for the first five values, and then keeps one for all.
      expect(made).toBe(5);
      expect(kept).toBeGreaterThan(10);
    }
  });

  test('a process that ends soon names no statement', async () => {
    const { store, sent } = watched();
    await refreshes(store, 3);
    expect(sent.filter(({ name }) => name !== undefined)).toEqual([]);
  });

  test('does the work unnamed when a connection forgot its statements', async () => {
    const one = watched();
    await refreshes(one.store, WARM);
    await one.pool.query('DISCARD ALL');
    expect(await refreshes(one.store, WARM)).toBe(2 * WARM);
    expect(refusals(one)).toEqual(['26000']);
    expect(lastNames(one, WARM)).toEqual([]);
  });

  test('does the work unnamed when another has used a name on its connection', async () => {
    const before = watched();
    await refreshes(before.store, WARM);
    const one = watched();
    for (const name of new Set(before.sent.flatMap(({ name }) => name ?? []))) {
      await one.pool.query(`PREPARE ${name} AS DELETE FROM holdfast.records`);
    }
    expect(await refreshes(one.store, 2 * WARM)).toBe(2 * WARM);
    expect(refusals(one)).toEqual(['42P05']);
    expect(await before.store.read(ADDRESS)).toMatchObject({ record: String(WARM) });
  });

  test.each([
    ['records', 'record', 'read'],
    ['leases', 'note', 'claim'],
  ])('a migration that changes the type of %s.%s costs no %s', async (table, column) => {
    const schema = `changed_${table}`;
    await asOwner(postgresMigration(schema));
    const one = watched(postgres.url(), { max: 4, schema });
    const addresses = [1, 2, 3, 4].map((at) => ({ kid: 'kid', id: `id-${at}` }));
    const all = (count: number) =>
      Promise.all(addresses.map((address) => refreshes(one.store, count, address)));
    await all(WARM);
    await asOwner(`ALTER TABLE ${schema}.${table} ALTER COLUMN ${column} TYPE varchar(2000)`);
    expect(await all(WARM)).toEqual(addresses.map(() => 2 * WARM));
    expect(refusals(one).length).toBeGreaterThan(0);
    // Each of four callers may have been on its way.
    expect(refusals(one).length).toBeLessThanOrEqual(4);
    expect(new Set(refusals(one))).toEqual(new Set(['0A000']));
    expect(lastNames(one, WARM)).toEqual([]);
  });

  test('prepares again after every connection broke', async () => {
    const wire = await startWire(postgres.port);
    onTestFinished(() => wire.stop());
    const one = watched(`postgres://owner@127.0.0.1:${wire.port}/postgres`, { max: 2 });
    await refreshes(one.store, WARM);
    wire.cut();
    await expect.poll(() => one.pool.totalCount).toBe(0);
    expect(await refreshes(one.store, WARM)).toBe(2 * WARM);
    expect(refusals(one)).toEqual([]);
    expect(lastNames(one, WARM).length).toBeGreaterThan(0);
  });

  test('does not repeat a prepared write whose answer was cut off', async () => {
    const wire = await startWire(postgres.port);
    onTestFinished(() => wire.stop());
    const one = watched(`postgres://owner@127.0.0.1:${wire.port}/postgres`);
    await refreshes(one.store, WARM);
    const found = await one.store.read(ADDRESS);
    const before = one.sent.length;
    wire.swallow = true;
    const result = await one.store.cas(ADDRESS, found?.version, 'landed');
    expect(result).toMatchObject({ outcome: 'unknown', cause: expect.any(StoreUnreachableError) });
    expect(one.sent.length - before).toBe(1);
    expect(one.sent.at(-1)?.name).toBeDefined();
    wire.swallow = false;
    await expect.poll(async () => (await one.store.read(ADDRESS))?.record).toBe('landed');
  });

  // A machine has one PgBouncer, older or newer than 1.21, so one of the two groups of tests does not exist there.
  const whereNamesAreKept = PGBOUNCER_KEEPS_NAMES ? test : () => {};
  const whereNamesAreLost = PGBOUNCER_KEEPS_NAMES ? () => {} : test;

  describe.skipIf(NO_PGBOUNCER)('through PgBouncer in transaction mode', () => {
    /** Processes that share two connections to the server, each with its own pool. */
    async function processes(more = '', schema = 'holdfast'): Promise<Watched[]> {
      const bouncer = await startPgBouncer(postgres, postgres.port, more);
      onTestFinished(() => bouncer.stop());
      return [1, 2, 3].map(() => watched(bouncer.url(), { max: 4, schema }));
    }
    const addresses = [1, 2, 3, 4].map((at) => ({ kid: 'kid', id: `id-${at}` }));
    const work = (all: readonly Watched[]) =>
      Promise.all(all.flatMap(({ store }) => addresses.map((address) => refreshes(store, 40, address))));

    test('does each claim and each write once, whether it keeps names or not', async () => {
      await asOwner(postgresMigration('counted'));
      const all = await processes('server_idle_timeout = 1', 'counted');
      expect(await work(all)).toEqual(Array.from({ length: 12 }, () => 40));
      for (const one of all) {
        for (const code of refusals(one)) expect(['26000', '42P05']).toContain(code);
        // Each of four connections may have sent a name before the first was refused.
        expect(refusals(one).length).toBeLessThanOrEqual(4);
      }
      // PostgreSQL counts changes that it undid, too. A server connection reports its counts when it ends.
      const counted = `SELECT relname, n_tup_ins::int AS created, n_tup_upd::int AS changed
        FROM pg_stat_user_tables WHERE schemaname = 'counted' AND relname IN ('records', 'leases') ORDER BY relname`;
      await expect
        .poll(async () => (await asOwner(counted)).rows, { timeout: 15_000 })
        .toEqual([
          { relname: 'leases', created: 12, changed: 12 * 39 * 2 },
          { relname: 'records', created: 12, changed: 12 * 39 },
        ]);
    });

    whereNamesAreLost('a process sends no more names when one is refused', async () => {
      const all = await processes();
      await work(all);
      expect(all.flatMap(refusals).length).toBeGreaterThan(0);
      for (const one of all.filter((process) => refusals(process).length > 0)) {
        expect(lastNames(one, 20)).toEqual([]);
      }
    });

    whereNamesAreKept('names stay in use where it keeps them', async () => {
      const all = await processes('max_prepared_statements = 100');
      await work(all);
      expect(all.flatMap(refusals)).toEqual([]);
      for (const one of all) expect(lastNames(one, 4)).not.toEqual([]);
    });

    whereNamesAreKept('does the work unnamed when it was told to forget names', async () => {
      const [one] = await processes('max_prepared_statements = 100');
      if (one === undefined) throw new Error('no process');
      await refreshes(one.store, WARM);
      await one.pool.query('DISCARD ALL');
      expect(await refreshes(one.store, WARM)).toBe(2 * WARM);
      // PgBouncer has no code of its own for that.
      expect(refusals(one)).toEqual(['08P01']);
      expect(lastNames(one, WARM)).toEqual([]);
    });

    whereNamesAreKept('does the work unnamed where it is set to keep none', async () => {
      const all = await processes('max_prepared_statements = 0');
      expect(await work(all)).toEqual(Array.from({ length: 12 }, () => 40));
      for (const one of all) expect(lastNames(one, 20)).toEqual([]);
    });
  });
});
