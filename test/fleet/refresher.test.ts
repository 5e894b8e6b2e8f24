import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { CredentialId } from '../../src/credential.ts';
import type { RefreshedLogin } from '../../src/refresh/refresher-options.ts';
import { EngineStore } from '../../src/store/engine/engine-store.ts';
import type { Vault, VaultAdmin } from '../../src/vault/vault.ts';
import { memoryEngine, SharedMemory } from '../support/engines/memory-engine.ts';
import { type Home, temporaryHome } from '../support/homes/home.ts';
import { gate } from '../support/homes/store.ts';
import { loggedIn, partsAt, scripted, stored, vaultAt } from '../support/homes/vault.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { commandLine } from '../support/transcript.ts';

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

/** Logs in once for each of these account names. */
async function logIn(vault: Vault, accounts: readonly string[]): Promise<void> {
  for (const account of accounts) await vault.login(servers.resource, { account, interaction: scripted });
}

/** Leaves the stored token `leftMs` milliseconds of its hour. */
async function leave(home: Home, account: string, leftMs: number): Promise<void> {
  const { credentialStore } = partsAt(home);
  const { credential, ...held } = await stored(home, servers.resource, account);
  const obtainedAt = Date.now() + leftMs - 3_600_000;
  const tokens = {
    ...credential.tokens,
    obtainedAt,
    obtainedBoot: undefined,
    expiresAt: obtainedAt + 3_600_000,
  };
  await credentialStore.replace({ ...held, credential }, { ...credential, tokens });
}

async function warmOnce(vault: Vault, options: Parameters<VaultAdmin['runRefresher']>[0] = {}) {
  const heard: RefreshedLogin[] = [];
  const result = await vault.admin.runRefresher({
    once: true,
    onRefresh: (login) => void heard.push(login),
    ...options,
  });
  return { ...result, heard };
}

describe('the refresher', () => {
  test('refreshes tokens that are due, and leaves fresh ones alone', async () => {
    const home = await temporaryHome();
    const { vault } = vaultAt(home);
    await logIn(vault, ['fresh', 'early', 'lapsed']);
    await leave(home, 'early', 60_000);
    await leave(home, 'lapsed', -1000);
    const before = await servers.counters();
    const { states, refreshed, failures } = await warmOnce(vault);
    expect(states).toEqual({ fresh: 3, due: 0, 'login-required': 0, undecryptable: 0 });
    expect({ refreshed, failures }).toEqual({ refreshed: 2, failures: [] });
    expect((await servers.counters()).refreshGrants - before.refreshGrants).toBe(2);
    const generations = await Promise.all(
      ['fresh', 'early', 'lapsed'].map(
        async (account) => (await stored(home, servers.resource, account)).credential.generation,
      ),
    );
    expect(generations).toEqual([1, 2, 2]);
  });

  test('starts no more refreshes at one server than the rate allows, and those nearest their end first', async () => {
    const home = await temporaryHome();
    const { vault } = vaultAt(home);
    const accounts = ['a', 'b', 'c', 'd'];
    await logIn(vault, accounts);
    for (const [index, account] of accounts.entries()) {
      await leave(home, account, account === 'c' ? 10_000 : 60_000 + index);
    }
    const heard: RefreshedLogin[] = [];
    let looks = 0;
    const stop = new AbortController();
    await vault.admin.runRefresher({
      ratePerMinute: 1,
      everyMs: 100,
      signal: stop.signal,
      onRefresh: (login) => void heard.push(login),
      onLook: () => {
        looks += 1;
        if (heard.length > 0 && looks > 5) stop.abort();
      },
    });
    expect(heard.map(({ account }) => account)).toEqual(['c']);
  });

  test('skips a login that needs a person once its server has refused it twice', async () => {
    const own = await startServers();
    onTestFinished(() => own.stop());
    const home = await temporaryHome();
    const { vault } = vaultAt(home);
    await vault.login(own.resource, { interaction: scripted });
    const held = await stored(home, own.resource);
    const tokens = { ...held.credential.tokens, obtainedAt: 0, obtainedBoot: undefined, expiresAt: 1000 };
    await partsAt(home).credentialStore.replace(held, { ...held.credential, tokens });
    await own.revokeGrants();
    const first = await warmOnce(vault);
    expect(first.heard.map(({ outcome }) => outcome)).toEqual(['login-required']);
    const second = await warmOnce(vault);
    expect(second).toMatchObject({ heard: [], failures: [], states: { 'login-required': 1 } });
    expect((await own.counters()).tokenErrors).toBe(2);
  });

  test('tells a failing server from a refusal, and tries again automatically', async () => {
    const own = await startServers();
    onTestFinished(() => own.stop());
    const { vault, home } = await loggedIn(await temporaryHome(), own.resource);
    const held = await stored(home, own.resource);
    const tokens = {
      ...held.credential.tokens,
      obtainedAt: Date.now() - 59 * 60_000,
      obtainedBoot: undefined,
    };
    await partsAt(home).credentialStore.replace(held, {
      ...held.credential,
      tokens: { ...tokens, expiresAt: tokens.obtainedAt + 3_600_000 },
    });
    await own.behave({ token: '500', times: 1 });
    const stop = new AbortController();
    const heard: string[] = [];
    await vault.admin.runRefresher({
      signal: stop.signal,
      onRefresh: ({ outcome }) => {
        heard.push(outcome);
        if (outcome === 'refreshed') stop.abort();
      },
    });
    expect(heard).toEqual(['failed', 'refreshed']);
  });

  test('waits for an engine that is down, reports it once, and continues when it is back', async () => {
    const home = await temporaryHome();
    const engine = memoryEngine(new SharedMemory());
    const { vault, events } = vaultAt(home, { store: new EngineStore(engine) });
    await servers.behave({ accessTokenTtlSeconds: 1 });
    await vault.login(servers.resource, { interaction: scripted });
    await servers.behave({ accessTokenTtlSeconds: 3600 });
    engine.cut.add('list');
    const stop = new AbortController();
    const refreshed = gate();
    const warm = vault.admin.runRefresher({
      everyMs: 50,
      signal: stop.signal,
      onRefresh: () => refreshed.open(),
    });
    while (engine.calls.filter((call) => call === 'list').length < 4)
      await new Promise((go) => setTimeout(go, 10));
    engine.cut.clear();
    await refreshed.opened;
    stop.abort();
    await warm;
    expect(events.map(({ type }) => type)).toEqual(['store-away', 'store-back']);
  });

  test('ends when its vault is closed', async () => {
    const { vault } = await loggedIn(await temporaryHome(), servers.resource);
    const looked = gate();
    const warm = vault.admin.runRefresher({ onLook: () => looked.open() });
    await looked.opened;
    await vault.close();
    expect((await warm).states.fresh).toBe(1);
  });
});

