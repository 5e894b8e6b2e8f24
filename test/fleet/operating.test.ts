import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { EngineStore } from '../../src/store/engine/engine-store.ts';
import { openVault } from '../../src/vault/open.ts';
import { NO_POSTGRES, startPostgres } from '../support/engines/postgres.ts';
import { noRedis, startRedis } from '../support/engines/redis.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { seededHome } from '../support/homes/seeded-home.ts';
import { scripted } from '../support/homes/vault.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { commandLine } from '../support/transcript.ts';

describe('holdfast store, on the directory of one machine', () => {
  test('counts records, quarantined records, and tokens that wait to be stored', async () => {
    const { path } = await seededHome();
    const at = commandLine(path, [], { [`${path}/spill`]: 'SPILL' });
    await mkdir(join(path, 'spill'), { mode: 0o700 });
    await writeFile(join(path, 'spill', 'kid.id.jwe'), '', { mode: 0o600 });
    const { code, out } = await at.run(['store', 'status', '--json']);
    expect(code).toBe(0);
    const { spilled, ...rest } = JSON.parse(out);
    // Other directories of this machine may hold entries of other tests.
    expect(spilled).toBeGreaterThanOrEqual(1);
    expect(rest).toEqual({
      store: 'directory',
      counts: { records: 1, aside: { damaged: 0, late: 0 } },
      findings: [],
    });
  });

  test('opens the records only with --open, and counts them by state', async () => {
    const at = commandLine((await seededHome()).path);
    const locked = { HOLDFAST_PASSPHRASE: 'another' };
    expect((await at.run(['store', 'status'], locked)).code).toBe(0);
    const { out } = await at.run(['store', 'status', '--open', '--keyring', 'file']);
    expect(out.split('\n').map((line) => line.replace(/ {2,}/, ': '))).toEqual(
      expect.arrayContaining([
        'store: directory',
        'records: 1',
        'set aside: 0 damaged, 0 late',
        'by state: 1 fresh, 0 due, 0 login required, 0 not opened',
      ]),
    );
    const undecryptable = await at.run(['store', 'status', '--open', '--json'], locked);
    expect(JSON.parse(undecryptable.out).states).toMatchObject({ fresh: 0, undecryptable: 1 });
  });

  test.each([
    [['store', 'migrate'], 'has no tables to make'],
    [['store', 'migrate', '--print'], 'has no tables to make'],
    [['store', 'status', '--print'], '--print belongs to holdfast store migrate'],
    [['store', 'frob'], 'knows no "frob"'],
    [['store', 'status', '--store', 'docker-agent'], 'has no counts that can be had without its key'],
    [['refresher', '--rate', '0'], '--rate "0" is not a whole number'],
    [['refresher', '--log', 'xml'], '--log knows no "xml"'],
  ])('reports %j as a usage error, and says what to do', async (args, message) => {
    const { code, out, err } = await commandLine((await temporaryHome()).path).run(args);
    expect({ code, out }).toEqual({ code: 2, out: '' });
    expect(err).toContain(message);
    expect(err.trimEnd().split('\n').length).toBeGreaterThan(1);
  });
});

interface EngineServer {
  url: string;
  crash(): Promise<void>;
  restart(): Promise<void>;
  dispose(): Promise<void>;
}

const ENGINES = [
  {
    name: 'PostgreSQL',
    missing: NO_POSTGRES,
    start: async (): Promise<EngineServer> => {
      const server = await startPostgres();
      return {
        url: server.url(),
        crash: () => server.crash(),
        restart: () => server.start(),
        dispose: () => server.dispose(),
      };
    },
  },
  {
    name: 'Redis',
    missing: noRedis,
    start: async (): Promise<EngineServer> => {
      const server = await startRedis({ settings: { 'maxmemory-policy': 'noeviction' } });
      return {
        url: server.url,
        crash: () => server.kill(),
        restart: () => server.restart(),
        dispose: () => server.stop(),
      };
    },
  },
];

