import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import pg, { Client } from 'pg';
import { describe, expect, onTestFinished, test } from 'vitest';
import {
  LeaseLostError,
  LockTimeoutError,
  StorageFullError,
  StoreUnreachableError,
} from '../../src/errors.ts';
import { postgresMigration } from '../../src/postgres.ts';
import { type RedisStoreOptions } from '../../src/redis.ts';
import { type EngineStore, newVersion } from '../../src/store/engine/engine-store.ts';
import { openPostgresStore } from '../../src/store/postgres/pool.ts';
import { openRedisStore } from '../../src/store/redis/open.ts';
import { NO_POSTGRES, startPostgres, startReplica, startWire } from '../support/engines/postgres.ts';
import { noRedis, redisServer } from '../support/engines/redis.ts';

/*
 * Engines that fail over, are restored, are full, or have no connection left, as a store over them sees it. The store
 * waits for passing failures, and does not trust facts from before a failover.
 */

const ADDRESS = { kid: 'kid', id: 'id' };

/** Writes the versions one after another. @returns the versions that the store acknowledged */
async function writeOn(store: EngineStore, versions: readonly string[]): Promise<string[]> {
  const done: string[] = [];
  for (const version of versions) {
    const before = await store.version(ADDRESS);
    const result = await store.cas(ADDRESS, before, `of ${version}`, { version });
    done.push(result.outcome === 'ok' ? result.version : result.outcome);
  }
  return done;
}

async function written(store: EngineStore): Promise<string> {
  const result = await store.cas(ADDRESS, undefined, 'one');
  if (result.outcome === 'ok') return result.version;
  throw new Error(`the first write ended as ${result.outcome}`);
}

