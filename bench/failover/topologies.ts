import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Cluster, Redis } from 'ioredis';
import pg from 'pg';
import { postgresMigration } from '../../src/postgres.ts';
import type { EngineStore } from '../../src/store/engine/engine-store.ts';
import { openPostgresStore } from '../../src/store/postgres/pool.ts';
import { openRedisStore } from '../../src/store/redis/open.ts';
import { startPostgres, startReplica, startWire } from '../../test/support/engines/postgres.ts';
import { joinCluster, type RedisServer, startRedis } from '../../test/support/engines/redis.ts';

/* Engines of two servers or more, and what makes one take over from another. */

export interface Topology {
  readonly title: string;
  start(): Promise<RunningTopology>;
}

export interface RunningTopology {
  /** A store of its own connections, as another process would have it. */
  store(): EngineStore;
  /** What is acknowledged from now on never reaches the server that will take over. */
  lag?(): void;
  /** The server that is written to dies. Returns when another takes writes, where that is ours to do. */
  takeOver(): Promise<void>;
  close(): Promise<void>;
}

/** Short, so that a run sees many of them. */
const OPTIONS = { lookEveryMs: 100, leaseMs: 1_500, timeoutMs: 1_500 };

/** The server has all that was acknowledged, or everything but the last writes. */
type Replica = 'up to date' | 'behind';

export const TOPOLOGIES: readonly Topology[] = [
  postgres('up to date'),
  postgres('behind'),
  redis('up to date'),
  redis('behind'),
  { title: 'Redis Sentinel, the master killed', start: startSentinel },
  { title: 'Redis Cluster, a master killed, own client', start: () => startCluster('own') },
  { title: "Redis Cluster, a master killed, the caller's client", start: () => startCluster('caller') },
];

function postgres(replica: Replica): Topology {
  return {
    title: `PostgreSQL, streaming replica (${replica}) promoted`,
    async start() {
      const ends = new Ends();
      const primary = await startPostgres();
      ends.add(() => primary.dispose());
      const admin = new pg.Client({ connectionString: primary.url() });
      admin.on('error', () => {});
      await admin.connect();
      await admin.query(postgresMigration());
      await admin.end();
      const feed = await startWire(primary.port);
      ends.add(() => feed.stop());
      const second = await startReplica(primary, { through: feed.port });
      ends.add(() => second.dispose());
      const front = await startWire(primary.port);
      ends.add(() => front.stop());
      const url = `postgres://owner@127.0.0.1:${front.port}/postgres`;
      return {
        store: () => openPostgresStore({ ...OPTIONS, connectionString: url }),
        ...(replica === 'behind' ? { lag: () => void (feed.silent = true) } : {}),
        takeOver: async () => {
          await primary.crash();
          const promoted = new pg.Client({ connectionString: second.url() });
          await promoted.connect();
          await promoted.query('SELECT pg_promote(true, 30)');
          await promoted.end();
          front.to = second.port;
          front.cut();
        },
        close: () => ends.run(),
      };
    },
  };
}

function redis(replica: Replica): Topology {
  return {
    title: `Redis, replica (${replica}) promoted`,
    async start() {
      const ends = new Ends();
      const primary = await startRedis({ settings: { 'repl-diskless-sync-delay': '0' } });
      ends.add(() => primary.stop());
      const second = await startRedis();
      ends.add(() => second.stop());
      const feed = await startWire(primary.port);
      ends.add(() => feed.stop());
      await follow(second, feed.port);
      const front = await startWire(primary.port);
      ends.add(() => front.stop());
      return {
        store: () => openRedisStore({ ...OPTIONS, url: `redis://127.0.0.1:${front.port}` }),
        ...(replica === 'behind' ? { lag: () => void (feed.silent = true) } : {}),
        takeOver: async () => {
          await primary.kill();
          await second.client().replicaof('NO', 'ONE');
          front.to = second.port;
          front.cut();
        },
        close: () => ends.run(),
      };
    },
  };
}

