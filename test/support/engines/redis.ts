import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createConnection, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { onTestFinished } from 'vitest';
import { installed, requirement } from '../requirement.ts';

/** Why there is no Redis here, for `skipIf`. */
export const noRedis = requirement('redis-server is not installed', installed('redis-server'));

/**
 * A Redis or Valkey with WAITAOF: the program in `HOLDFAST_TEST_VALKEY`, or valkey-server on the PATH. Debian 12 has no
 * such package, so a run cannot promise to test it.
 */
export const valkey = [process.env['HOLDFAST_TEST_VALKEY'] ?? '', 'valkey-server'].find(
  (program) => program !== '' && installed(program),
);

export interface RedisServer {
  readonly port: number;
  readonly url: string;
  /** A client that is closed with the test. */
  client(): Redis;
  /** Kills the server as a crash would, and starts it again on its old data. */
  restart(): Promise<void>;
  /** Kills the server as a crash would. */
  kill(): Promise<void>;
  stop(): Promise<void>;
}

export interface RedisSettings {
  readonly program?: string | undefined;
  /**
   * Lines of its configuration after `appendonly yes` and `appendfsync always`. `""` is an empty word and `{port}` the
   * port.
   */
  readonly settings?: Readonly<Record<string, string>>;
}

/** Starts a real server in its own directory. The caller stops it; `redisServer` stops it with the test. */
export async function startRedis({
  program = 'redis-server',
  settings = {},
}: RedisSettings = {}): Promise<RedisServer> {
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-redis-'));
  let port = 0;
  const configuration = () => ({
    port: String(port),
    bind: '127.0.0.1',
    dir: directory,
    save: '',
    appendonly: 'yes',
    appendfsync: 'always',
    ...settings,
  });
  const clients: Redis[] = [];
  const client = () => {
    const made = new Redis({ port, host: '127.0.0.1', maxRetriesPerRequest: null });
    made.on('error', () => {});
    clients.push(made);
    return made;
  };
  const start = async () => {
    const args = Object.entries(configuration()).flatMap(([name, value]) => [
      `--${name}`,
      ...value.split(' ').map((word) => (word === '""' ? '' : word.replace('{port}', String(port)))),
    ]);
    const child = spawn(program, args, { stdio: 'ignore' });
    const ended = once(child, 'exit');
    try {
      await answering(port, 'tls-port' in settings, ended);
    } catch (error) {
      child.kill('SIGKILL');
      throw error;
    }
    return { child, ended };
  };
  const startSomewhere = async () => {
    for (let tries = 1; ; tries += 1) {
      port = await freePort();
      try {
        return await start();
      } catch (error) {
        // Another program may have taken the port in between.
        if (tries < 5) continue;
        await rm(directory, { recursive: true, force: true });
        throw error;
      }
    }
  };
  let running = await startSomewhere();
  const kill = async () => {
    running.child.kill('SIGKILL');
    await running.ended;
  };
  return {
    port,
    url: `redis://127.0.0.1:${port}/0`,
    client,
    kill,
    restart: async () => {
      await kill();
      running = await start();
    },
    stop: async () => {
      for (const one of clients) one.disconnect();
      await kill();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** A real server that ends with the test. */
export async function redisServer(options: RedisSettings = {}): Promise<RedisServer> {
  const server = await startRedis(options);
  onTestFinished(() => server.stop());
  return server;
}

/** Starts three masters that form one cluster and end with the test. */
export async function redisCluster(): Promise<readonly RedisServer[]> {
  const settings = { 'cluster-enabled': 'yes', 'cluster-node-timeout': '2000' };
  const servers = await Promise.all([0, 1, 2].map(() => redisServer({ settings })));
  await joinCluster(servers);
  return servers;
}

/** Joins servers with `cluster-enabled` to one cluster, each with a share of the slots. */
export async function joinCluster(servers: readonly RedisServer[]): Promise<void> {
  for (const [at, server] of servers.entries()) {
    const client = server.client();
    const slot = (index: number) => Math.ceil((index * 16384) / servers.length);
    await client.call('CLUSTER', 'ADDSLOTSRANGE', slot(at), slot(at + 1) - 1);
    for (const { port } of servers) await client.call('CLUSTER', 'MEET', '127.0.0.1', port);
  }
  for (const server of servers) {
    const client = server.client();
    while (!String(await client.call('CLUSTER', 'INFO')).includes('cluster_state:ok')) await pause(50);
    while (((await client.call('CLUSTER', 'SLOTS')) as unknown[]).length < servers.length) await pause(50);
  }
}

async function answering(port: number, tls: boolean, ended: Promise<unknown>): Promise<void> {
  let over = false;
  void ended.then(() => {
    over = true;
  });
  const end = Date.now() + 20_000;
  while (!over && Date.now() < end) {
    if (await pong(port, tls)) return;
    await pause(20);
  }
  throw new Error('redis-server did not come to answer');
}

/**
 * Whether the server is ready. Any answer but LOADING counts, even a demand for a password. With TLS, the connection
 * alone counts.
 */
async function pong(port: number, tls: boolean): Promise<boolean> {
  const socket = createConnection({ port, host: '127.0.0.1' });
  try {
    await once(socket, 'connect');
    socket.write('PING\r\n');
    if (tls) return true;
    const [answer] = (await once(socket, 'data')) as unknown[];
    return !String(answer).startsWith('-LOADING');
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

/** A port whose cluster port, 10,000 higher, is also free. */
async function freePort(): Promise<number> {
  for (;;) {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    server.close();
    await once(server, 'close');
    if (address !== null && typeof address !== 'string' && address.port < 55_535) return address.port;
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
