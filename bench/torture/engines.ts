import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { WORKERS } from './plan.ts';
import { TcpProxy } from './tcp-proxy.ts';

export const ENGINES = ['directory', 'postgres', 'redis'] as const;
export type EngineName = (typeof ENGINES)[number];

/** What the credentials lie in, and the ways there. */
export interface RunningEngine {
  readonly name: EngineName;
  /** For the harness itself, which no fault meets but a crash. */
  readonly url: string;
  readonly urlOf: (worker: number) => string;
  /** `HOLDFAST_HOME` of that worker. */
  readonly homeOf: (worker: number) => string;
  readonly keyFile: string;
  /** The network of each worker to the engine. */
  readonly proxies: readonly TcpProxy[];
  /** What lies there must hold no token. */
  readonly places: readonly string[];
  /** Dies as with the power. */
  crash(): Promise<void>;
  start(): Promise<void>;
  close(): Promise<void>;
}

interface Served {
  readonly url: string;
  readonly port: number;
  /** What every worker talks to: the engine, or what stands before it. */
  readonly front: number;
  readonly places: readonly string[];
  crash(): Promise<void>;
  start(): Promise<void>;
  close(): Promise<void>;
}

/** @param directory of this run’s own */
export async function startEngine(name: EngineName, directory: string): Promise<RunningEngine> {
  const keyFile = join(directory, 'sealing-key');
  await writeFile(keyFile, randomBytes(32).toString('base64url'), { mode: 0o600 });
  const shared = join(directory, 'home');
  if (name === 'directory') {
    return {
      name,
      keyFile,
      url: 'directory:',
      urlOf: () => 'directory:',
      homeOf: () => shared,
      proxies: [],
      places: [shared],
      crash: async () => {},
      start: async () => {},
      close: async () => {},
    };
  }
  const served = await (name === 'postgres' ? servePostgres() : serveRedis());
  const proxies = await Promise.all(Array.from({ length: WORKERS }, () => TcpProxy.start(served.front)));
  const homes = join(directory, 'homes');
  await mkdir(homes, { mode: 0o700 });
  return {
    ...served,
    name,
    keyFile,
    urlOf: (worker) => {
      const url = new URL(served.url);
      url.port = String(proxies[worker]?.port);
      return url.href;
    },
    homeOf: (worker) => join(homes, String(worker)),
    proxies,
    places: [homes, ...served.places],
    close: async () => {
      await Promise.all(proxies.map((proxy) => proxy.close()));
      await served.close();
    },
  };
}

/** PgBouncer in transaction mode between. */
async function servePostgres(): Promise<Served> {
  const { startPgBouncer, startPostgres } = await import('../../test/support/postgres.ts');
  const { postgresMigration } = await import('../../src/postgres.ts');
  const { Client } = (await import('pg')).default;
  const postgres = await startPostgres();
  // One sync for all files when it comes back from a crash, and not one each.
  postgres.configure('recovery_init_sync_method = syncfs');
  const client = new Client({ connectionString: postgres.url() });
  await client.connect();
  await client.query(postgresMigration());
  await client.end();
  const bouncer = await startPgBouncer(postgres);
  return {
    url: postgres.url(),
    port: postgres.port,
    front: Number(new URL(bouncer.url()).port),
    places: [postgres.directory],
    crash: () => postgres.crash(),
    start: () => postgres.start(),
    close: async () => {
      await bouncer.stop();
      await postgres.dispose();
    },
  };
}

async function serveRedis(): Promise<Served> {
  const { startRedis } = await import('../../test/support/redis.ts');
  const redis = await startRedis();
  const [, directory = ''] = (await redis.client().config('GET', 'dir')) as string[];
  return {
    url: redis.url,
    port: redis.port,
    front: redis.port,
    places: [directory],
    crash: () => redis.kill(),
    start: () => redis.restart(),
    close: () => redis.stop(),
  };
}
