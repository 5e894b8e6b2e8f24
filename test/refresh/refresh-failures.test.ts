import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import {
  InvalidResponseError,
  LockUnsupportedError,
  LoginRequiredError,
  NetworkError,
  OAuthError,
  RefreshLimitedError,
  StorageUnwritableError,
} from '../../src/errors.ts';
import { DirectoryStore } from '../../src/store/directory.ts';
import { type Home, temporaryHome } from '../support/homes/home.ts';
import { storeAround } from '../support/homes/store.ts';
import { change, expire, leave, loggedIn, scripted, stored, vaultAt } from '../support/homes/vault.ts';
import { answer, type Handler, hang, json } from '../support/servers/hostile-server.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { gatedTokenEndpoint, useTokenEndpoint } from '../support/servers/token-endpoint.ts';

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());
afterEach(async () => {
  vi.restoreAllMocks();
  await servers.behave({});
});

/** The stored text of the record. The same text means the same credential. */
async function recordText(home: Home): Promise<string> {
  const { address } = await stored(home, servers.resource);
  const found = await new DirectoryStore(home.layout, home.environment).read(address);
  return found?.record ?? '';
}

async function tokenRequests(): Promise<number> {
  return (await servers.counters()).tokenRequests;
}

describe('a server that ends the login', () => {
  test('a refusal marks the credential, keeps its registration, and nobody asks the server again', async () => {
    const { home, vault, first } = await loggedIn(await temporaryHome(), servers.resource);
    await expire(home, servers.resource);
    await servers.revokeGrants();
    const before = await tokenRequests();
    await expect(vault.token(servers.resource)).rejects.toMatchObject({
      code: 'login-required',
      message: expect.stringContaining('invalid_grant'),
      hint: `Log in again: holdfast login ${servers.resource}`,
    });
    expect(await tokenRequests()).toBe(before + 2);
    const { credential } = await stored(home, servers.resource);
    expect(credential.loginRequired).toMatchObject({ reason: expect.stringContaining('invalid_grant') });
    expect(credential.client).toEqual(first.client);
    expect(credential.generation).toBe(1);
    for (const other of [vault, vaultAt(home).vault]) {
      await expect(other.token(servers.resource)).rejects.toBeInstanceOf(LoginRequiredError);
    }
    expect(await tokenRequests()).toBe(before + 2);
    expect((await vault.list()).credentials).toMatchObject([{ state: 'login-required' }]);
  });

  test('a new login clears the mark, and keeps the registration', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    await expire(home, servers.resource);
    await servers.revokeGrants();
    await expect(vault.token(servers.resource)).rejects.toBeInstanceOf(LoginRequiredError);
    const { registrations } = await servers.counters();
    await vaultAt(home).vault.login(servers.resource, { interaction: scripted });
    expect((await servers.counters()).registrations).toBe(registrations);
    expect(await vault.token(servers.resource)).toMatchObject({ generation: 2 });
    expect((await stored(home, servers.resource)).credential.loginRequired).toBeUndefined();
  });

  test('reports that a person is needed even if the mark cannot be written', async () => {
    const home = await temporaryHome();
    await loggedIn(home, servers.resource);
    await expire(home, servers.resource);
    await servers.revokeGrants();
    const before = await recordText(home);
    const store = storeAround(new DirectoryStore(home.layout, home.environment), {
      cas: () => Promise.reject(new StorageUnwritableError('The disk is read-only.')),
    });
    await expect(vaultAt(home, { store }).vault.token(servers.resource)).rejects.toBeInstanceOf(
      LoginRequiredError,
    );
    expect((await recordText(home)) === before).toBe(true);
  });

  test('a credential without a refresh token needs a person once its token has expired, and not before', async () => {
    const { home } = await loggedIn(await temporaryHome(), servers.resource);
    await change(home, servers.resource, ({ tokens }) => ({
      tokens: { ...tokens, refreshToken: undefined },
    }));
    await leave(home, servers.resource, 5_000);
    const { vault } = vaultAt(home);
    const before = await tokenRequests();
    const { expiresAt = 0 } = await vault.token(servers.resource);
    const now = Date.now();
    vi.spyOn(Date, 'now').mockImplementation(() => Math.max(now, expiresAt));
    await expect(vault.token(servers.resource)).rejects.toMatchObject({
      code: 'login-required',
      message: expect.stringContaining('gave no refresh token'),
    });
    expect(await tokenRequests()).toBe(before);
  });
});

