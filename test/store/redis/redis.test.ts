import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { Cluster, Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import {
  HoldfastError,
  InvalidArgumentError,
  StorageFullError,
  StoreDeniedError,
  StoreUnreachableError,
  StoreUnsuitableError,
} from '../../../src/errors.ts';
import { type RedisStoreOptions } from '../../../src/redis.ts';
import type { ClaimRequest, Engine, WriteAnswer } from '../../../src/store/engine/engine.ts';
import { openRedisStore } from '../../../src/store/redis/open.ts';
import { storeContract } from '../../../src/testing/store-contract.ts';
import {
  noRedis,
  type RedisServer,
  redisCluster,
  redisServer,
  startRedis,
  valkey,
} from '../../support/engines/redis.ts';
import { temporaryDirectory } from '../../support/homes/home.ts';
import { remoteHost } from '../../support/network/remote-host.ts';

const ADDRESS = { kid: 'kid', id: 'id' };
const LEASE_MS = 60_000;

let tenants = 0;
const newTenant = () => `tenant-${(tenants += 1)}`;

describe.skipIf(noRedis)('Redis', () => {
  let shared: RedisServer;
  beforeAll(async () => {
    shared = await startRedis();
  });
  afterAll(() => shared.stop());

  /** A process's store of a new tenant, unless the options name one. */
  async function open(options: Partial<RedisStoreOptions> = {}) {
    const where = options.client === undefined ? { url: shared.url } : {};
    const store = openRedisStore({ ...where, tenant: newTenant(), ...options });
    onTestFinished(() => store.close());
    return { store, engine: await store.engine() };
  }

  describe('the contract of a store', () => {
    const contract = storeContract(async () => {
      const tenant = newTenant();
      const again = () => openRedisStore({ url: shared.url, tenant });
      return { store: again(), reopen: async () => again(), dispose: async () => {} };
    });
    for (const { name, run } of contract) test(name, run);
  });

  describe('a claim', () => {
    test('grants a claim to one of two hundred who ask at once', async () => {
      const tenant = newTenant();
      const ways = await Promise.all(Array.from({ length: 4 }, () => open({ tenant })));
      const answers = await Promise.all(
        Array.from({ length: 200 }, (_, at) => claim((ways[at % 4] ?? never()).engine)),
      );
      expect(answers.filter(({ outcome }) => outcome === 'claimed')).toHaveLength(1);
      expect(answers.filter(({ outcome }) => outcome === 'held')).toHaveLength(199);
    });

    test('gives each claim a higher epoch than all before, also after the record was removed', async () => {
      const { engine } = await open();
      await put(engine, 'v1');
      let last = 0;
      for (const removes of [false, true, false]) {
        const { outcome, epoch = 0 } = await claim(engine);
        expect(outcome).toBe('claimed');
        expect(epoch).toBeGreaterThan(last);
        last = epoch;
        await engine.release('id', { epoch, note: undefined });
        if (!removes) continue;
        await engine.remove(ADDRESS, undefined);
        await put(engine, 'v2');
      }
    });

    test('grants a claim when the lease of a silent holder is over, and says when that claim was made', async () => {
      const { engine } = await open();
      const first = await claim(engine, { leaseMs: 30 });
      const second = await eventually(() => claim(engine));
      expect(second).toMatchObject({ abandonedAt: first.now });
      expect(second.epoch).toBeGreaterThan(first.epoch ?? Number.NaN);
      expect(second.now).toBeGreaterThan((first.now ?? 0) + 30);
    });

    test('waits longer for a silent holder when told to be patient', async () => {
      const { engine } = await open();
      const first = await claim(engine, { leaseMs: 1 });
      await expect.poll(() => engine.leased('id')).toBe(false);
      expect(await claim(engine, { patienceMs: 60_000 })).toEqual({ outcome: 'held' });
      expect(await eventually(() => claim(engine))).toMatchObject({ abandonedAt: first.now });
    });

    test('refuses a claim for a record that has another version or is gone', async () => {
      const { engine } = await open();
      await put(engine, 'v1');
      const only = { address: ADDRESS, version: 'v0' };
      expect(await claim(engine, { only })).toEqual({ outcome: 'superseded' });
      expect(await engine.leased('id')).toBe(false);
      await engine.remove(ADDRESS, 'v1');
      expect(await claim(engine, { only: { address: ADDRESS, version: 'v1' } })).toEqual({
        outcome: 'superseded',
      });
    });

    test('never grants a claim in the step that ends another and writes a new version', async () => {
      const tenant = newTenant();
      const [near, far] = [await open({ tenant }), await open({ tenant })];
      await put(near.engine, 'v0');
      for (let round = 1; round <= 50; round += 1) {
        const { epoch } = await claim(near.engine);
        const write = {
          record: 'r',
          version: `v${round}`,
          ageMs: 0,
          releases: { epoch: epoch ?? 0, note: undefined },
        };
        const only = { address: ADDRESS, version: `v${round - 1}` };
        const [written, ...answers] = await Promise.all([
          near.engine.write(ADDRESS, `v${round - 1}`, write),
          ...Array.from({ length: 5 }, () => claim(far.engine, { only })),
        ]);
        expect(written).toEqual({ outcome: 'written' });
        for (const { outcome } of answers) expect(['held', 'superseded']).toContain(outcome);
      }
    });

    test('neither renews nor releases a claim that is not the latest', async () => {
      const { engine } = await open();
      const { epoch: first = 0 } = await claim(engine, { leaseMs: 1 });
      const { epoch: second = 0 } = await eventually(() => claim(engine));
      expect(await engine.renew('id', first, LEASE_MS)).toBe(false);
      await engine.release('id', { epoch: first, note: 'of the first' });
      expect(await engine.leased('id')).toBe(true);
      expect(await engine.renew('id', second, LEASE_MS)).toBe(true);
      await engine.release('id', { epoch: second, note: 'of the second' });
      expect(await engine.renew('id', second, LEASE_MS)).toBe(false);
      expect((await claim(engine)).note).toBe('of the second');
    });

    test('keeps a claim for as long as it is renewed', async () => {
      const { engine } = await open();
      const { epoch = 0 } = await claim(engine, { leaseMs: 1 });
      await engine.renew('id', epoch, LEASE_MS);
      expect(await engine.leased('id')).toBe(true);
      expect(await claim(engine)).toEqual({ outcome: 'held' });
    });

    test('counts a claim once that the client sent twice for lack of an answer', async () => {
      const tenant = newTenant();
      const way = await cuttable(shared.port);
      const client = new Redis({ port: way.port, host: '127.0.0.1', retryStrategy: () => 10 });
      onTestFinished(() => client.disconnect());
      const { engine } = await open({ client, tenant });
      // Commands that precede a first claim and write are sent here, so that the lost answer below is their own.
      await claim(engine, { id: 'other' });
      await put(engine, 'v1');
      way.swallowNextAnswer();
      expect(await claim(engine)).toMatchObject({ outcome: 'claimed', abandonedAt: undefined });
      await put(engine, 'v1', undefined, 'other');
      way.swallowNextAnswer();
      expect(await put(engine, 'v2', 'v1')).toEqual({ outcome: 'written' });
    });

    test('keeps a claim over a restart, and gives its holder time to return', async () => {
      const server = await redisServer();
      const { engine } = await open({ url: server.url });
      const { epoch = 0, now } = await claim(engine, { leaseMs: 1 });
      await expect.poll(() => engine.leased('id')).toBe(false);
      await server.restart();
      await expect.poll(() => claim(engine).catch(() => 'away')).toEqual({ outcome: 'held' });
      expect(await engine.leased('id')).toBe(true);
      expect(await engine.renew('id', epoch, 1)).toBe(true);
      const next = await eventually(() => claim(engine, { leaseMs: 1 }));
      expect(next).toMatchObject({ outcome: 'claimed', abandonedAt: now });
    });
  });

  test('does not grant another’s claim at once on a replica that was promoted', async () => {
    const primary = await redisServer({ settings: { 'repl-diskless-sync-delay': '0' } });
    const replica = await redisServer({ settings: { replicaof: `127.0.0.1 ${primary.port}` } });
    const { engine: near } = await open({ url: primary.url, tenant: 'promoted' });
    const { now } = await claim(near, { leaseMs: 1 });
    const client = replica.client();
    await expect.poll(() => client.exists('holdfast:{promoted/id}'), { timeout: 10_000 }).toBe(1);
    await client.call('REPLICAOF', 'NO', 'ONE');
    const { engine: far } = await open({ url: replica.url, tenant: 'promoted' });
    await expect.poll(() => far.leased('id')).toBe(false);
    expect(await claim(far, { leaseMs: 200 })).toEqual({ outcome: 'held' });
    expect(await far.leased('id')).toBe(true);
    expect(await eventually(() => claim(far))).toMatchObject({ outcome: 'claimed', abandonedAt: now });
  }, 20_000);

  describe('a write', () => {
    test('keeps a write over a crash of the server', async () => {
      const server = await redisServer();
      const { engine } = await open({ url: server.url });
      await put(engine, 'v1');
      await server.restart();
      await expect
        .poll(() => engine.read(ADDRESS).catch(() => 'away'))
        .toMatchObject({ record: 'of v1', version: 'v1' });
    });

    test('reports a write as unknown when its answer is lost, and finds it later', async () => {
      const way = await cuttable(shared.port);
      const { store } = await open({ url: `redis://127.0.0.1:${way.port}` });
      await store.cas(ADDRESS, undefined, 'one');
      const version = await store.version(ADDRESS);
      way.swallowNextAnswer();
      const written = await store.cas(ADDRESS, version, 'two');
      expect(written).toMatchObject({ outcome: 'unknown', cause: expect.any(StoreUnreachableError) });
      await expect.poll(async () => (await store.read(ADDRESS).catch(() => undefined))?.record).toBe('two');
    });

    test('stores the age of tokens by the server’s clock', async () => {
      const { engine } = await open();
      await engine.write(ADDRESS, undefined, { record: 'r', version: 'v', ageMs: 1000.4 });
      const ageMs = (await engine.read(ADDRESS))?.ageMs ?? 0;
      expect(ageMs).toBeGreaterThanOrEqual(1000);
      expect(ageMs).toBeLessThan(60_000);
    });

    test('refuses a record that is too large before it sends anything', async () => {
      const { engine } = await open();
      const write = { record: 'x'.repeat(1024 * 1024 + 1), version: 'v', ageMs: 0 };
      await expect(engine.write(ADDRESS, undefined, write)).rejects.toBeInstanceOf(InvalidArgumentError);
      expect(await engine.read(ADDRESS)).toBeUndefined();
    });

    test('never creates a key that expires', async () => {
      const { engine } = await open();
      await put(engine, 'v1');
      await claim(engine);
      expect(await shared.client().pttl(`holdfast:{${engine.tenant}/id}`)).toBe(-1);
    });
  });

  test('keeps tenants and prefixes apart, even if one name begins with another', async () => {
    const [plain, longer, other] = [
      await open({ tenant: 'ten' }),
      await open({ tenant: 'tenant' }),
      await open({ tenant: 'ten', prefix: 'other' }),
    ];
    await put(plain.engine, 'v');
    expect(await longer.engine.list()).toEqual([]);
    expect(await other.engine.list()).toEqual([]);
    expect(await plain.engine.list()).toEqual([ADDRESS]);
  });

  test('lists each of 1,200 records once, and counts them', async () => {
    const { engine } = await open();
    const ids = Array.from({ length: 1200 }, (_, at) => `id-${at}`);
    await Promise.all(
      ids.map((id) => engine.write({ kid: 'kid', id }, undefined, { record: 'r', version: 'v', ageMs: 0 })),
    );
    await claim(engine, { id: 'id-7', leaseMs: 1 });
    await claim(engine, { id: 'id-8' });
    await engine.quarantine(ADDRESS, 'r', 'late');
    await engine.quarantine(ADDRESS, 'r', 'damaged');
    expect((await engine.list()).map(({ id }) => id).sort()).toEqual([...ids].sort());
    await expect
      .poll(() => engine.status())
      .toMatchObject({
        records: 1200,
        claims: 2,
        oldestSilentMs: expect.any(Number),
        writtenLastHour: 1200,
        aside: { damaged: 1, late: 1 },
      });
  });

  test('says where to find a record that it quarantined', async () => {
    const { engine } = await open();
    const found = /^field (.*) of the hash (.*)$/.exec(await engine.quarantine(ADDRESS, 'sealed', 'late'));
    expect(await shared.client().hget(found?.[2] ?? '', found?.[1] ?? '')).toMatch(/^\d+ sealed$/);
  });

  test('leaves the caller’s client open, and refuses one with a key prefix', async () => {
    const client = shared.client();
    const { store } = await open({ client });
    await store.cas(ADDRESS, undefined, 'one');
    await store.close();
    await expect(store.read(ADDRESS)).rejects.toBeInstanceOf(StoreUnreachableError);
    expect(await client.ping()).toBe('PONG');
    const prefixed = new Redis({ lazyConnect: true, keyPrefix: 'app:' });
    expect(() => openRedisStore({ client: prefixed })).toThrow(InvalidArgumentError);
  });

  test('keeps each credential on one node of a cluster, and lists those of all nodes', async () => {
    const servers = await redisCluster();
    const [first] = servers;
    const client = new Cluster([{ host: '127.0.0.1', port: first?.port ?? 0 }]);
    onTestFinished(() => client.disconnect());
    const byUrl = await open({ url: `redis://127.0.0.1:${first?.port}/?cluster=true`, tenant: 't' });
    const given = await open({ client, tenant: 't' });
    const ids = Array.from({ length: 30 }, (_, at) => `id-${at}`);
    for (const id of ids) {
      await byUrl.engine.write({ kid: 'kid', id }, undefined, { record: 'r', version: 'v', ageMs: 0 });
      const { epoch } = await claim(given.engine, {
        id,
        only: { address: { kid: 'kid', id }, version: 'v' },
      });
      const releases = { epoch: epoch ?? 0, note: undefined };
      await given.engine.write({ kid: 'kid', id }, 'v', { record: 'r2', version: 'v2', ageMs: 0, releases });
    }
    const kept = await Promise.all(servers.map((server) => server.client().dbsize()));
    expect(Math.min(...kept)).toBeGreaterThan(0);
    for (const { engine } of [byUrl, given]) {
      expect((await engine.list()).map(({ id }) => id).sort()).toEqual([...ids].sort());
      expect(await engine.status()).toMatchObject({ records: 30, claims: 0 });
      expect(await levels(engine)).toMatchObject({
        warning: [expect.stringContaining('Replicas follow later')],
      });
    }
    const alone = await open({ url: `redis://127.0.0.1:${first?.port}/` });
    const failures = await Promise.all(
      ids.map((id) => alone.engine.kidsOf(id).catch((error: unknown) => error)),
    );
    expect(failures).toContainEqual(
      expect.objectContaining({ hint: expect.stringContaining('cluster=true') }),
    );
  }, 60_000);

  describe('durability and eviction', () => {
    const cases: [string, Record<string, string>, Partial<RedisStoreOptions>, string, string][] = [
      ['each write on its disk', {}, {}, 'ok', 'appendfsync always'],
      ['its disk each second', { appendfsync: 'everysec' }, {}, 'warning', 'each second'],
      ['its disk when the system likes', { appendfsync: 'no' }, {}, 'error', 'half a minute'],
      ['no log', { appendonly: 'no' }, {}, 'error', 'keeps no log'],
      ['no log, allowed', { appendonly: 'no' }, { durability: 'none' }, 'warning', 'allowed by name'],
      ['a log that rests', { 'no-appendfsync-on-rewrite': 'yes' }, {}, 'warning', 'rewrites its log'],
      ['any key evicted', EVICTING, {}, 'error', 'throws keys away'],
      ['any key evicted, allowed', EVICTING, { allowEviction: true }, 'warning', 'allowed by name'],
      [
        'keys with an end evicted',
        { ...EVICTING, 'maxmemory-policy': 'volatile-lru' },
        {},
        'warning',
        'have none',
      ],
      ['an eviction without a limit', { ...EVICTING, maxmemory: '0' }, {}, 'ok', 'no key away'],
      ['CONFIG forbidden', { 'rename-command': 'CONFIG ""' }, {}, 'warning', 'how soon'],
    ];
    test.each(cases)('%s', async (_name, settings, options, level, words) => {
      const server = await redisServer({ settings });
      const { engine } = await open({ url: server.url, ...options });
      expect((await levels(engine))[level]).toContainEqual(expect.stringContaining(words));
      const written = await put(engine, 'v1').catch((error: unknown) => error);
      if (level !== 'error') return expect(written).toEqual({ outcome: 'written' });
      expect(written).toBeInstanceOf(StoreUnsuitableError);
      expect(written).toMatchObject({ message: expect.stringContaining(words), hint: expect.any(String) });
      return expect(await server.client().dbsize()).toBe(0);
    });

    test('allows by URL parameters what the options allow', async () => {
      const server = await redisServer({ settings: { ...EVICTING, appendonly: 'no' } });
      const { engine } = await open({ url: `${server.url}?durability=none&eviction=allow` });
      expect(await put(engine, 'v1')).toEqual({ outcome: 'written' });
    });

    test('examines the server again after a new connection', async () => {
      const server = await redisServer();
      const { engine } = await open({ url: server.url });
      await put(engine, 'v1');
      await server.client().config('SET', 'appendonly', 'no');
      await server.client().call('CLIENT', 'KILL', 'TYPE', 'normal');
      await expect
        .poll(() => put(engine, 'v2', 'v1').catch((error: unknown) => error))
        .toBeInstanceOf(StoreUnsuitableError);
    });

    test('refuses a replica as read-only', async () => {
      const server = await redisServer({ settings: { replicaof: `127.0.0.1 ${shared.port}` } });
      const { engine } = await open({ url: server.url });
      await expect(put(engine, 'v1')).rejects.toMatchObject({
        code: 'store-unsuitable',
        hint: expect.stringContaining('primary'),
      });
      await expect.poll(() => levels(engine)).toMatchObject({ error: [expect.stringContaining('replica')] });
    });
  });

  describe('failures', () => {
    test('says that the package is not installed', async () => {
      const store = openRedisStore({ url: shared.url }, { variables: {} }, async () => {
        throw new Error('Cannot find package');
      });
      await expect(store.read(ADDRESS)).rejects.toMatchObject({
        code: 'invalid-argument',
        hint: 'npm install ioredis',
      });
    });

    test('says that no server listens', async () => {
      const server = await redisServer();
      await server.kill();
      const { engine } = await open({ url: server.url });
      const error = await engine.read(ADDRESS).catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(StoreUnreachableError);
      expect(error).toMatchObject({ retryable: true, message: expect.stringContaining('ECONNREFUSED') });
      expect(await levels(engine)).toMatchObject({ error: [expect.stringContaining('ECONNREFUSED')] });
    });

    test('says that the server did not answer in time', async () => {
      const way = await cuttable(shared.port);
      const { engine } = await open({ url: `redis://127.0.0.1:${way.port}`, timeoutMs: 200 });
      way.hold(true);
      const error = await engine.read(ADDRESS).catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ code: 'store-unreachable', message: expect.stringContaining('200 ms') });
      way.hold(false);
      await expect.poll(() => engine.version(ADDRESS).catch(() => 'away')).toBeUndefined();
    });

    test('reconnects automatically when the server is back', async () => {
      const server = await redisServer();
      const { engine } = await open({ url: server.url });
      await put(engine, 'v1');
      await server.kill();
      await expect(engine.read(ADDRESS)).rejects.toBeInstanceOf(StoreUnreachableError);
      await server.restart();
      await expect.poll(() => engine.version(ADDRESS).catch(() => 'away')).toBe('v1');
    });

    test('says that the password is missing or wrong, and never shows it', async () => {
      const server = await redisServer({ settings: { requirepass: 'the-right-one' } });
      for (const credentials of ['', ':a-wrong-one@', 'somebody:a-wrong-one@']) {
        const { store, engine } = await open({ url: `redis://${credentials}127.0.0.1:${server.port}` });
        const error = await put(engine, 'v1').catch((thrown: unknown) => thrown);
        expect(error).toBeInstanceOf(StoreDeniedError);
        const seen = inspect([error, store, await engine.examine()], { depth: 20, showHidden: true });
        expect(seen).not.toContain('a-wrong-one');
      }
      const { engine } = await open({ url: `redis://:the-right-one@127.0.0.1:${server.port}` });
      expect(await put(engine, 'v1')).toEqual({ outcome: 'written' });
    });

    test('says that the server has no memory left', async () => {
      const server = await redisServer();
      const { engine } = await open({ url: server.url });
      await put(engine, 'v1');
      await server.client().config('SET', 'maxmemory', '1');
      await expect(put(engine, 'v2', 'v1')).rejects.toBeInstanceOf(StorageFullError);
      expect(await engine.version(ADDRESS)).toBe('v1');
    });

    test('says that another program uses its key', async () => {
      const { engine } = await open();
      await shared.client().set(`holdfast:{${engine.tenant}/id}`, 'theirs');
      await expect(engine.read(ADDRESS)).rejects.toBeInstanceOf(StoreUnsuitableError);
    });

    test('says that the server has no TLS when TLS is asked for', async () => {
      const { engine } = await open({ url: shared.url.replace('redis:', 'rediss:'), timeoutMs: 2000 });
      await expect(engine.read(ADDRESS)).rejects.toMatchObject({
        code: 'store-unreachable',
        hint: expect.stringContaining('TLS'),
      });
    });
  });

  test('connects with TLS only if the certificate names the host', async () => {
    const { host, key, cert } = remoteHost('redis.example', { trusted: false });
    const directory = await temporaryDirectory();
    await writeFile(join(directory, 'key'), key, { mode: 0o600 });
    await writeFile(join(directory, 'cert'), cert);
    const server = await redisServer({
      settings: {
        port: '0',
        'tls-port': '{port}',
        'tls-cert-file': join(directory, 'cert'),
        'tls-key-file': join(directory, 'key'),
        'tls-auth-clients': 'no',
      },
    });
    const url = `rediss://127.0.0.1:${server.port}`;
    const { engine } = await open({ url, tls: { ca: cert, servername: host } });
    expect(await put(engine, 'v1')).toEqual({ outcome: 'written' });
    const { engine: other } = await open({ url, tls: { ca: cert, servername: 'another.example' } });
    await expect(put(other, 'v1')).rejects.toMatchObject({
      code: 'store-unreachable',
      message: expect.stringContaining('another.example'),
    });
  });

  test('needs no more than the documented rights', async () => {
    const server = await redisServer();
    const page = await readFile(new URL('../../../docs/redis.md', import.meta.url), 'utf8');
    const line = /^ACL SETUSER .*$/m.exec(page)?.[0] ?? '';
    await server.client().call('ACL', ...line.replace('<password>', 'secret').split(' ').slice(1));
    const { store, engine } = await open({ url: `redis://holdfast:secret@127.0.0.1:${server.port}` });
    await store.selfTest();
    await put(engine, 'v1');
    await claim(engine, { leaseMs: 1 });
    await eventually(() => claim(engine));
    await engine.quarantine(ADDRESS, 'r', 'late');
    expect(await engine.list()).toEqual([ADDRESS]);
    expect(await engine.status()).toMatchObject({ records: 1, claims: 1 });
    // Only CONFIG would tell that it uses `appendfsync always`, and CONFIG shows passwords too.
    expect((await levels(engine))['warning']).toEqual([
      expect.stringContaining('does not tell how soon a write is on its disk'),
    ]);
    await engine.move(ADDRESS, { kid: 'other', id: 'id' }, 'v1', { record: 'r', version: 'v2', ageMs: 0 });
    await server.client().call('ACL', 'SETUSER', 'holdfast', '-info');
    const url = `redis://holdfast:secret@127.0.0.1:${server.port}`;
    const { engine: blind } = await open({ url, tenant: engine.tenant });
    expect(await blind.remove({ kid: 'other', id: 'id' }, 'v2')).toEqual({ outcome: 'written' });
    expect((await levels(blind))['warning']).toEqual([
      expect.stringContaining('does not tell whether it brings'),
      expect.stringContaining('does not tell whether it throws'),
      expect.stringContaining('may not ask it for INFO'),
    ]);
    const elsewhere = await open({
      url: `redis://holdfast:secret@127.0.0.1:${server.port}`,
      prefix: 'theirs',
    });
    await expect(put(elsewhere.engine, 'v1')).rejects.toBeInstanceOf(StoreDeniedError);
  });
});