async function startSentinel(): Promise<RunningTopology> {
  const ends = new Ends();
  const master = await startRedis({ settings: { 'repl-diskless-sync-delay': '0' } });
  ends.add(() => master.stop());
  const second = await startRedis();
  ends.add(() => second.stop());
  await follow(second, master.port);
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-sentinel-'));
  ends.add(() => rm(directory, { recursive: true, force: true }));
  const port = await freePort();
  const lines = [
    `port ${port}`,
    'bind 127.0.0.1',
    `dir ${directory}`,
    `sentinel monitor main 127.0.0.1 ${master.port} 1`,
    'sentinel down-after-milliseconds main 1000',
    'sentinel failover-timeout main 4000',
  ];
  await writeFile(join(directory, 'sentinel.conf'), `${lines.join('\n')}\n`);
  const child = spawn('redis-server', [join(directory, 'sentinel.conf'), '--sentinel'], { stdio: 'ignore' });
  const ended = once(child, 'exit');
  ends.add(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  const connect = () => {
    const client = new Redis({ sentinels: [{ host: '127.0.0.1', port }], name: 'main' });
    client.on('error', () => {});
    ends.add(async () => client.disconnect());
    return client;
  };
  const watch = new Redis({ host: '127.0.0.1', port, maxRetriesPerRequest: null });
  watch.on('error', () => {});
  ends.add(async () => watch.disconnect());
  // It promotes only a replica that it has heard of.
  await until(async () =>
    String(await watch.call('SENTINEL', 'REPLICAS', 'main')).includes(String(second.port)),
  );
  return {
    store: () => openRedisStore({ ...OPTIONS, client: connect() }),
    takeOver: () => master.kill(),
    close: () => ends.run(),
  };
}

async function startCluster(client: 'own' | 'caller'): Promise<RunningTopology> {
  const ends = new Ends();
  const settings = {
    'cluster-enabled': 'yes',
    'cluster-node-timeout': '2000',
    'repl-diskless-sync-delay': '0',
  };
  const servers = await Promise.all(Array.from({ length: 6 }, () => startRedis({ settings })));
  ends.add(() => Promise.all(servers.map((server) => server.stop())));
  const [masters, replicas] = [servers.slice(0, 3), servers.slice(3)];
  await joinCluster(masters);
  const [first] = masters;
  for (const [index, replica] of replicas.entries()) {
    const own = replica.client();
    await own.call('CLUSTER', 'MEET', '127.0.0.1', String(first?.port));
    const id = String(await masters[index]?.client().call('CLUSTER', 'MYID'));
    await until(async () => (await own.call('CLUSTER', 'REPLICATE', id)) === 'OK');
    await until(async () => (await own.info('replication')).includes('master_link_status:up'));
  }
  return {
    store: () => {
      if (client === 'own')
        return openRedisStore({ ...OPTIONS, url: `redis://127.0.0.1:${first?.port}/?cluster=true` });
      const cluster = new Cluster([{ host: '127.0.0.1', port: first?.port ?? 0 }]);
      cluster.on('error', () => {});
      ends.add(async () => cluster.disconnect());
      return openRedisStore({ ...OPTIONS, client: cluster });
    },
    // Not the one that the clients were told of.
    takeOver: async () => masters[1]?.kill(),
    close: () => ends.run(),
  };
}

async function follow(replica: RedisServer, port: number): Promise<void> {
  await replica.client().replicaof('127.0.0.1', port);
  await until(async () => (await replica.client().info('replication')).includes('master_link_status:up'));
}

/** @param isThere a failure counts as not yet */
async function until(isThere: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + 30_000;
  for (;;) {
    if (await isThere().catch(() => false)) return;
    if (performance.now() > end) throw new Error(`Not there after 30 s: ${isThere.toString()}`);
    await sleep(100);
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** What is to be ended, in the reverse of the order in which it began. */
class Ends {
  readonly #steps: (() => Promise<unknown>)[] = [];

  add(step: () => Promise<unknown>): void {
    this.#steps.unshift(step);
  }

  async run(): Promise<void> {
    for (const step of this.#steps.splice(0)) await step();
  }
}