describe('a failure that may pass', () => {
  const down: readonly (readonly [string, Handler, boolean])[] = [
    ['HTTP 500', answer(500, 'in trouble'), true],
    ['HTTP 503 that asks for more patience than we have', answer(503, '', { 'retry-after': '60' }), false],
    ['HTTP 429 that asks for a moment', answer(429, '', { 'retry-after': '0' }), true],
    ['a connection that breaks off', (_request, response) => void response.destroy(), true],
  ];

  test.each(down)('%s: reports an error that says to try again', async (_what, handler, again) => {
    const { home, vault, events } = await loggedIn(await temporaryHome(), servers.resource);
    const { log } = await useTokenEndpoint(home, servers.resource, handler);
    await expire(home, servers.resource);
    const before = await recordText(home);
    await expect(vault.token(servers.resource, { timeoutMs: 4_000 })).rejects.toMatchObject({
      retryable: true,
    });
    expect((await recordText(home)) === before).toBe(true);
    expect(log.length > 1).toBe(again);
    expect(events.map(({ type }) => type)).toEqual(log.slice(1).map(() => 'refresh-retry'));
  });

  test('the next process also leaves the server alone for as long as the server asked', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    const { log } = await useTokenEndpoint(home, servers.resource, answer(503, '', { 'retry-after': '60' }));
    await expire(home, servers.resource);
    await expect(vault.token(servers.resource)).rejects.toBeInstanceOf(NetworkError);
    const other = vaultAt(home).vault;
    await expect(other.token(servers.resource, { timeoutMs: 1_000 })).rejects.toMatchObject({
      code: 'network',
      message: expect.stringContaining('could not be refreshed 0 s ago'),
      hint: expect.stringMatching(/^Try again in (59|60) s\. The login is unharmed\.$/),
      retryable: true,
    });
    expect(log).toHaveLength(1);
  });

  test.each(down)('%s: still serves a token with life left', async (_what, handler) => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    await useTokenEndpoint(home, servers.resource, handler);
    await leave(home, servers.resource, 60_000);
    const before = await recordText(home);
    expect(await vault.token(servers.resource)).toMatchObject({ generation: 1 });
    expect((await recordText(home)) === before).toBe(true);
  });

  test('waits as long as a server asks, and then refreshes', async () => {
    const { home, vault, events } = await loggedIn(await temporaryHome(), servers.resource);
    await expire(home, servers.resource);
    await servers.behave({ token: '429' });
    const before = await tokenRequests();
    expect(await vault.token(servers.resource)).toMatchObject({ generation: 2 });
    expect(await tokenRequests()).toBe(before + 2);
    expect(events).toMatchObject([
      {
        type: 'refresh-retry',
        message: expect.stringContaining('429'),
        resource: servers.resource,
        account: 'default',
        code: 'network',
      },
    ]);
  });

  test('tries an unreachable server again, since nothing was sent', async () => {
    const { home, vault, events } = await loggedIn(await temporaryHome(), servers.resource);
    const server = await startServers();
    await server.stop();
    await change(home, servers.resource, (credential) => ({
      server: { ...credential.server, tokenEndpoint: `${server.issuer}/token` },
    }));
    await expire(home, servers.resource);
    await expect(vault.token(servers.resource)).rejects.toBeInstanceOf(NetworkError);
    expect(events.length).toBeGreaterThan(1);
    expect(new Set(events.map(({ type }) => type))).toEqual(new Set(['refresh-retry']));
    await change(home, servers.resource, (credential) => ({
      server: { ...credential.server, tokenEndpoint: `${servers.issuer}/token` },
    }));
    expect(await vault.token(servers.resource)).toMatchObject({ generation: 2 });
  });

  test('a lost answer at a strict server ends the login, and the error says why', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    await expire(home, servers.resource);
    await servers.behave({ token: 'drop-after-processing' });
    await expect(vault.token(servers.resource)).rejects.toMatchObject({
      code: 'login-required',
      hint: `Log in again: holdfast login ${servers.resource}`,
    });
  });

  test('waits for a server that hangs as long as the caller’s timeout, and asks it once', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    const { log } = await useTokenEndpoint(home, servers.resource, hang());
    await expire(home, servers.resource);
    const before = await recordText(home);
    for (let call = 0; call < 3; call += 1) {
      await expect(vault.token(servers.resource, { timeoutMs: 100 })).rejects.toMatchObject({
        code: 'timeout',
        retryable: true,
      });
    }
    await expect.poll(() => log.length, { timeout: 30_000 }).toBe(1);
    expect((await recordText(home)) === before).toBe(true);
  });

  test('serves a live token for a while after a failure without another request', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    const { log } = await useTokenEndpoint(home, servers.resource, answer(500));
    await leave(home, servers.resource, 60_000);
    await vault.token(servers.resource);
    let clock = performance.now();
    vi.spyOn(performance, 'now').mockImplementation(() => (clock += 1000));
    for (let call = 0; call < 5; call += 1) {
      expect(await vault.token(servers.resource)).toMatchObject({ generation: 1 });
    }
    expect(log).toHaveLength(1);
    const later = Date.now() + 6_000;
    vi.spyOn(Date, 'now').mockImplementation(() => later);
    await vault.token(servers.resource);
    expect(log).toHaveLength(2);
  });
});

