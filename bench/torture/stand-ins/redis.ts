import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { isGood, type PlainLogin, type Protocol, refreshed, type TokenSource } from './stand-ins.ts';

/** Replaces the value only while it is the one that was read. */
const CAS =
  "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2]) return 1 end return 0";

export function overRedis(protocol: Protocol, url: string, lockMs: number): TokenSource {
  const client = new Redis(url, { maxRetriesPerRequest: 3 });
  client.on('error', () => {});
  const key = (resource: string) => `login:${resource}`;
  const read = async (resource: string) => {
    const text = (await client.get(key(resource))) ?? '';
    return { text, login: JSON.parse(text) as PlainLogin };
  };
  const refresh = async (resource: string, refused: number | undefined): Promise<PlainLogin> => {
    const { text, login } = await read(resource);
    if (isGood(login, refused)) return login;
    const next = await refreshed(login);
    if (protocol === 'cas') await client.eval(CAS, 1, key(resource), text, JSON.stringify(next));
    else await client.set(key(resource), JSON.stringify(next));
    return protocol === 'cas' ? (await read(resource)).login : next;
  };
  const locked = async (resource: string, refused: number | undefined): Promise<PlainLogin> => {
    const lock = `lock:${resource}`;
    for (;;) {
      if ((await client.set(lock, '1', 'PX', lockMs, 'NX')) === 'OK') break;
      const { login } = await read(resource);
      if (isGood(login, refused)) return login;
      await sleep(20 + Math.random() * 30);
    }
    try {
      return await refresh(resource, refused);
    } finally {
      await client.del(lock);
    }
  };
  return {
    token: async (resource, refused) => {
      const { login } = await read(resource);
      const renew = protocol === 'ttl-lock' ? locked : refresh;
      const { accessToken, generation } = isGood(login, refused) ? login : await renew(resource, refused);
      return { token: accessToken, generation };
    },
    close: async () => client.disconnect(),
  };
}

export async function putKey(url: string, resource: string, login: PlainLogin): Promise<void> {
  const client = new Redis(url);
  await client.set(`login:${resource}`, JSON.stringify(login));
  client.disconnect();
}

export async function readKey(url: string, resource: string): Promise<PlainLogin> {
  const client = new Redis(url);
  const text = await client.get(`login:${resource}`);
  client.disconnect();
  return JSON.parse(text ?? '') as PlainLogin;
}
