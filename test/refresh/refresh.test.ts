import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { AbortedError, LockTimeoutError, LoginRequiredError } from '../../src/errors.ts';
import { DirectoryStore } from '../../src/store/directory.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { storeAround } from '../support/homes/store.ts';
import {
  accepted,
  expire,
  fingerprint,
  leave,
  loggedIn,
  partsAt,
  refreshOf,
  scripted,
  stored,
  vaultAt,
} from '../support/homes/vault.ts';
import { runScript, start, TYPESCRIPT } from '../support/processes/process.ts';
import { countedSince } from '../support/servers/counted-since.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { gatedTokenEndpoint, useTokenEndpoint } from '../support/servers/token-endpoint.ts';

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());
afterEach(async () => {
  vi.restoreAllMocks();
  await servers.behave({ accessTokenTtlSeconds: 3600 });
});

const ONE_REFRESH = { tokenRequests: 1, refreshGrants: 1 };

describe('an expired token', () => {
  test('refreshes an expired token once, and stores the next generation', async () => {
    const { home, vault, first } = await loggedIn(await temporaryHome(), servers.resource);
    await expire(home, servers.resource);
    const before = await servers.counters();
    const { token, generation, expiresAt } = await vaultAt(home).vault.token(servers.resource);
    expect(generation).toBe(2);
    expect(token.equals(first.tokens.accessToken)).toBe(false);
    expect(expiresAt).toBeGreaterThan(Date.now());
    expect(await accepted(servers.resource, token)).toBe(true);
    const { credential } = await stored(home, servers.resource);
    expect(credential.generation).toBe(2);
    expect(credential.tokens.accessToken.equals(token)).toBe(true);
    expect(credential.tokens.refreshToken?.equals(first.tokens.refreshToken)).toBe(false);
    expect(credential.loggedInAt).toBe(first.loggedInAt);
    expect(credential.client).toEqual(first.client);
    expect((await vaultAt(home).vault.token(servers.resource)).token.equals(token)).toBe(true);
    await vault.close();
    expect(await countedSince(servers, before)).toEqual(ONE_REFRESH);
  });

  test('refreshes a token once its two seconds of life are over, and the server accepts the new one', async () => {
    await servers.behave({ accessTokenTtlSeconds: 2 });
    const { vault } = await loggedIn(await temporaryHome(), servers.resource);
    const { token, expiresAt = 0 } = await vault.token(servers.resource);
    await servers.behave({ accessTokenTtlSeconds: 3600 });
    // The server counts whole seconds, so its end of the token is not quite ours.
    const isOver = async () => Date.now() > expiresAt && !(await accepted(servers.resource, token));
    await expect.poll(isOver, { timeout: 30_000 }).toBe(true);
    const next = await vault.token(servers.resource);
    expect(next.generation).toBeGreaterThan(1);
    expect(await accepted(servers.resource, next.token)).toBe(true);
  });

  test('keeps the refresh token and the scope if the answer omits them', async () => {
    const { home, vault, first } = await loggedIn(await temporaryHome(), servers.resource);
    await expire(home, servers.resource);
    await servers.behave({ token: 'omit-refresh-token' });
    expect(await vault.token(servers.resource)).toMatchObject({ generation: 2 });
    const { credential } = await stored(home, servers.resource);
    expect(credential.tokens.refreshToken?.equals(first.tokens.refreshToken)).toBe(true);
    expect(credential.grantedScope).toBe(first.grantedScope);
    expect(credential.grantedScope).toContain('tools:call');
  });

  test('takes a token without an expiry as good', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    await expire(home, servers.resource);
    await servers.behave({ token: 'omit-expiry' });
    const before = await servers.counters();
    expect(await vault.token(servers.resource)).toMatchObject({ generation: 2, expiresAt: undefined });
    expect(await vaultAt(home).vault.token(servers.resource)).toMatchObject({ generation: 2 });
    expect(await countedSince(servers, before)).toEqual(ONE_REFRESH);
  });
});