describe.skipIf(NO_POSTGRES)('PostgreSQL', () => {
  async function migrated() {
    const postgres = await startPostgres();
    onTestFinished(() => postgres.dispose());
    const owner = await connected(postgres.url());
    await owner.query(postgresMigration());
    return { postgres, owner };
  }

  async function connected(url: string): Promise<Client> {
    const client = new Client({ connectionString: url });
    client.on('error', () => {});
    await client.connect();
    onTestFinished(() => client.end());
    return client;
  }

  /**
   * A primary and its replica behind one port, and a function that makes the replica take over while connections stay.
   */
  async function pair() {
    const { postgres, owner } = await migrated();
    const replica = await startReplica(postgres);
    onTestFinished(() => replica.dispose());
    const wire = await startWire(postgres.port);
    onTestFinished(() => wire.stop());
    const takeOver = async () => {
      const other = await connected(replica.url());
      const [{ lsn }] = (await owner.query('SELECT pg_current_wal_lsn() AS lsn')).rows;
      await expect
        .poll(
          async () => (await other.query('SELECT pg_last_wal_replay_lsn() >= $1 AS there', [lsn])).rows[0],
        )
        .toEqual({ there: true });
      await owner.query('ALTER SYSTEM SET default_transaction_read_only = on');
      await owner.query('SELECT pg_reload_conf()');
      await expect
        .poll(async () => (await owner.query('SHOW default_transaction_read_only')).rows[0])
        .toEqual({ default_transaction_read_only: 'on' });
      await other.query('SELECT pg_promote()');
      wire.to = replica.port;
      return other;
    };
    return { url: `postgres://owner@127.0.0.1:${wire.port}/postgres`, takeOver };
  }

  test('sends every write and claim to the new primary after a failover, over whatever connection', async () => {
    const { url, takeOver } = await pair();
    const store = openPostgresStore({ connectionString: url });
    onTestFinished(() => store.close());
    const version = await written(store);
    // All connections of the pool are open, each to the old primary.
    await Promise.all(Array.from({ length: 8 }, () => store.read(ADDRESS)));
    const primary = await takeOver();
    const lease = await store.claim(ADDRESS, version, { waitMs: 10_000 });
    const versions = ['two', 'three', 'four', 'five', 'six'];
    expect(await writeOn(store, versions)).toEqual(versions);
    const { rows } = await primary.query('SELECT version FROM holdfast.records');
    expect(rows).toEqual([{ version: 'six' }]);
    await lease?.release();
  }, 60_000);

  test('writes through the caller’s pool again after a failover', async () => {
    const { url, takeOver } = await pair();
    const pool = new pg.Pool({ connectionString: url, max: 3 });
    pool.on('error', () => {});
    onTestFinished(() => pool.end());
    const store = openPostgresStore({ pool });
    await written(store);
    await Promise.all(Array.from({ length: 6 }, () => store.read(ADDRESS)));
    await takeOver();
    expect(await writeOn(store, ['two', 'three', 'four'])).toEqual(['two', 'three', 'four']);
  }, 60_000);

  test('a new process that is refused a connection retries until its deadline, then says why', async () => {
    const { postgres, owner } = await migrated();
    const first = openPostgresStore({ connectionString: postgres.url() });
    const version = await written(first);
    await first.close();
    await owner.query('ALTER SYSTEM SET max_connections = 6');
    await owner.query('ALTER SYSTEM SET superuser_reserved_connections = 0');
    await postgres.crash();
    await postgres.start();
    const hogs: Client[] = [];
    for (;;) {
      const hog = new Client({ connectionString: postgres.url() });
      hog.on('error', () => {});
      onTestFinished(() => hog.end().catch(() => {}));
      if ((await hog.connect().catch(() => 'refused')) === 'refused') break;
      hogs.push(hog);
    }
    const store = openPostgresStore({ connectionString: postgres.url() });
    onTestFinished(() => store.close());
    await expect(store.claim(ADDRESS, version, { waitMs: 0 })).rejects.toMatchObject({
      code: 'store-unreachable',
      retryable: true,
      message: expect.stringContaining('too many clients'),
    });
    const reading = store.read(ADDRESS);
    const claiming = store.claim(ADDRESS, version, { waitMs: 20_000 });
    await hogs.pop()?.end();
    await hogs.pop()?.end();
    expect((await reading)?.record).toBe('one');
    await (await claiming)?.release();
  }, 60_000);

  test('claims a record in its current version when its lease row is missing or outdated', async () => {
    const { postgres, owner } = await migrated();
    const store = openPostgresStore({ connectionString: postgres.url() });
    onTestFinished(() => store.close());
    const version = await written(store);
    const breakages = [
      'DELETE FROM holdfast.leases',
      `UPDATE holdfast.leases SET versions = '{"kid": "an older one"}'`,
      `UPDATE holdfast.leases SET versions = '{}'`,
      'TRUNCATE holdfast.leases',
    ];
    let last = 0;
    for (const breakage of breakages) {
      await owner.query(breakage);
      expect(await store.claim(ADDRESS, 'another version', { waitMs: 0 })).toBeUndefined();
      const lease = await store.claim(ADDRESS, version, { waitMs: 0 });
      expect(lease?.epoch).toBeGreaterThan(last);
      last = lease?.epoch ?? 0;
      await expect(store.claim(ADDRESS, version, { waitMs: 0 })).rejects.toBeInstanceOf(LockTimeoutError);
      await lease?.release();
    }
  });

  test('refuses a claim for the old version if the record changes while the claim waits', async () => {
    const { postgres, owner } = await migrated();
    const store = openPostgresStore({ connectionString: postgres.url() });
    onTestFinished(() => store.close());
    const version = await written(store);
    await owner.query('DELETE FROM holdfast.leases');
    await owner.query('BEGIN');
    await owner.query(`UPDATE holdfast.records SET version = 'two'`);
    const claiming = store.claim(ADDRESS, version, { waitMs: 0 });
    const watcher = await connected(postgres.url());
    await expect
      .poll(
        async () =>
          (await watcher.query(`SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'`)).rowCount,
      )
      .toBe(1);
    await owner.query('COMMIT');
    expect(await claiming).toBeUndefined();
    await (await store.claim(ADDRESS, 'two', { waitMs: 0 }))?.release();
  });

  test('an abandoned claim blocks others for one lease after the clock was set back', async () => {
    const { postgres, owner } = await migrated();
    const store = openPostgresStore({ connectionString: postgres.url(), leaseMs: 300, patienceMs: 0 });
    onTestFinished(() => store.close());
    const version = await written(store);
    await owner.query(`SELECT pg_sleep(greatest(0,
      0.4 - extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())))`);
    const lease = await store.claim(ADDRESS, version, { waitMs: 0 });
    lease?.abandon();
    await owner.query(`UPDATE holdfast.leases SET lease_until = lease_until + interval '1 hour',
      claimed_at = claimed_at + interval '1 hour'`);
    await expect(store.claim(ADDRESS, version, { waitMs: 0 })).rejects.toBeInstanceOf(LockTimeoutError);
    await (await store.claim(ADDRESS, version, { waitMs: 20_000 }))?.release();
  });

  test('the holder of a claim notices a newer claim after the clock was set forward', async () => {
    const { postgres, owner } = await migrated();
    const [store, other] = [0, 1].map(() =>
      openPostgresStore({ connectionString: postgres.url(), leaseMs: 5000 }),
    );
    if (store === undefined || other === undefined) throw new Error('there are two');
    onTestFinished(async () => void (await Promise.all([store.close(), other.close()])));
    const version = await written(store);
    await owner.query(`SELECT pg_sleep(greatest(0,
      5.1 - extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())))`);
    const lease = await store.claim(ADDRESS, version, { waitMs: 0 });
    await owner.query(`UPDATE holdfast.leases SET lease_until = lease_until - interval '1 hour',
      claimed_at = claimed_at - interval '1 hour'`);
    const next = await other.claim(ADDRESS, version, { waitMs: 0 });
    await new Promise((resolve) => setTimeout(resolve, 1001));
    await expect(lease?.confirm()).rejects.toBeInstanceOf(LeaseLostError);
    await next?.confirm();
    await next?.release();
  });

  test('tokens seem no younger than at their write after the clock was set back', async () => {
    const { postgres, owner } = await migrated();
    const store = openPostgresStore({ connectionString: postgres.url() });
    onTestFinished(() => store.close());
    await store.cas(ADDRESS, undefined, 'one', { ageMs: 60_000 });
    await owner.query(`UPDATE holdfast.records SET obtained_at = obtained_at + interval '1 hour',
      written_at = written_at + interval '1 hour'`);
    expect((await store.read(ADDRESS))?.ageMs).toBeGreaterThanOrEqual(60_000);
  });

  test('a process gets its own claim at once after the answer to it was lost', async () => {
    const { postgres } = await migrated();
    const wire = await startWire(postgres.port);
    onTestFinished(() => wire.stop());
    const url = `postgres://owner@127.0.0.1:${wire.port}/postgres`;
    const store = openPostgresStore({ connectionString: url, poolMax: 1 });
    onTestFinished(() => store.close());
    const version = await written(store);
    wire.swallow = true;
    const lost = store.claim(ADDRESS, version, { waitMs: 0 });
    await expect(lost).rejects.toBeInstanceOf(StoreUnreachableError);
    wire.swallow = false;
    await expect.poll(() => store.locked(ADDRESS.id)).toBe(true);
    const other = openPostgresStore({ connectionString: postgres.url() });
    onTestFinished(() => other.close());
    await expect(other.claim(ADDRESS, version, { waitMs: 0 })).rejects.toBeInstanceOf(LockTimeoutError);
    const lease = await store.claim(ADDRESS, version, { waitMs: 0 });
    expect(lease?.abandonedAt).toBeUndefined();
    await lease?.release();
    await (await other.claim(ADDRESS, version, { waitMs: 0 }))?.release();
  });
});