for (const { name, missing, start } of ENGINES) {
  describe.skipIf(missing)(`a fleet on ${name}`, () => {
    let engine: EngineServer;
    let servers: Servers;
    const key = randomBytes(32).toString('base64');
    beforeAll(async () => {
      [engine, servers] = await Promise.all([start(), startServers({ accessTokenTtlSeconds: 4 })]);
    });
    afterAll(() => Promise.all([engine?.dispose(), servers?.stop()]));

    /** A machine that has nothing but the two variables. */
    async function machine() {
      const { path, environment } = await temporaryHome();
      const variables = { HOLDFAST_HOME: path, HOLDFAST_STORE: engine.url, HOLDFAST_SEALING_KEY: key };
      const at = commandLine(path);
      const vault = () => {
        const opened = openVault({ environment: { ...environment, variables } });
        onTestFinished(() => opened.close());
        return opened;
      };
      return {
        vault,
        start: (...args: string[]) => at.start(args, variables),
        run: (...args: string[]) => at.run(args, variables),
      };
    }

    if (name === 'PostgreSQL') {
      test('is unusable before its tables are created, which may be done twice', async () => {
        const { run } = await machine();
        const before = await run('store', 'status', '--json');
        expect(before.code).toBe(6);
        expect(JSON.parse(before.out).findings).toContainEqual(
          expect.objectContaining({
            level: 'error',
            hint: expect.stringContaining('holdfast store migrate'),
          }),
        );
        const printed = await run('store', 'migrate', '--print');
        expect(printed).toMatchObject({ code: 0, out: expect.stringMatching(/^-- Holdfast[^]*COMMIT;/) });
        expect((await run('store', 'status')).code).toBe(6);
        for (let time = 0; time < 2; time += 1) {
          const { code, out, err } = await run('store', 'migrate');
          expect({ code, out }).toEqual({ code: 0, out: '' });
          expect(err).toContain('those that this Holdfast needs');
        }
      });
    } else {
      test('has no tables to create', async () => {
        const { run } = await machine();
        expect(await run('store', 'migrate')).toMatchObject({ code: 2, out: '' });
      });
    }

    test('shows its counts, clock, durability, and the claim that went silent', async () => {
      const { run, vault } = await machine();
      const opened = vault();
      await opened.login(servers.resource, { account: 'status', interaction: scripted });
      const { store } = opened.admin;
      if (!(store instanceof EngineStore)) throw new Error('The store is no engine.');
      const { code, out } = await run('store', 'status', '--json');
      expect(code).toBe(0);
      const status = JSON.parse(out);
      expect(status.counts).toMatchObject({ claims: 0, aside: { damaged: 0, late: 0 } });
      expect(status.counts.records).toBeGreaterThanOrEqual(1);
      expect(status.counts.writtenLastHour).toBeGreaterThanOrEqual(1);
      expect(Math.abs(status.clock.aheadMs)).toBeLessThan(5000);
      expect(status.findings.length).toBeGreaterThan(0);

      const claim = await (await store.engine()).claim({
        id: 'somebody-gone',
        name: 'a-claim',
        holder: 'a test',
        leaseMs: 1,
        patienceMs: 0,
      });
      expect(claim.outcome).toBe('claimed');
      const silent = await run('store', 'status', '--open');
      expect(silent.code).toBe(0);
      expect(silent.out).toMatch(/^open claims +1; the longest silent one lapsed \d+ seconds? ago$/m);
      expect(silent.out).toMatch(/^by state +1 fresh|^by state +0 fresh, 1 due/m);
      expect(silent.out + silent.err).not.toContain(key);
    });

    test('three refreshers refresh every token once in its life, and survive a crash of the engine', async () => {
      const { vault, start: startOne } = await machine();
      const opened = vault();
      const accounts = ['a', 'b', 'c'];
      await opened.logout(servers.resource, { account: 'status' });
      const before = await servers.counters();
      for (const account of accounts)
        await opened.login(servers.resource, { account, interaction: scripted });
      const running = Array.from({ length: 3 }, () => startOne('refresher', '--every', '1', '--log', 'json'));
      onTestFinished(() => running.forEach((one) => one.kill('SIGKILL')));
      const generations = async () => {
        const { credentials } = await opened.list();
        return credentials.map(({ generation }) => generation);
      };
      const until = async (least: number) => {
        while (Math.min(...(await generations())) < least) await new Promise((go) => setTimeout(go, 200));
      };
      await until(3);
      await engine.crash();
      await Promise.all(running.map((one) => one.says('"event":"store-away"')));
      await engine.restart();
      await Promise.all(running.map((one) => one.says('"event":"store-back"')));
      const reached = Math.max(...(await generations()));
      await until(reached + 1);
      for (const one of running) one.kill('SIGTERM');
      const ended = await Promise.all(running.map((one) => one.ended));
      expect(ended.map(({ code, out }) => ({ code, out }))).toEqual(ended.map(() => ({ code: 0, out: '' })));
      const last = await generations();
      expect(last).toHaveLength(accounts.length);
      const refreshes = last.reduce((sum, generation) => sum + generation - 1, 0);
      const after = await servers.counters();
      expect(after.refreshGrants - before.refreshGrants).toBe(refreshes);
      expect(after.tokenErrors).toBe(0);
      // A claim that was open when the engine stopped is followed one lease after the engine's start.
    }, 300_000);

    test('reports an engine that is down with exit code 5, and does not show the URL’s password', async () => {
      const { path } = await temporaryHome();
      const url = new URL(engine.url);
      url.port = '9';
      url.password = 'the-password';
      for (const args of [
        ['store', 'status'],
        ['refresher', '--once'],
      ]) {
        const { code, out, err } = await commandLine(path).run(args, { HOLDFAST_STORE: url.href });
        expect({ args: args[0], code, out }).toEqual({ args: args[0], code: 5, out: '' });
        expect(err).not.toContain('the-password');
      }
    });

    test('refuses a password in --store, which every user would see, before it asks anything', async () => {
      const url = new URL(engine.url);
      url.password = 'the-password';
      const at = commandLine((await temporaryHome()).path);
      const { code, err } = await at.run(['store', 'status', '--store', url.href]);
      expect(code).toBe(2);
      expect(err).toContain('HOLDFAST_STORE');
      expect(err).not.toContain('the-password');
    });
  });
}
