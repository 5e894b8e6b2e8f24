import { Redis } from 'ioredis';
import { startWire, type Wire } from '../../test/support/engines/postgres.ts';
import { type RedisServer, startRedis } from '../../test/support/engines/redis.ts';
import type { Served } from './engines.ts';

/** The fields of a credential that are times, by name or by the letter before their key. */
const SHIFT = `
local by = tonumber(ARGV[1])
for _, key in ipairs(redis.call('KEYS', 'holdfast:{*')) do
  for _, field in ipairs(redis.call('HKEYS', key)) do
    if string.match(field, '^[tw]:') or field == 'until' or field == 'claimed' or field == 'after' then
      local value = tonumber(redis.call('HGET', key, field))
      if value then redis.call('HSET', key, field, string.format('%.0f', value - by)) end
    end
  end
end`;

interface Replica {
  readonly server: RedisServer;
  /** What it hears of the primary comes over this. */
  readonly link: Wire;
}

/** Redis with a replica. */
export async function serveRedis(): Promise<Served> {
  const settings = { 'repl-diskless-sync-delay': '0' };
  let primary = await startRedis({ settings });
  const front = await startWire(primary.port);
  const places = [await directoryOf(primary)];
  const replicate = async (of: RedisServer): Promise<Replica> => {
    const server = await startRedis({ settings });
    places.push(await directoryOf(server));
    const link = await startWire(of.port);
    await server.client().call('REPLICAOF', '127.0.0.1', String(link.port));
    return { server, link };
  };
  let replica = replicate(primary);
  const url = `redis://127.0.0.1:${front.port}/0`;
  return {
    url,
    front: front.port,
    places,
    crash: () => primary.kill(),
    start: () => primary.restart(),
    failOver: async (lagMs, lost, down) => {
      const { server, link } = await replica;
      if (!(await server.client().info('replication')).includes('master_link_status:up')) return false;
      lost();
      link.silent = true;
      await new Promise((resolve) => setTimeout(resolve, lagMs));
      const before = primary;
      down();
      await before.kill();
      await server.client().call('REPLICAOF', 'NO', 'ONE');
      front.to = server.port;
      front.cut();
      await link.stop();
      primary = server;
      replica = replicate(primary);
      await before.stop();
      return true;
    },
    setClock: async (byMs) => {
      const client = new Redis(url, { maxRetriesPerRequest: null });
      client.on('error', () => {});
      try {
        await client.call('EVAL', SHIFT, '0', String(byMs));
      } finally {
        client.disconnect();
      }
    },
    close: async () => {
      const last = await replica;
      await last.link.stop();
      await last.server.stop();
      await front.stop();
      await primary.stop();
    },
  };
}

async function directoryOf(server: RedisServer): Promise<string> {
  const [, directory = ''] = await server.client().config('GET', 'dir');
  return directory;
}