describe('an early refresh that fails', () => {
  test.each<[string, Handler]>([
    ['an OAuth error that is not final', json({ error: 'invalid_request' }, 400)],
    ['an answer that is not JSON', answer(200, 'hello', { 'content-type': 'application/json' })],
    ['an answer without an access token', json({ token_type: 'bearer' })],
    ['a token of a type that we cannot use', json({ access_token: 'x', token_type: 'mac' })],
    ['an answer that is too large', answer(200, Buffer.alloc(2 * 1024 * 1024, 32))],
  ])('still serves the live token after %s', async (_what, handler) => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    const { log } = await useTokenEndpoint(home, servers.resource, handler);
    await leave(home, servers.resource, 60_000);
    expect(await vault.token(servers.resource)).toMatchObject({ generation: 1 });
    expect(log).toHaveLength(1);
    await expire(home, servers.resource);
    await expect(vaultAt(home).vault.token(servers.resource)).rejects.toMatchObject({
      code: expect.stringMatching(/^(oauth-error|invalid-response|response-too-large)$/),
      retryable: false,
    });
    expect((await stored(home, servers.resource)).credential.loginRequired).toBeUndefined();
  });

  test.each([
    ['a lock file that cannot be opened', new StorageUnwritableError('The file system is read-only.')],
    ['a file system without locks', new LockUnsupportedError('flock failed.')],
    ['an error of a store that is not ours', new TypeError('The connection pool is gone.')],
  ])('still serves the live token despite %s', async (_what, error) => {
    const home = await temporaryHome();
    await loggedIn(home, servers.resource);
    await leave(home, servers.resource, 60_000);
    const store = storeAround(new DirectoryStore(home.layout, home.environment), {
      lock: () => Promise.reject(error),
    });
    const before = await tokenRequests();
    expect(await vaultAt(home, { store }).vault.token(servers.resource)).toMatchObject({ generation: 1 });
    await expire(home, servers.resource);
    await expect(vaultAt(home, { store }).vault.token(servers.resource)).rejects.toBe(error);
    expect(await tokenRequests()).toBe(before);
  });

  test('does not serve the live token to a caller who gave up, or after the server ended the login', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    const endpoint = gatedTokenEndpoint(servers.issuer);
    await useTokenEndpoint(home, servers.resource, endpoint.handler);
    await leave(home, servers.resource, 60_000);
    const giveUp = new AbortController();
    const waiting = vault.token(servers.resource, { signal: giveUp.signal });
    await endpoint.reached;
    giveUp.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'aborted' });
    await servers.revokeGrants();
    const next = vault.token(servers.resource);
    endpoint.open();
    await expect(next).rejects.toBeInstanceOf(LoginRequiredError);
  });
});

