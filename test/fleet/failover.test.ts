import pg from 'pg';
import { describe, expect, onTestFinished, test } from 'vitest';
import { postgresMigration } from '../../src/postgres.ts';
import { openPostgresStore } from '../../src/store/postgres/pool.ts';
import type { RecordStore } from '../../src/store/record-store.ts';
import { openRedisStore } from '../../src/store/redis/open.ts';
import { openVault } from '../../src/vault/open.ts';
import { NO_POSTGRES, startPostgres, startReplica, startWire } from '../support/engines/postgres.ts';
import { noRedis, redisServer } from '../support/engines/redis.ts';
import {
  authorizationServer,
  ended,
  type Machine,
  machine,
  putLogin,
  RESOURCE,
  storedAt,
} from '../support/servers/lab.ts';

/* A real replica without the last writes takes over. Nobody asks the process that made those writes for a token. */

interface Pair {
  open(): RecordStore;
  /** Whether the replica has the login. */
  isReplicated(): Promise<boolean>;
  /** Cuts the replica off from the primary. */
  lag(): Promise<void>;
  /** Kills the primary, and the replica takes over under the same address. */
  takeOver(): Promise<void>;
}

async function postgresPair(): Promise<Pair> {
  const primary = await startPostgres();
  onTestFinished(() => primary.dispose());
  const owner = new pg.Client({ connectionString: primary.url() });
  await owner.connect();
  await owner.query(postgresMigration());
  await owner.end();
  const replica = await startReplica(primary);
  onTestFinished(() => replica.dispose());
  const admin = new pg.Client({ connectionString: replica.url() });
  await admin.connect();
  onTestFinished(() => admin.end());
  const front = await wireTo(primary.port);
  const url = `postgres://owner@127.0.0.1:${front.port}/postgres`;
  return {
    open: () => openPostgresStore({ connectionString: url, lookEveryMs: 0, timeoutMs: 2000 }),
    isReplicated: async () => (await admin.query('SELECT FROM holdfast.records')).rowCount === 1,
    lag: async () => {
      await admin.query(`ALTER SYSTEM SET primary_conninfo = ''`);
      await admin.query('SELECT pg_reload_conf()');
      const receivers = async () => (await admin.query('SELECT FROM pg_stat_wal_receiver')).rowCount;
      await expect.poll(receivers, { timeout: 20_000 }).toBe(0);
    },
    takeOver: async () => {
      front.to = replica.port;
      await primary.crash();
      await admin.query('SELECT pg_promote(true, 30)');
    },
  };
}

async function redisPair(): Promise<Pair> {
  const primary = await redisServer({ settings: { 'repl-diskless-sync-delay': '0' } });
  const replication = await wireTo(primary.port);
  const replica = await redisServer({ settings: { replicaof: `127.0.0.1 ${replication.port}` } });
  await expect
    .poll(() => replica.client().info('replication'), { timeout: 20_000 })
    .toContain('master_link_status:up');
  const front = await wireTo(primary.port);
  return {
    open: () => openRedisStore({ url: `redis://127.0.0.1:${front.port}`, lookEveryMs: 0, timeoutMs: 2000 }),
    isReplicated: async () => (await replica.client().keys('holdfast:{*')).length === 1,
    lag: async () => {
      replication.silent = true;
    },
    takeOver: async () => {
      front.to = replica.port;
      await primary.kill();
      await replica.client().call('REPLICAOF', 'NO', 'ONE');
    },
  };
}

async function wireTo(port: number) {
  const wire = await startWire(port);
  onTestFinished(() => wire.stop());
  return wire;
}

function vaultOf(store: RecordStore, at: Machine) {
  const vault = openVault({ keyring: 'key-file', store, environment: at.environment });
  onTestFinished(() => vault.close());
  return vault;
}

/** Waits until the replica has the login, so that it lacks only what comes after this. */
async function replicated(pair: Pair, at: Machine): Promise<void> {
  await expect.poll(() => pair.isReplicated(), { timeout: 20_000 }).toBe(true);
  await pair.lag();
  expect(await storedAt(pair.open(), at)).toMatchObject({ generation: 1 });
}

const ENGINES = [
  ['PostgreSQL', postgresPair, NO_POSTGRES],
  ['Redis', redisPair, noRedis],
] as const;

describe.each(ENGINES)('%s', (_name, start, reason) => {
  test.skipIf(reason)(
    'writes the newest tokens again after a failover, before anybody asks for them',
    async () => {
      const server = await authorizationServer('strict');
      const at = await machine({ replay: 'strict' });
      const { family, refreshToken } = await server.begin();
      const pair = await start();
      await putLogin(pair.open(), at, { server, refreshToken });
      await replicated(pair, at);
      const first = vaultOf(pair.open(), at);
      expect((await first.token(RESOURCE)).generation).toBe(2);
      await pair.takeOver();
      const stored = async () => {
        const found = await storedAt(pair.open(), at).catch(() => undefined);
        return found?.refreshToken === server.live(family);
      };
      await expect.poll(stored, { timeout: 30_000 }).toBe(true);
      expect(await ended(vaultOf(pair.open(), at).token(RESOURCE, { rejectedGeneration: 1 }))).toBe(
        'generation 2',
      );
      expect(server.presented).toHaveLength(1);
      expect(server.hasEnded(family)).toBe(false);
    },
    90_000,
  );
});