// Debian 12 has no package with it, so its absence does not count as a skipped test.
const whereValkeyIs = valkey === undefined ? () => {} : describe;
whereValkeyIs('Valkey, which can say when a write is on its disk', () => {
  test('waits for the disk when Valkey writes to it once a second', async () => {
    const server = await redisServer({ program: valkey, settings: { appendfsync: 'everysec' } });
    const store = openRedisStore({ url: server.url, tenant: 't' });
    onTestFinished(() => store.close());
    const engine = await store.engine();
    await Promise.all(Array.from({ length: 100 }, (_, at) => put(engine, 'v1', undefined, `id-${at}`)));
    await claim(engine, { id: 'id-0' });
    const [, waited] = /cmdstat_waitaof:calls=(\d+)/.exec(await server.client().info('commandstats')) ?? [];
    // Concurrent writes share one WAITAOF; the claim came after them.
    expect(Number(waited)).toBeGreaterThanOrEqual(2);
    expect(Number(waited)).toBeLessThan(50);
    await server.restart();
    await expect.poll(async () => (await engine.list().catch(() => [])).length).toBe(100);
    expect(await engine.leased('id-0')).toBe(true);
    expect((await levels(engine))['warning']).toContainEqual(
      expect.stringContaining('every claim and write waits'),
    );
  });

  test('refuses before it writes, if it may not ask whether a write is on disk', async () => {
    const server = await redisServer({ program: valkey, settings: { appendfsync: 'everysec' } });
    await server.client().call('ACL', 'SETUSER', 'holdfast', 'on', '>secret', '~*', '+@all', '-waitaof');
    const store = openRedisStore({ url: `redis://holdfast:secret@127.0.0.1:${server.port}` });
    onTestFinished(() => store.close());
    await expect(put(await store.engine(), 'v1')).rejects.toBeInstanceOf(StoreDeniedError);
    expect(await server.client().exists('holdfast:{default/id}')).toBe(0);
  });

  test('the contract of a store', async () => {
    const server = await redisServer({ program: valkey });
    for (const { run } of storeContract(async () => {
      const tenant = newTenant();
      const again = () => openRedisStore({ url: server.url, tenant });
      return { store: again(), reopen: async () => again(), dispose: async () => {} };
    })) {
      await run();
    }
  });
});

