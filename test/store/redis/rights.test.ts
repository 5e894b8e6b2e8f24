import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { factsOf, findingsOf, needsBarrier, type ServerFacts } from '../../../src/store/redis/suitability.ts';
import { openVault } from '../../../src/vault/open.ts';
import { noRedis, redisServer, valkey } from '../../support/engines/redis.ts';
import { temporaryHome } from '../../support/homes/home.ts';
import { scripted } from '../../support/homes/vault.ts';
import { type Servers, startServers } from '../../support/servers/servers.ts';
import { commandLine } from '../../support/transcript.ts';

/** The commands that docs/redis.md gives to the operator, each as its words. */
async function documentedRights(): Promise<string[][]> {
  const page = await readFile(new URL('../../../docs/redis.md', import.meta.url), 'utf8');
  return [...page.matchAll(/^ACL (.*)$/gm)].map(([, words = '']) =>
    words.replace('<password>', 'secret').split(' '),
  );
}

describe.skipIf(noRedis)('the rights that docs/redis.md gives to a user of Redis', () => {
  let servers: Servers;
  beforeAll(async () => {
    servers = await startServers({ accessTokenTtlSeconds: 2 });
  });
  afterAll(() => servers?.stop());

  /** A server with passwords to protect, and a user with the documented rights. */
  async function guarded() {
    const settings = { masterauth: 'REPLICA-PASSWORD', 'maxmemory-policy': 'noeviction' };
    // HOLDFAST_TEST_VALKEY may name a newer server, which has WAITAOF.
    const server = await redisServer({ program: valkey, settings });
    const admin = server.client();
    await admin.config('SET', 'requirepass', 'ADMIN-PASSWORD');
    const facts = await factsOf(admin);
    const waits = needsBarrier(
      { ...facts, fsync: undefined },
      { durability: undefined, allowEviction: false },
    );
    for (const words of await documentedRights()) {
      // Redis before 7.2 has no such command.
      if (words.includes('+waitaof') && !waits) continue;
      await admin.call('ACL', ...words);
    }
    return { server, admin, waits, url: server.url.replace('//', '//holdfast:secret@') };
  }

  test('the documented rights are enough to log in, refresh, count and be examined', async () => {
    const { url, waits } = await guarded();
    const { path, environment } = await temporaryHome();
    const variables = {
      HOLDFAST_HOME: path,
      HOLDFAST_STORE: url,
      HOLDFAST_SEALING_KEY: randomBytes(32).toString('base64'),
    };
    const vault = openVault({ environment: { ...environment, variables } });
    onTestFinished(() => vault.close());
    await vault.login(servers.resource, { interaction: scripted });
    const at = commandLine(path);
    const until = async () => {
      const [credential] = (await vault.list()).credentials;
      return credential?.generation ?? 0;
    };
    await expect
      .poll(
        async () => {
          await at.run(['refresher', '--once'], variables);
          return until();
        },
        { timeout: 30_000 },
      )
      .toBeGreaterThanOrEqual(2);
    const token = await at.run(['token', servers.resource], variables);
    expect({ code: token.code, err: token.err }).toEqual({ code: 0, err: '' });
    const status = await at.run(['store', 'status', '--open', '--json'], variables);
    expect(status.code).toBe(0);
    const { counts, findings } = JSON.parse(status.out) as {
      counts: unknown;
      findings: { level: string; message: string }[];
    };
    expect(counts).toMatchObject({ records: 1, claims: 0 });
    const said = findings.filter(({ level }) => level !== 'ok').map(({ message }) => message);
    expect(said).toEqual(waits ? [] : ['It keeps a log, but does not tell how soon a write is on its disk.']);
    const doctor = await at.run(['doctor'], variables);
    expect(doctor.out).not.toMatch(/^fail /m);
    expect((await at.run(['logout', servers.resource], variables)).code).toBe(0);
  });

  test('the documented rights show no password of the server, and reach no key of another program', async () => {
    const { server, admin } = await guarded();
    await admin.set('other:key', 'theirs');
    const user = new Redis({
      port: server.port,
      host: '127.0.0.1',
      username: 'holdfast',
      password: 'secret',
    });
    onTestFinished(() => user.disconnect());
    const refused = [
      'CONFIG GET requirepass',
      'CONFIG GET masterauth',
      'CONFIG GET *append*',
      'CONFIG SET dir /tmp',
      'CONFIG REWRITE',
      'ACL LIST',
      'ACL GETUSER holdfast',
      'GET other:key',
      'SET other:key mine',
      'HGET other:key field',
      'EVAL return(redis.call("GET",KEYS[1])) 1 other:key',
      'EVAL return(redis.call("GET","other:key")) 0',
      'EVAL return(redis.call("CONFIG","GET","requirepass")) 0',
      'EVAL return(redis.call("FLUSHALL")) 0',
      'SCRIPT FLUSH',
      'SCRIPT KILL',
      'CLIENT LIST',
      'CLIENT KILL TYPE normal',
      'CLUSTER RESET',
      'KEYS *',
      'FLUSHALL',
      'SAVE',
      'SHUTDOWN',
      'REPLICAOF 127.0.0.1 1',
      'MODULE LIST',
      'MONITOR',
    ];
    for (const line of refused) {
      const [command = '', ...args] = line.split(' ');
      const answer = await user.call(command, ...args).then(
        (value) => `answered: ${String(value)}`,
        (error: Error) => error.message,
      );
      expect(`${line}: ${answer}`).toMatch(
        /NOPERM|ACL failure|permission|can't run this command|not allowed from script/i,
      );
    }
    expect(await admin.get('other:key')).toBe('theirs');
  });
});

describe('a server that cannot confirm that a write is on disk', () => {
  const facts: ServerFacts = {
    version: [7, 2],
    run: undefined,
    role: 'master',
    replicas: 0,
    cluster: false,
    appendOnly: true,
    fsync: undefined,
    pausesFsync: false,
    failing: false,
    maxMemory: 0,
    policy: 'noeviction',
  };
  const strict = { durability: undefined, allowEviction: false };
  const levels = (one: ServerFacts) =>
    findingsOf(one, strict)
      .filter(({ message }) => /disk/.test(message))
      .map(({ level }) => level);

  test.each<[string, Partial<ServerFacts>, boolean, string]>([
    ['7.2', {}, true, 'ok'],
    ['8.0', { version: [8, 0] }, true, 'ok'],
    ['7.0', { version: [7, 0] }, false, 'warning'],
    ['6.2', { version: [6, 2] }, false, 'warning'],
    ['no version', { version: undefined }, false, 'warning'],
    ['7.2, in a cluster', { cluster: true }, false, 'warning'],
    ['7.2, which says everysec', { fsync: 'everysec' }, true, 'warning'],
    ['7.2, which says always', { fsync: 'always' }, false, 'ok'],
  ])('waits for the disk or warns: %s', (_which, more, waits, level) => {
    expect(needsBarrier({ ...facts, ...more }, strict)).toBe(waits);
    expect(levels({ ...facts, ...more })).toEqual([level]);
  });

  test('does not wait for the disk when the operator accepts that logins are lost', () => {
    expect(needsBarrier(facts, { durability: 'none', allowEviction: false })).toBe(false);
  });
});
