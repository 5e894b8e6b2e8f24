import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import {
  InvalidArgumentError,
  StoreDeniedError,
  StoreUnreachableError,
  StoreUnsuitableError,
} from '../../../src/errors.ts';
import type { ClaimRequest } from '../../../src/store/engine/engine.ts';
import { openPostgresStore } from '../../../src/store/postgres/pool.ts';
import type { PostgresEngine } from '../../../src/store/postgres/postgres.ts';
import { storeContract } from '../../../src/testing/index.ts';
import {
  NO_PGBOUNCER,
  NO_POSTGRES,
  type PgBouncer,
  type Postgres,
  startPgBouncer,
  startPostgres,
  startWire,
} from '../../support/engines/postgres.ts';

const ADDRESS = { kid: 'kid', id: 'id' };
const write = (version: string, more = {}) => ({ record: `record ${version}`, version, ageMs: 0, ...more });
let claims = 0;
const request = (more: Partial<ClaimRequest> = {}): ClaimRequest => ({
  id: ADDRESS.id,
  name: `claim-${(claims += 1)}`,
  holder: 'a test',
  leaseMs: 60_000,
  patienceMs: 0,
  ...more,
});

describe.skipIf(NO_POSTGRES)('records in PostgreSQL', () => {
  let postgres: Postgres;
  let tenants = 0;

  beforeAll(async () => {
    postgres = await startPostgres();
    const engine = await opened(postgres.url());
    await engine.migrate();
    await engine.migrate();
    await engine.close();
  });
  afterAll(() => postgres.dispose());

  /** An engine of a new tenant, unless the URL names one. */
  async function opened(url: string, tenant = `tenant-${++tenants}`): Promise<PostgresEngine> {
    const store = openPostgresStore({ connectionString: url, tenant, timeoutMs: 3000 });
    return (await store.engine()) as PostgresEngine;
  }

  async function engineOf(url = postgres.url(), tenant?: string): Promise<PostgresEngine> {
    const engine = await opened(url, tenant);
    onTestFinished(() => engine.close());
    return engine;
  }

  async function raw(user = 'owner'): Promise<Client> {
    const client = new Client({ connectionString: postgres.url('', user) });
    await client.connect();
    onTestFinished(() => client.end());
    return client;
  }

  const contractAt = (url: () => string) =>
    storeContract(async () => {
      const tenant = `tenant-${++tenants}`;
      const open = () => openPostgresStore({ connectionString: url(), tenant });
      return { store: open(), reopen: async () => open(), dispose: async () => {} };
    });

  describe('the contract of a store', () => {
    for (const { name, run } of contractAt(() => postgres.url())) test(name, run);
  });

  describe.skipIf(NO_PGBOUNCER)('the contract of a store, through PgBouncer in transaction mode', () => {
    let bouncer: PgBouncer;
    beforeAll(async () => {
      bouncer = await startPgBouncer(postgres);
    });
    afterAll(() => bouncer.stop());
    for (const { name, run } of contractAt(() => bouncer.url())) test(name, run);
  });

  test('does not grant a claim for the old record when it waited for another’s write', async () => {
    const engine = await engineOf();
    await engine.write(ADDRESS, undefined, write('one'));
    const other = await raw();
    await other.query('BEGIN');
    await other.query('UPDATE holdfast.records SET version = $1 WHERE tenant = $2', ['two', engine.tenant]);
    await other.query(`UPDATE holdfast.leases SET versions = '{"kid": "two"}' WHERE tenant = $1`, [
      engine.tenant,
    ]);
    const claim = engine.claim(request({ only: { address: ADDRESS, version: 'one' } }));
    const waits = `SELECT count(*)::int AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock'`;
    const watcher = await raw();
    await expect.poll(async () => (await watcher.query(waits)).rows[0].n).toBe(1);
    await other.query('COMMIT');
    expect((await claim).outcome).not.toBe('claimed');
    expect(await engine.claim(request({ only: { address: ADDRESS, version: 'one' } }))).toEqual({
      outcome: 'superseded',
    });
    expect((await engine.claim(request({ only: { address: ADDRESS, version: 'two' } }))).outcome).toBe(
      'claimed',
    );
  });

  test('grants one of 200 claims made at once', async () => {
    const engine = await engineOf();
    await engine.write(ADDRESS, undefined, write('one'));
    const only = { address: ADDRESS, version: 'one' };
    const answers = await Promise.all(Array.from({ length: 200 }, () => engine.claim(request({ only }))));
    expect(answers.filter(({ outcome }) => outcome === 'claimed')).toHaveLength(1);
    expect(answers.filter(({ outcome }) => outcome === 'held')).toHaveLength(199);
  });

  test('an old claim can neither renew nor release, and its write does not end the newer claim', async () => {
    const engine = await engineOf();
    await engine.write(ADDRESS, undefined, write('one'));
    const first = await engine.claim(request({ leaseMs: 1 }));
    let second = await engine.claim(request({ leaseMs: 1 }));
    while (second.outcome === 'held') second = await engine.claim(request({ leaseMs: 1 }));
    if (first.outcome !== 'claimed' || second.outcome !== 'claimed') throw new Error('not claimed');
    expect(second.epoch).toBeGreaterThan(first.epoch);
    expect(second.abandonedAt).toBe(first.now);
    expect(await engine.renew(ADDRESS.id, first.epoch, 60_000)).toBe(false);
    expect(await engine.renew(ADDRESS.id, second.epoch, 60_000)).toBe(true);
    await engine.release(ADDRESS.id, { epoch: first.epoch, note: 'late' });
    const releases = { epoch: first.epoch, note: 'late' };
    expect(await engine.write(ADDRESS, 'one', write('two', { releases }))).toEqual({ outcome: 'written' });
    expect(await engine.leased(ADDRESS.id)).toBe(true);
    await engine.write(
      ADDRESS,
      'two',
      write('three', { releases: { epoch: second.epoch, note: 'in time' } }),
    );
    expect(await engine.leased(ADDRESS.id)).toBe(false);
    const third = await engine.claim(request());
    expect(third).toMatchObject({ outcome: 'claimed', note: 'in time' });
    expect(third.outcome === 'claimed' && third.epoch > second.epoch).toBe(true);
  });

  test('continues the epoch when a record was removed and written again', async () => {
    const engine = await engineOf();
    await engine.write(ADDRESS, undefined, write('one'));
    const first = await engine.claim(request());
    const before = first.outcome === 'claimed' ? first.epoch : Number.NaN;
    await engine.release(ADDRESS.id, { epoch: before, note: undefined });
    await engine.remove(ADDRESS, 'one');
    const only = { address: ADDRESS, version: 'one' };
    expect(await engine.claim(request({ only }))).toEqual({ outcome: 'superseded' });
    await engine.write(ADDRESS, undefined, write('two'));
    const second = await engine.claim(request());
    expect(second.outcome === 'claimed' && second.epoch > before).toBe(true);
  });

  test('reports a write as unknown when its answer was cut off, although it landed', async () => {
    const wire = await startWire(postgres.port);
    onTestFinished(() => wire.stop());
    const tenant = `tenant-${++tenants}`;
    const connectionString = `postgres://owner@127.0.0.1:${wire.port}/postgres`;
    const store = openPostgresStore({ connectionString, tenant, poolMax: 1 });
    onTestFinished(() => store.close());
    const first = await store.cas(ADDRESS, undefined, 'one');
    if (first.outcome !== 'ok') throw new Error('not written');
    wire.swallow = true;
    const result = await store.cas(ADDRESS, first.version, 'two');
    expect(result).toMatchObject({ outcome: 'unknown', cause: expect.any(StoreUnreachableError) });
    wire.swallow = false;
    await expect.poll(async () => (await store.read(ADDRESS))?.record).toBe('two');
  });

  test('gives up on a server that does not answer', async () => {
    const wire = await startWire(postgres.port);
    onTestFinished(() => wire.stop());
    const engine = await engineOf(`postgres://owner@127.0.0.1:${wire.port}/postgres`);
    await engine.read(ADDRESS);
    wire.silent = true;
    await expect(engine.read(ADDRESS)).rejects.toBeInstanceOf(StoreUnreachableError);
  });

  test('a role of one tenant sees and changes nothing of another, whatever SQL it sends', async () => {
    const owner = await raw();
    await owner.query(`CREATE ROLE red LOGIN; CREATE ROLE blue LOGIN; GRANT holdfast_app TO red, blue;
      INSERT INTO holdfast.tenant_roles VALUES ('red', 'red'), ('blue', 'blue')`);
    const [red, blue] = [
      await engineOf(postgres.url('', 'red'), 'red'),
      await engineOf(postgres.url('', 'blue'), 'blue'),
    ];
    await red.write(ADDRESS, undefined, write('red'));
    await blue.write(ADDRESS, undefined, write('blue'));
    expect((await red.read(ADDRESS))?.record).toBe('record red');
    const client = await raw('red');
    for (const table of ['records', 'leases']) {
      const { rows } = await client.query(`SELECT DISTINCT tenant FROM holdfast.${table}`);
      expect(rows).toEqual([{ tenant: 'red' }]);
      expect((await client.query(`DELETE FROM holdfast.${table} WHERE tenant = 'blue'`)).rowCount).toBe(0);
    }
    await expect(client.query(`UPDATE holdfast.records SET tenant = 'blue'`)).rejects.toThrow(
      /row-level security/,
    );
    await expect(client.query('SELECT * FROM holdfast.journal')).rejects.toThrow(/permission denied/);
    await expect(client.query(`INSERT INTO holdfast.tenant_roles VALUES ('red', 'blue')`)).rejects.toThrow();
    await expect(client.query(`SELECT * FROM holdfast.status('blue')`)).rejects.toThrow(/not admitted/);
    expect(await red.quarantine(ADDRESS, 'aside', 'late')).toContain('journal entry');
    expect(await red.status()).toMatchObject({ records: 1, aside: { damaged: 0, late: 1 } });
    const stranger = await engineOf(postgres.url('', 'red'), 'blue');
    await expect(stranger.read(ADDRESS)).rejects.toBeInstanceOf(StoreDeniedError);
  });

  test('tells unreachable, unsuitable, unmigrated and forbidden databases apart', async () => {
    const closed = await engineOf('postgres://owner@127.0.0.1:1/postgres');
    await expect(closed.read(ADDRESS)).rejects.toBeInstanceOf(StoreUnreachableError);
    const nowhere = await engineOf(`postgres://owner@127.0.0.1:${postgres.port}/nowhere`);
    await expect(nowhere.read(ADDRESS)).rejects.toBeInstanceOf(StoreUnsuitableError);
    const unmigrated = await engineOf(postgres.url('?schema=elsewhere'));
    await expect(unmigrated.read(ADDRESS)).rejects.toMatchObject({
      hint: expect.stringContaining('migrate'),
    });
    const stranger = await engineOf(postgres.url('', 'nobody'));
    const refused = await stranger.read(ADDRESS).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(StoreDeniedError);
    const owner = await raw();
    await owner.query(
      `CREATE ROLE careless LOGIN SUPERUSER; ALTER ROLE careless SET synchronous_commit = off`,
    );
    const careless = await engineOf(postgres.url('', 'careless'));
    await expect(careless.write(ADDRESS, undefined, write('one'))).rejects.toBeInstanceOf(
      StoreUnsuitableError,
    );
    await owner.query(
      `CREATE ROLE reader LOGIN SUPERUSER; ALTER ROLE reader SET default_transaction_read_only = on`,
    );
    const reader = await engineOf(postgres.url('', 'reader'));
    await expect(reader.write(ADDRESS, undefined, write('one'))).rejects.toBeInstanceOf(StoreUnsuitableError);
    expect(() => openPostgresStore({ connectionString: 'postgres://me:sesame@db/x?options=-c' })).toThrow(
      InvalidArgumentError,
    );
  });

  test('grants a claim that another left only one lease after the server restarted', async () => {
    const engine = await engineOf();
    await engine.write(ADDRESS, undefined, write('one'));
    await engine.claim(request({ leaseMs: 1 }));
    await postgres.crash();
    await expect(engine.claim(request())).rejects.toBeInstanceOf(StoreUnreachableError);
    await postgres.start();
    expect((await engine.read(ADDRESS))?.record).toBe('record one');
    expect(await engine.claim(request({ leaseMs: 600_000 }))).toEqual({ outcome: 'held' });
    expect(await engine.claim(request({ leaseMs: 1, patienceMs: 600_000 }))).toEqual({ outcome: 'held' });
    await expect.poll(async () => (await engine.claim(request({ leaseMs: 1 }))).outcome).toBe('claimed');
  });
});