test.each([
  'http://127.0.0.1',
  'redis://',
  'redis://host/name',
  'redis://user:the-password@host/?tenant=a&cluster=maybe',
  'redis://user:the-password@host/?maxRetriesPerRequest=1',
  'redis://user:the-%password@host/',
  'redis://user:the-password@host/?tenant=a%2Fb',
  'redis://user:the-password@host:99999/',
  'redis://user:the-password@host/3?cluster=true',
])('refuses the URL %s, and shows no password in the reason', (url) => {
  const error = thrownBy(() => openRedisStore({ url }));
  expect(error).toBeInstanceOf(InvalidArgumentError);
  expect(inspect(error, { showHidden: true })).not.toContain('password@');
  expect(error).toMatchObject({ hint: expect.any(String) });
});

const EVICTING = { maxmemory: '100mb', 'maxmemory-policy': 'allkeys-lru' };

let claims = 0;

/** Claims with default values. The result can be read without a check of its outcome. */
async function claim(engine: Engine, request: Partial<ClaimRequest> = {}) {
  const answer = await engine.claim({
    id: 'id',
    name: `claim-${(claims += 1)}`,
    holder: 'a test',
    leaseMs: LEASE_MS,
    patienceMs: 0,
    ...request,
  });
  return answer as typeof answer & { epoch?: number; now?: number; note?: string; abandonedAt?: number };
}