describe('many callers', () => {
  test('twenty callers at once in one process make one token request and get one token', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    await expire(home, servers.resource);
    const before = await servers.counters();
    const tokens = await Promise.all(Array.from({ length: 20 }, () => vault.token(servers.resource)));
    expect(new Set(tokens.map(({ token }) => fingerprint(token))).size).toBe(1);
    expect(tokens.every(({ generation }) => generation === 2)).toBe(true);
    expect(await countedSince(servers, before)).toEqual(ONE_REFRESH);
  });

  test('two vaults in one process make one token request', async () => {
    const { home } = await loggedIn(await temporaryHome(), servers.resource);
    await expire(home, servers.resource);
    const before = await servers.counters();
    const vaults = Array.from({ length: 5 }, () => vaultAt(home).vault);
    const tokens = await Promise.all(vaults.map((vault) => vault.token(servers.resource)));
    expect(new Set(tokens.map(({ token }) => fingerprint(token))).size).toBe(1);
    expect(await countedSince(servers, before)).toEqual(ONE_REFRESH);
  });

  test('ten processes at once make one token request and get one token, and nothing is revoked', async () => {
    const { home } = await loggedIn(await temporaryHome(), servers.resource);
    await expire(home, servers.resource);
    await servers.behave({ delayMs: 300 });
    const before = await servers.counters();
    const go = join(home.path, '..', 'go');
    const script = fileURLToPath(new URL('../support/processes/token-process.ts', import.meta.url));
    const processes = Array.from({ length: 10 }, () =>
      start(process.execPath, [...TYPESCRIPT, script, servers.resource, go], { HOLDFAST_HOME: home.path }),
    );
    await Promise.all(processes.map((process) => process.says('ready')));
    await writeFile(go, '');
    const answers = await Promise.all(processes.map(({ ended }) => ended));
    const { tokens } = (await stored(home, servers.resource)).credential;
    const expected = { generation: 2, fingerprint: fingerprint(tokens.accessToken) };
    expect(answers.map(({ out }) => JSON.parse(out))).toEqual(Array.from({ length: 10 }, () => expected));
    expect(await countedSince(servers, before)).toEqual(ONE_REFRESH);
  });

  test('a caller that gives up does not end the refresh that others wait for', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    const endpoint = gatedTokenEndpoint(servers.issuer);
    const { log } = await useTokenEndpoint(home, servers.resource, endpoint.handler);
    await expire(home, servers.resource);
    const giveUp = new AbortController();
    const impatient = vault.token(servers.resource, { signal: giveUp.signal });
    const other = vault.token(servers.resource);
    await endpoint.reached;
    giveUp.abort();
    await expect(impatient).rejects.toBeInstanceOf(AbortedError);
    endpoint.open();
    expect(await other).toMatchObject({ generation: 2 });
    expect(log).toHaveLength(1);
  });

  test('a caller that had given up before it asked starts nothing', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    await expire(home, servers.resource);
    const before = await servers.counters();
    await expect(vault.token(servers.resource, { signal: AbortSignal.abort() })).rejects.toBeInstanceOf(
      AbortedError,
    );
    expect(await countedSince(servers, before)).toEqual({});
  });

  test('a caller with a short timeout does not limit the others', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    const held = await expire(home, servers.resource);
    const lease = await partsAt(home).store.lock(held.address.id, { waitMs: 0 });
    const impatient = vault.token(servers.resource, { timeoutMs: 50 });
    const patient = vault.token(servers.resource);
    await expect(impatient).rejects.toMatchObject({ retryable: true });
    await lease.release();
    expect(await patient).toMatchObject({ generation: 2 });
  });
});

