import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Home, temporaryHome } from '../support/homes/home.ts';
import { change, loggedIn, vaultAt } from '../support/homes/vault.ts';
import { start, TYPESCRIPT } from '../support/processes/process.ts';
import { installed, requirement } from '../support/requirement.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';

const NO_FAKETIME = requirement(
  'faketime is not installed, or this is not Linux',
  process.platform === 'linux' && installed('faketime'),
);

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

/** Runs `token-process.ts` with a wall clock that is off by `offset`. @returns its output */
async function tokenAt(offset: string, home: string): Promise<string> {
  const script = fileURLToPath(new URL('../support/processes/token-process.ts', import.meta.url));
  const { code, out, err } = await start(
    'faketime',
    ['-f', offset, process.execPath, ...TYPESCRIPT, script, servers.resource],
    { HOLDFAST_HOME: home, FAKETIME_DONT_FAKE_MONOTONIC: '1' },
  ).ended;
  if (code !== 0) throw new Error(`it exited with ${code}: ${err}`);
  return out;
}

/** Ages the stored access token past its end by the boot clock, which nobody can set. */
async function expireByBoot(home: Home): Promise<void> {
  await change(home, servers.resource, ({ tokens }) => ({
    tokens: {
      ...tokens,
      obtainedBoot: tokens.obtainedBoot && { ...tokens.obtainedBoot, ms: 0 },
      expiresAt: tokens.obtainedAt + 1,
    },
  }));
}

describe.skipIf(NO_FAKETIME)('a process whose wall clock is wrong', () => {
  test.each(['+10m', '-10m', '-365d'])(
    'a process whose wall clock is off by %s gets the fresh token, and nobody refreshes it',
    async (offset) => {
      const { home } = await loggedIn(await temporaryHome(), servers.resource);
      const before = (await servers.counters()).tokenRequests;
      const told = await Promise.all([tokenAt(offset, home.path), tokenAt('+0', home.path)]);
      expect(told[0]).toBe(told[1]);
      expect(JSON.parse(told[0] ?? '')).toMatchObject({ generation: 1 });
      expect((await servers.counters()).tokenRequests).toBe(before);
    },
  );

  test('a process whose clock is off by +365d refreshes once, and the others use its tokens', async () => {
    const { home } = await loggedIn(await temporaryHome(), servers.resource);
    await expireByBoot(home);
    const before = (await servers.counters()).tokenRequests;
    expect(JSON.parse(await tokenAt('+365d', home.path))).toMatchObject({ generation: 2 });
    expect(await vaultAt(home).vault.token(servers.resource)).toMatchObject({ generation: 2 });
    expect(JSON.parse(await tokenAt('+0', home.path))).toMatchObject({ generation: 2 });
    expect((await servers.counters()).tokenRequests).toBe(before + 1);
  });

  test('a process whose clock is off by -365d refreshes once, and the correct clock costs one more refresh', async () => {
    const { home } = await loggedIn(await temporaryHome(), servers.resource);
    await expireByBoot(home);
    const before = (await servers.counters()).tokenRequests;
    expect(JSON.parse(await tokenAt('-365d', home.path))).toMatchObject({ generation: 2 });
    expect(await vaultAt(home).vault.token(servers.resource)).toMatchObject({ generation: 3 });
    expect(JSON.parse(await tokenAt('+0', home.path))).toMatchObject({ generation: 3 });
    expect((await servers.counters()).tokenRequests).toBe(before + 2);
  });

  test('a process whose clock is off by +365d refreshes once, as after a suspend, and never again', async () => {
    const { home } = await loggedIn(await temporaryHome(), servers.resource);
    const before = (await servers.counters()).tokenRequests;
    for (const offset of ['+365d', '+365d', '+0', '+365d']) {
      expect(JSON.parse(await tokenAt(offset, home.path))).toMatchObject({ generation: 2 });
    }
    expect((await servers.counters()).tokenRequests).toBe(before + 1);
  });

  test('only one of many processes with different clocks refreshes an expired token', async () => {
    const { home } = await loggedIn(await temporaryHome(), servers.resource);
    await expireByBoot(home);
    const before = (await servers.counters()).tokenRequests;
    const offsets = ['+0', '+10m', '-10m', '+5m', '+0'];
    const told = await Promise.all(offsets.map((offset) => tokenAt(offset, home.path)));
    expect(new Set(told).size).toBe(1);
    expect(JSON.parse(told[0] ?? '')).toMatchObject({ generation: 2 });
    expect((await servers.counters()).tokenRequests).toBe(before + 1);
    // They do not reject the token later either.
    expect(new Set(await Promise.all(offsets.map((offset) => tokenAt(offset, home.path))))).toEqual(
      new Set(told),
    );
    expect((await servers.counters()).tokenRequests).toBe(before + 1);
  });
});