describe.skipIf(noRedis)('Redis', () => {
  async function opened(options: RedisStoreOptions) {
    const store = openRedisStore(options);
    onTestFinished(() => store.close());
    return store;
  }

  test('sends every write and claim to the new primary, although the old connection still stands', async () => {
    const primary = await redisServer({ settings: { 'repl-diskless-sync-delay': '0' } });
    const replica = await redisServer({ settings: { replicaof: `127.0.0.1 ${primary.port}` } });
    const wire = await startWire(primary.port);
    onTestFinished(() => wire.stop());
    const store = await opened({ url: `redis://127.0.0.1:${wire.port}` });
    const version = await written(store);
    await expect.poll(() => replica.client().exists('holdfast:{default/id}'), { timeout: 10_000 }).toBe(1);
    await replica.client().call('REPLICAOF', 'NO', 'ONE');
    await primary.client().call('REPLICAOF', '127.0.0.1', String(replica.port));
    await expect.poll(() => primary.client().info('replication')).toContain('role:slave');
    wire.to = replica.port;
    const lease = await store.claim(ADDRESS, version, { waitMs: 10_000 });
    expect(await writeOn(store, ['two', 'three'])).toEqual(['two', 'three']);
    expect(await replica.client().hget('holdfast:{default/id}', 'v:kid')).toBe('three');
    await lease?.release();
  }, 60_000);

  test('examines a server that took over unnoticed before it grants a claim', async () => {
    const server = await redisServer();
    const store = await opened({ url: server.url });
    const version = await written(store);
    const engine = await store.engine();
    await (await store.claim(ADDRESS, version, { waitMs: 0 }))?.release();
    // Another server is behind the same client, which does not report that. The run id in its claims reveals it.
    const other = await redisServer({ settings: { appendonly: 'no' } });
    const wire = await startWire(server.port);
    onTestFinished(() => wire.stop());
    const client = new Redis({ port: wire.port, host: '127.0.0.1', maxRetriesPerRequest: null });
    client.on('error', () => {});
    onTestFinished(() => client.disconnect());
    const unaware = await opened({ client });
    await (await unaware.claim(ADDRESS, version, { waitMs: 0 }))?.release();
    client.removeAllListeners('ready');
    wire.to = other.port;
    wire.cut();
    const claim = { id: 'id', name: newVersion(), holder: 'x', leaseMs: 60_000, patienceMs: 0 };
    await expect((await unaware.engine()).claim(claim)).rejects.toMatchObject({
      code: 'store-unsuitable',
      message: expect.stringContaining('keeps no log'),
    });
    expect(await (await unaware.engine()).leased('id'), 'the claim was given back').toBe(false);
    expect(await engine.leased('id')).toBe(false);
  });

  test('a new process that is refused a connection retries until its deadline, then says why', async () => {
    const server = await redisServer();
    const first = await opened({ url: server.url });
    const version = await written(first);
    await first.close();
    const hog = server.client();
    await hog.ping();
    const [, clients] = /connected_clients:(\d+)/.exec(await hog.info('clients')) ?? [];
    await hog.config('SET', 'maxclients', String(clients));
    const store = await opened({ url: server.url });
    await expect(store.claim(ADDRESS, version, { waitMs: 0 })).rejects.toMatchObject({
      code: 'store-unreachable',
      retryable: true,
      message: expect.stringContaining('max number of clients'),
    });
    const reading = store.read(ADDRESS);
    const claiming = store.claim(ADDRESS, version, { waitMs: 20_000 });
    await hog.config('SET', 'maxclients', String(Number(clients) + 5));
    expect((await reading)?.record).toBe('one');
    await (await claiming)?.release();
  }, 60_000);

  test('reports a disk that cannot be written as full, and as worth a retry', async () => {
    const server = await redisServer({ settings: { save: '3600 1' } });
    const store = await opened({ url: server.url });
    await written(store);
    const saved = async (how: string) => {
      await server.client().bgsave();
      await expect
        .poll(() => server.client().info('persistence'))
        .toMatch(new RegExp(`rdb_bgsave_in_progress:0[^]*rdb_last_bgsave_status:${how}`));
    };
    const [, directory] = await server.client().config('GET', 'dir');
    await mkdir(join(directory ?? '', 'dump.rdb'));
    await saved('err');
    const refused = await store.cas(ADDRESS, await store.version(ADDRESS), 'two').catch((error) => error);
    expect(refused).toBeInstanceOf(StorageFullError);
    expect(refused).toMatchObject({ retryable: true, message: expect.stringContaining('MISCONF') });
    await rm(join(directory ?? '', 'dump.rdb'), { recursive: true });
    await saved('ok');
    expect(await writeOn(store, ['two'])).toEqual(['two']);
  });

  test('the holder of a claim notices a newer claim after the clock was set forward', async () => {
    const server = await redisServer();
    const store = await opened({ url: server.url });
    const other = await opened({ url: server.url });
    const version = await written(store);
    const lease = await store.claim(ADDRESS, version, { waitMs: 0 });
    await server.client().hincrby('holdfast:{default/id}', 'until', -3_600_000);
    const next = await other.claim(ADDRESS, version, { waitMs: 0 });
    await new Promise((resolve) => setTimeout(resolve, 1001));
    await expect(lease?.confirm()).rejects.toBeInstanceOf(LeaseLostError);
    await next?.confirm();
    await next?.release();
  });

  test('an abandoned claim blocks others for one lease after the clock was set back', async () => {
    const server = await redisServer();
    const store = await opened({ url: server.url, leaseMs: 300, patienceMs: 0 });
    const version = await written(store);
    (await store.claim(ADDRESS, version, { waitMs: 0 }))?.abandon();
    const key = 'holdfast:{default/id}';
    await server.client().hincrby(key, 'until', 3_600_000);
    await expect(store.claim(ADDRESS, version, { waitMs: 0 })).rejects.toBeInstanceOf(LockTimeoutError);
    await (await store.claim(ADDRESS, version, { waitMs: 20_000 }))?.release();
  });
});