describe('several processes', () => {
  test('notices a refresh by another process within a second, without a look at each call', async () => {
    const home = await temporaryHome();
    const inner = new DirectoryStore(home.layout, home.environment);
    let looks = 0;
    const store = storeAround(inner, {
      version: (address) => {
        looks += 1;
        return inner.version(address);
      },
    });
    const { vault } = await loggedIn(home, servers.resource, { store });
    const { token } = await vault.token(servers.resource);
    await expire(home, servers.resource);
    await runScript('token-process.ts', [servers.resource], { HOLDFAST_HOME: home.path });
    const later = performance.now() + 1000;
    vi.spyOn(performance, 'now').mockImplementation(() => later);
    const next = await vault.token(servers.resource);
    expect(next.generation).toBe(2);
    expect(next.token.equals(token)).toBe(false);
    const looked = looks;
    for (let call = 0; call < 100; call += 1) await vault.token(servers.resource);
    expect(looks).toBe(looked);
  });

  test('notices a logout by another process within a second', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    await vault.token(servers.resource);
    await vaultAt(home).vault.logout(servers.resource);
    const later = performance.now() + 1000;
    vi.spyOn(performance, 'now').mockImplementation(() => later);
    await expect(vault.token(servers.resource)).rejects.toBeInstanceOf(LoginRequiredError);
  });

  test('the second process to get the lease uses the tokens of the first', async () => {
    const { home } = await loggedIn(await temporaryHome(), servers.resource);
    const stale = await expire(home, servers.resource);
    const { out } = await runScript('token-process.ts', [servers.resource], { HOLDFAST_HOME: home.path });
    const before = await servers.counters();
    const held = await refreshOf(partsAt(home).credentialStore, home).refresh(stale, {
      leaseMs: 1000,
      waitMs: 10_000,
    });
    expect(await countedSince(servers, before)).toEqual({});
    expect({
      generation: held.credential.generation,
      fingerprint: fingerprint(held.credential.tokens.accessToken),
    }).toEqual(JSON.parse(out));
  });

  test('the loser of a race that gets invalid_grant keeps the winner’s tokens', async () => {
    const { home } = await loggedIn(await temporaryHome(), servers.resource);
    const endpoint = gatedTokenEndpoint(servers.issuer);
    endpoint.open();
    let winner = '';
    let refusals = 0;
    await useTokenEndpoint(home, servers.resource, async (request, response) => {
      if (winner === '') {
        winner = 'asks';
        winner = (await runScript('token-process.ts', [servers.resource], { HOLDFAST_HOME: home.path })).out;
        response.on('finish', () => {
          if (response.statusCode === 400) refusals += 1;
        });
      }
      await endpoint.handler(request, response);
    });
    const stale = await expire(home, servers.resource);
    // A store that lost its lease unnoticed, so that both sides believe they may refresh.
    const store = storeAround(new DirectoryStore(home.layout, home.environment), {
      lock: async () => ({ note: async () => undefined, setNote: async () => {}, release: async () => {} }),
    });
    const loser = refreshOf(partsAt(home, store).credentialStore, home);
    const { credential } = await loser.refresh(stale, { leaseMs: 1000, waitMs: 30_000 });
    expect(refusals).toBe(1);
    expect({
      generation: credential.generation,
      fingerprint: fingerprint(credential.tokens.accessToken),
    }).toEqual(JSON.parse(winner));
    const after = (await stored(home, servers.resource)).credential;
    expect(after.loginRequired).toBeUndefined();
    expect(after.tokens.accessToken.equals(credential.tokens.accessToken)).toBe(true);
  });

  test('waits for a process with the lease no longer than the caller’s timeout', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    const held = await expire(home, servers.resource);
    const lease = await partsAt(home).store.lock(held.address.id, { waitMs: 0 });
    await expect(vault.token(servers.resource, { timeoutMs: 100 })).rejects.toMatchObject({
      retryable: true,
    });
    await lease.release();
    expect(await vault.token(servers.resource)).toMatchObject({ generation: 2 });
  });

  test('the next process refreshes after one was killed in the middle of its refresh', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    const endpoint = gatedTokenEndpoint(servers.issuer);
    let first = true;
    const { log } = await useTokenEndpoint(home, servers.resource, (request, response) => {
      if (!first) return endpoint.handler(request, response);
      first = false;
      // The process that is killed gets no answer.
    });
    await expire(home, servers.resource);
    const script = fileURLToPath(new URL('../support/processes/token-process.ts', import.meta.url));
    const killed = start(process.execPath, [...TYPESCRIPT, script, servers.resource], {
      HOLDFAST_HOME: home.path,
    });
    await expect.poll(() => log.length, { timeout: 30_000 }).toBe(1);
    const next = vault.token(servers.resource);
    killed.kill('SIGKILL');
    await killed.ended;
    endpoint.open();
    expect(await next).toMatchObject({ generation: 2 });
    expect(log).toHaveLength(2);
    expect(log[0]?.body === log[1]?.body).toBe(true);
  });
});

describe('an old token that still has life left', () => {
  test('refreshes a token before its end, without waiting for it', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    await leave(home, servers.resource, 60_000);
    expect(await vault.token(servers.resource)).toMatchObject({ generation: 2 });
  });

  test('serves the old token to callers who would wait too long, with one token request', async () => {
    const { home, vault, first } = await loggedIn(await temporaryHome(), servers.resource);
    const endpoint = gatedTokenEndpoint(servers.issuer);
    const { log } = await useTokenEndpoint(home, servers.resource, endpoint.handler);
    await leave(home, servers.resource, 60_000);
    for (let call = 0; call < 3; call += 1) {
      const { token, generation } = await vault.token(servers.resource);
      expect(generation).toBe(1);
      expect(token.equals(first.tokens.accessToken)).toBe(true);
    }
    endpoint.open();
    await expect
      .poll(async () => (await vault.token(servers.resource)).generation, { timeout: 30_000 })
      .toBe(2);
    expect(log).toHaveLength(1);
  });

  test('does not wait for another process that holds the lease', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    const held = await leave(home, servers.resource, 60_000);
    const lease = await partsAt(home).store.lock(held.address.id, { waitMs: 0 });
    const before = await servers.counters();
    expect(await vault.token(servers.resource)).toMatchObject({ generation: 1 });
    expect(await countedSince(servers, before)).toEqual({});
    await lease.release();
  });

  test('an expired token ends with a lock timeout while another process holds the lease', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    const held = await expire(home, servers.resource);
    const lease = await partsAt(home).store.lock(held.address.id, { waitMs: 0 });
    const waiting = refreshOf(partsAt(home).credentialStore, home);
    await expect(waiting.refresh(held, { leaseMs: 50, waitMs: 10_000 })).rejects.toBeInstanceOf(
      LockTimeoutError,
    );
    await lease.release();
    await vault.login(servers.resource, { interaction: scripted });
    expect(await vault.token(servers.resource)).toMatchObject({ generation: 2 });
  });
});
