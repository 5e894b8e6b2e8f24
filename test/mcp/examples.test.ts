import { readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { browse } from '../support/browser/scripted-browser.mjs';
import { type Home, temporaryHome } from '../support/homes/home.ts';
import { expire, loggedIn, vaultAt } from '../support/homes/vault.ts';
import { type Ended, type Running, start, TYPESCRIPT } from '../support/processes/process.ts';
import { countedSince } from '../support/servers/counted-since.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';

/* Runs each program of examples/ unchanged against a real server. Its imports of `holdfast` resolve to the sources. */

const EXAMPLES = fileURLToPath(new URL('../../examples/', import.meta.url));
const SECRET = 'the-secret-of-the-job';

let servers: Servers;
beforeAll(async () => {
  servers = await startServers({
    clients: [
      {
        client_id: 'ci-job',
        client_secret: SECRET,
        grant_types: ['client_credentials'],
        response_types: [],
        redirect_uris: [],
      },
    ],
  });
});
afterAll(() => servers.stop());

function run(name: string, home: Home, variables: Readonly<Record<string, string>> = {}): Running {
  return start(process.execPath, [...TYPESCRIPT, `${EXAMPLES}${name}`, servers.resource], {
    HOLDFAST_HOME: home.path,
    HOLDFAST_KEYRING: 'file',
    TSX_TSCONFIG_PATH: `${EXAMPLES}tsconfig.json`,
    ...variables,
  });
}

const done = (out: string): Ended => ({ code: 0, out, err: '' });

test('covers every program in examples/ with a test', async () => {
  const programs = (await readdir(EXAMPLES)).filter((name) => name.endsWith('.ts'));
  expect(programs.sort()).toEqual([
    'ai-sdk.ts',
    'confidential-client-in-ci.ts',
    'engine-of-your-own.ts',
    'plain-fetch.ts',
    'sdk-v1-client.ts',
    'sdk-v2-client.ts',
    'two-accounts.ts',
  ]);
});

test('compiles every program in examples/', async () => {
  const compiler = fileURLToPath(new URL('../../node_modules/typescript/bin/tsc', import.meta.url));
  expect(await start(process.execPath, [compiler, '-p', EXAMPLES]).ended).toEqual(done(''));
});

test('fulfils the duties of a store in engine-of-your-own.ts', async () => {
  const { code, out, err } = await run('engine-of-your-own.ts', await temporaryHome()).ended;
  expect({ code, err }).toEqual({ code: 0, err: '' });
  expect(out.split('\n').filter((line) => line.startsWith('kept: ')).length).toBeGreaterThan(15);
});

test.each(['sdk-v2-client.ts', 'sdk-v1-client.ts', 'ai-sdk.ts'])(
  '%s lists the tools of the server after it refreshes an expired token',
  async (name) => {
    const { home } = await loggedIn(await temporaryHome(), servers.resource);
    await expire(home, servers.resource);
    const before = await servers.counters();
    expect(await run(name, home).ended).toEqual(done('whoami: Says who calls.\n'));
    expect(await countedSince(servers, before)).toEqual({ tokenRequests: 1, refreshGrants: 1 });
  },
);

test.each(['sdk-v2-client.ts', 'sdk-v1-client.ts'])(
  '%s says how to log in when there is no login',
  async (name) => {
    const { code, err } = await run(name, await temporaryHome()).ended;
    expect(code).toBe(1);
    expect(err).toContain(`Log in: holdfast login ${servers.resource}\n`);
  },
);

test('plain-fetch.ts logs in when there is no login, and saves it', async () => {
  const home = await temporaryHome();
  const first = run('plain-fetch.ts', home);
  await first.says('/auth?');
  await browse(/https?:\S+/.exec(first.said().err)?.[0] ?? '');
  const { code, out } = await first.ended;
  expect(code).toBe(0);
  expect(out).toMatch(/^200 .*whoami/s);
  expect(await run('plain-fetch.ts', home).ended).toEqual(done(out));
});

test('two-accounts.ts calls for each account', async () => {
  const home = await temporaryHome();
  const { vault } = vaultAt(home);
  for (const [account, user] of [
    ['work', 'alice'],
    ['personal', 'bob'],
  ] as const) {
    const interaction = { authorize: async (url: string) => void (await browse(url, { user })) };
    await vault.login(servers.resource, { account, interaction });
  }
  const { code, out, err } = await run('two-accounts.ts', home).ended;
  expect([code, err]).toEqual([0, '']);
  expect(out).toMatch(/^work: .*You are alice\./m);
  expect(out).toMatch(/^personal: .*You are bob\./m);
});

test('confidential-client-in-ci.ts logs in as itself, and saves nothing', async () => {
  const home = await temporaryHome();
  const variables = { MCP_CLIENT_ID: 'ci-job', MCP_CLIENT_SECRET: SECRET };
  const { code, out, err } = await run('confidential-client-in-ci.ts', home, variables).ended;
  expect([code, out]).toEqual([0, 'whoami: Says who calls.\n']);
  expect(err).not.toContain(SECRET);
  await expect(readdir(home.path)).rejects.toThrow('ENOENT');
});