describe('three `holdfast refresher` at one store', () => {
  test('three refreshers refresh every token once in its life, and end cleanly on SIGTERM', async () => {
    const own = await startServers({ accessTokenTtlSeconds: 4 });
    onTestFinished(() => own.stop());
    const home = await temporaryHome();
    const { vault } = vaultAt(home);
    const accounts = ['a', 'b', 'c', 'd'];
    for (const account of accounts) await vault.login(own.resource, { account, interaction: scripted });
    const at = commandLine(home.path);
    const running = Array.from({ length: 3 }, () =>
      at.start(['refresher', '--every', '1', '--keyring', 'file', '--log', 'json']),
    );
    const generations = async () => {
      const found = await Promise.all(
        accounts.map((account) => partsAt(home).credentialStore.find(CredentialId.of(own.resource, account))),
      );
      return found.map((one) => one?.held.credential.generation ?? 0);
    };
    while (Math.min(...(await generations())) < 4) await new Promise((go) => setTimeout(go, 200));
    for (const one of running) one.kill('SIGTERM');
    const ended = await Promise.all(running.map((one) => one.ended));
    expect(ended.map(({ code, out }) => ({ code, out }))).toEqual(ended.map(() => ({ code: 0, out: '' })));
    const refreshes = (await generations()).reduce((sum, generation) => sum + generation - 1, 0);
    expect(await own.counters()).toMatchObject({ refreshGrants: refreshes, tokenErrors: 0, revocations: 0 });
    const lines = ended.flatMap(({ err }) => err.trim().split('\n'));
    const said = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(said.every(({ time, level }) => !Number.isNaN(Date.parse(String(time))) && level === 'info')).toBe(
      true,
    );
    expect(said.filter(({ event }) => event === 'refreshed').length).toBeGreaterThan(0);
    for (const account of accounts) {
      const { accessToken, refreshToken } = (await stored(home, own.resource, account)).credential.tokens;
      for (const secret of [accessToken, refreshToken]) expect(lines.join()).not.toContain(secret?.reveal());
    }
  });
});