describe('a server with senseless answers', () => {
  test('stops with a clear error after a few requests if every token is expired on arrival', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    const { log } = await useTokenEndpoint(
      home,
      servers.resource,
      json({ access_token: 'new', token_type: 'bearer', expires_in: 0.001 }),
    );
    await expire(home, servers.resource);
    const error = await vault.token(servers.resource).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(InvalidResponseError);
    expect((error as InvalidResponseError).message).toContain(
      `The tokens that "${servers.issuer}" gives are expired on arrival`,
    );
    expect((error as InvalidResponseError).hint).toContain('clock');
    expect(log.length).toBeGreaterThan(0);
    expect(log.length).toBeLessThanOrEqual(3);
  });

  test('an OAuth error keeps its code, and does not show the refresh token', async () => {
    const { home, vault, first } = await loggedIn(await temporaryHome(), servers.resource);
    await useTokenEndpoint(home, servers.resource, (request, response) =>
      json({ error: 'invalid_scope', error_description: 'no' }, 400)(request, response),
    );
    await expire(home, servers.resource);
    const error = await vault.token(servers.resource).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(OAuthError);
    expect((error as OAuthError).error).toBe('invalid_scope');
    const shown = JSON.stringify(error, Object.getOwnPropertyNames(error)) + String(error);
    expect(shown.includes(first.tokens.refreshToken?.reveal() ?? '-')).toBe(false);
  });
});

describe('a token that the MCP server refuses', () => {
  test('refreshes a refused token early and once, and uses tokens that another process got', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    const before = await tokenRequests();
    const { generation } = await vault.token(servers.resource);
    const [one, two] = await Promise.all(
      [vault, vaultAt(home).vault].map((any) =>
        any.token(servers.resource, { rejectedGeneration: generation }),
      ),
    );
    expect([one?.generation, two?.generation]).toEqual([2, 2]);
    expect(await vault.token(servers.resource, { rejectedGeneration: generation })).toMatchObject({
      generation: 2,
    });
    expect(await tokenRequests()).toBe(before + 1);
  });

  test('refreshes a token each time if it is refused late in its life, since it has served until then', async () => {
    const { home } = await loggedIn(await temporaryHome(), servers.resource);
    for (let refused = 1; refused <= 8; refused += 1) {
      // Leaves twenty of its sixty minutes.
      await leave(home, servers.resource, 20 * 60_000);
      const { generation } = await vaultAt(home).vault.token(servers.resource, {
        rejectedGeneration: refused,
      });
      expect(generation).toBe(refused + 1);
    }
  });

  test('ends with a clear error, not in a loop, if every new token is refused in any process', async () => {
    const { home } = await loggedIn(await temporaryHome(), servers.resource);
    const before = await tokenRequests();
    let refused = 1;
    let error: unknown;
    for (let call = 0; call < 10 && error === undefined; call += 1) {
      const { vault } = vaultAt(home);
      await vault.token(servers.resource, { rejectedGeneration: refused }).then(
        ({ generation }) => {
          refused = generation;
        },
        (reason: unknown) => {
          error = reason;
        },
      );
    }
    expect(error).toBeInstanceOf(RefreshLimitedError);
    expect(error).toMatchObject({
      code: 'refresh-limited',
      retryable: true,
      message: expect.stringContaining('within a minute'),
      hint: expect.stringContaining(`tell who runs "${servers.issuer}"`),
    });
    expect(await tokenRequests()).toBe(before + 4);
    // A caller that does not complain still gets the stored token.
    expect(await vaultAt(home).vault.token(servers.resource)).toMatchObject({ generation: refused });
  });

  test('a refused token without a refresh token needs a person', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    await change(home, servers.resource, ({ tokens }) => ({
      tokens: { ...tokens, refreshToken: undefined },
    }));
    await expect(vault.token(servers.resource, { rejectedGeneration: 1 })).rejects.toBeInstanceOf(
      LoginRequiredError,
    );
    expect(await vaultAt(home).vault.token(servers.resource)).toMatchObject({ generation: 1 });
  });
});