function put(engine: Engine, version: string, expected?: string, id = 'id'): Promise<WriteAnswer> {
  return engine.write({ kid: 'kid', id }, expected, { record: `of ${version}`, version, ageMs: 0 });
}

/** Repeats the question until the outcome is no longer `held`. */
async function eventually<T extends { outcome: string }>(ask: () => Promise<T>): Promise<T> {
  for (;;) {
    const answer = await ask();
    if (answer.outcome !== 'held') return answer;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function levels(engine: Engine): Promise<Record<string, string[] | undefined>> {
  const findings = await engine.examine();
  return Object.fromEntries(
    ['ok', 'warning', 'error'].flatMap((level) => {
      const messages = findings.filter((one) => one.level === level).map(({ message }) => message);
      return messages.length === 0 ? [] : [[level, messages]];
    }),
  );
}

function thrownBy(step: () => unknown): unknown {
  try {
    return step();
  } catch (error) {
    return error instanceof HoldfastError ? error : undefined;
  }
}

function never(): never {
  throw new Error('there is one');
}

/** A proxy that can hold answers back, or lose one together with its connection. */
async function cuttable(target: number) {
  let held = false;
  let swallow = false;
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect({ port: target, host: '127.0.0.1' });
    for (const one of [near, far]) {
      sockets.add(one);
      one.on('error', () => {});
      one.on('close', () => {
        near.destroy();
        far.destroy();
      });
    }
    near.pipe(far);
    far.on('data', (bytes) => {
      if (swallow) {
        swallow = false;
        near.destroy();
      } else if (!held) near.write(bytes);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return {
    port: (server.address() as AddressInfo).port,
    hold: (whether: boolean) => void (held = whether),
    swallowNextAnswer: () => void (swallow = true),
  };
}
