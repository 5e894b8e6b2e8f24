import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { StorageFullError, VaultClosedError } from '../../src/errors.ts';
import { DirectoryStore } from '../../src/store/directory.ts';
import type { RecordStore } from '../../src/store/record-store.ts';
import { defined } from '../../src/values/defined.ts';
import { type Home, temporaryHome } from '../support/homes/home.ts';
import { gate, storeAround } from '../support/homes/store.ts';
import {
  accepted,
  change,
  expire,
  fingerprint,
  loggedIn,
  partsAt,
  refreshOf,
  scripted,
  stored,
  vaultAt,
} from '../support/homes/vault.ts';
import { hostileServer } from '../support/servers/hostile-server.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { gatedTokenEndpoint, useTokenEndpoint } from '../support/servers/token-endpoint.ts';

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());
afterEach(() => void vi.restoreAllMocks());

/** Makes each call of the vault read the store from now on. */
function lookEachTime(): void {
  let clock = performance.now();
  vi.spyOn(performance, 'now').mockImplementation(() => (clock += 1000));
}

async function storedGeneration(home: Home): Promise<number> {
  return (await stored(home, servers.resource)).credential.generation;
}

/** A login whose token has expired, over a real store that accepts no record while `broken`. */
async function overFailingStore(error: Error = new StorageFullError('No space is left.')) {
  const home = await temporaryHome();
  await loggedIn(home, servers.resource);
  await expire(home, servers.resource);
  const inner: RecordStore = new DirectoryStore(home.layout, home.environment);
  const failing = { broken: true, tries: 0 };
  const store = storeAround(inner, {
    cas: async (...arguments_) => {
      failing.tries += 1;
      if (failing.broken) throw error;
      return inner.cas(...arguments_);
    },
  });
  return { home, failing, ...vaultAt(home, { store }) };
}

describe('new tokens that the store cannot save', () => {
  test.each([
    ['a full disk', undefined],
    ['an error of a store that is not ours', new TypeError('The connection pool is gone.')],
  ])('keeps unsaved tokens in memory, and reports them: %s', async (_what, error) => {
    const { home, vault, events, failing } = await overFailingStore(error);
    const before = (await servers.counters()).tokenRequests;
    const { token, generation } = await vault.token(servers.resource);
    expect(generation).toBe(2);
    expect(await accepted(servers.resource, token)).toBe(true);
    expect(failing.tries).toBeGreaterThan(1);
    expect(events).toMatchObject([
      {
        type: 'unpersisted',
        message: expect.stringContaining(servers.resource),
        resource: servers.resource,
        account: 'default',
      },
    ]);
    expect(await storedGeneration(home)).toBe(1);
    lookEachTime();
    expect((await vault.token(servers.resource)).token.equals(token)).toBe(true);
    expect((await vault.token(servers.resource, { account: 'default' })).token.equals(token)).toBe(true);
    expect((await vault.list()).credentials).toMatchObject([{ state: 'fresh', generation: 2 }]);
    expect((await servers.counters()).tokenRequests).toBe(before + 1);
    failing.broken = false;
  });

  test('writes unsaved tokens when the store works again', async () => {
    const { home, vault, failing } = await overFailingStore();
    const { token } = await vault.token(servers.resource);
    failing.broken = false;
    lookEachTime();
    await expect
      .poll(
        async () => {
          await vault.token(servers.resource);
          return storedGeneration(home);
        },
        { timeout: 30_000 },
      )
      .toBe(2);
    const { tokens } = (await stored(home, servers.resource)).credential;
    expect(tokens.accessToken.equals(token)).toBe(true);
    expect((await vault.token(servers.resource)).token.equals(token)).toBe(true);
  });

  test('writes unsaved tokens when the vault closes, if the store works again by then', async () => {
    const { home, vault, events, failing } = await overFailingStore();
    await vault.token(servers.resource);
    failing.broken = false;
    await vault.close();
    expect(await storedGeneration(home)).toBe(2);
    expect(events.map(({ type }) => type)).toEqual(['unpersisted']);
  });

  test('spills unsaved tokens beside the store, sealed, and the next refresh of any process stores them', async () => {
    const { home, vault, events, failing } = await overFailingStore();
    const { token } = await vault.token(servers.resource);
    await vault.close();
    expect(events).toMatchObject([
      { type: 'unpersisted', message: expect.stringContaining(join(home.path, 'outbox')) },
    ]);
    const [spilled = ''] = await readdir(join(home.path, 'outbox'));
    const text = await readFile(join(home.path, 'outbox', spilled), 'utf8');
    expect(text.includes(token.reveal())).toBe(false);
    expect(await storedGeneration(home)).toBe(1);
    failing.broken = false;
    const before = (await servers.counters()).tokenRequests;
    const next = await vaultAt(home).vault.token(servers.resource);
    expect(next.token.equals(token)).toBe(true);
    expect((await servers.counters()).tokenRequests).toBe(before);
    expect(await storedGeneration(home)).toBe(2);
    expect(await readdir(join(home.path, 'outbox'))).toEqual([]);
  });

  test('reports unsaved tokens as lost if they can be written nowhere', async () => {
    const home = await temporaryHome();
    await loggedIn(home, servers.resource);
    const stale = await expire(home, servers.resource);
    const store = storeAround(new DirectoryStore(home.layout, home.environment), {
      cas: () => Promise.reject(new StorageFullError('No space is left.')),
    });
    const once = refreshOf(partsAt(home, store).credentialStore, home);
    await once.refresh(stale, { leaseMs: 1000, waitMs: 30_000 });
    expect(await once.close()).toMatchObject([{ resource: servers.resource, generation: 2 }]);
  });

  test('unsaved tokens never replace a later login', async () => {
    const { home, vault, failing } = await overFailingStore();
    await vault.token(servers.resource);
    failing.broken = false;
    await vaultAt(home).vault.login(servers.resource, { interaction: scripted });
    const login = (await stored(home, servers.resource)).credential.tokens.accessToken;
    lookEachTime();
    expect((await vault.token(servers.resource)).token.equals(login)).toBe(true);
    await vault.close();
    const after = (await stored(home, servers.resource)).credential.tokens.accessToken;
    expect(after.equals(login)).toBe(true);
  });

  test('unsaved tokens are newer than the stored ones of their login, but never newer than another login', async () => {
    const home = await temporaryHome();
    await loggedIn(home, servers.resource);
    const stale = await expire(home, servers.resource);
    const store = storeAround(new DirectoryStore(home.layout, home.environment), {
      cas: () => Promise.reject(new StorageFullError('No space is left.')),
    });
    const { credentialStore } = partsAt(home, store);
    const once = refreshOf(credentialStore, home);
    const refreshed = await once.refresh(stale, { leaseMs: 1000, waitMs: 30_000 });
    expect(credentialStore.newest(stale).credential).toBe(refreshed.credential);
    await vaultAt(home).vault.login(servers.resource, { interaction: scripted });
    const login = await stored(home, servers.resource);
    expect(credentialStore.newest(login)).toBe(login);
    expect(await once.close()).toEqual([]);
  });

  test('a logout revokes unsaved tokens', async () => {
    const home = await temporaryHome();
    const revocation = await hostileServer({ '/revoke': (_request, response) => void response.end() });
    await loggedIn(home, servers.resource);
    await change(home, servers.resource, ({ server }) => ({
      server: { ...server, revocationEndpoint: `${revocation.origin}/revoke` },
    }));
    await expire(home, servers.resource);
    const store = storeAround(new DirectoryStore(home.layout, home.environment), {
      cas: () => Promise.reject(new StorageFullError('No space is left.')),
    });
    const { vault } = vaultAt(home, { store });
    const { token } = await vault.token(servers.resource);
    expect(await vault.logout(servers.resource)).toMatchObject({ removed: 1, revocation: 'revoked' });
    const revoked = revocation.log.map(({ body }) => new URLSearchParams(body));
    expect(revoked.map((body) => body.get('token_type_hint'))).toEqual(['refresh_token', 'access_token']);
    expect(revoked[1]?.get('token') === token.reveal()).toBe(true);
    await expect(vault.token(servers.resource)).rejects.toMatchObject({ code: 'login-required' });
  });
});

describe('a refresh in progress', () => {
  async function underWay(storeOf?: (home: Home) => RecordStore) {
    const home = await temporaryHome();
    const { vault } = await loggedIn(home, servers.resource, defined({ store: storeOf?.(home) }));
    const endpoint = gatedTokenEndpoint(servers.issuer);
    await useTokenEndpoint(home, servers.resource, endpoint.handler);
    await expire(home, servers.resource);
    const token = vault.token(servers.resource);
    token.catch(() => {});
    await endpoint.reached;
    return { home, vault, token, endpoint };
  }

  test('close waits for a refresh in progress, and its answer is stored', async () => {
    const steps: string[] = [];
    const { home, vault, token, endpoint } = await underWay(({ layout, environment }) => {
      const inner: RecordStore = new DirectoryStore(layout, environment);
      return storeAround(inner, {
        cas: async (...arguments_) => {
          const written = await inner.cas(...arguments_);
          steps.push('record written');
          return written;
        },
        close: async () => {
          steps.push('store closed');
          await inner.close();
        },
      });
    });
    steps.length = 0;
    const closing = vault.close().then(() => steps.push('vault closed'));
    // A vault with nothing to wait for closes meanwhile.
    await vaultAt(home).vault.close();
    endpoint.open();
    await closing;
    expect(steps).toEqual(['record written', 'store closed', 'vault closed']);
    const { credential } = await stored(home, servers.resource);
    expect(credential.generation).toBe(2);
    expect((await token).token.equals(credential.tokens.accessToken)).toBe(true);
    await expect(vault.token(servers.resource)).rejects.toBeInstanceOf(VaultClosedError);
  });

  test('close waits for a refresh even if its caller gave up', async () => {
    const home = await temporaryHome();
    const { vault } = await loggedIn(home, servers.resource);
    const endpoint = gatedTokenEndpoint(servers.issuer);
    await useTokenEndpoint(home, servers.resource, endpoint.handler);
    await expire(home, servers.resource);
    const giveUp = new AbortController();
    const token = vault.token(servers.resource, { signal: giveUp.signal });
    await endpoint.reached;
    giveUp.abort();
    await expect(token).rejects.toMatchObject({ code: 'aborted' });
    const closing = vault.close();
    endpoint.open();
    await closing;
    expect(await storedGeneration(home)).toBe(2);
  });

  test('a refresh does not overwrite a login made in the meantime', async () => {
    const { home, token, endpoint } = await underWay();
    await vaultAt(home).vault.login(servers.resource, { interaction: scripted });
    const login = (await stored(home, servers.resource)).credential;
    endpoint.open();
    expect((await token).token.equals(login.tokens.accessToken)).toBe(true);
    const after = (await stored(home, servers.resource)).credential;
    expect(fingerprint(after.tokens.accessToken)).toBe(fingerprint(login.tokens.accessToken));
    expect(after.loggedInAt).toBe(login.loggedInAt);
  });

  test('a refresh does not overwrite a login made in the meantime on a machine whose clock is behind', async () => {
    const { home, token, endpoint } = await underWay();
    await vaultAt(home).vault.login(servers.resource, { interaction: scripted });
    const login = (
      await change(home, servers.resource, ({ loggedInAt }) => ({ loggedInAt: loggedInAt - 86_400_000 }))
    ).credential;
    endpoint.open();
    expect((await token).token.equals(login.tokens.accessToken)).toBe(true);
    expect((await stored(home, servers.resource)).credential.loggedInAt).toBe(login.loggedInAt);
  });

  test('a refresh ends before a logout, which revokes and removes its tokens', async () => {
    const { home, vault, token, endpoint } = await underWay();
    const logout = vault.logout(servers.resource);
    endpoint.open();
    const refreshed = await token;
    expect(await logout).toMatchObject({ removed: 1, revocation: 'revoked' });
    expect(refreshed.generation).toBe(2);
    expect(await accepted(servers.resource, refreshed.token)).toBe(false);
    await expect(vault.token(servers.resource)).rejects.toMatchObject({ code: 'login-required' });
    await expect(stored(home, servers.resource)).rejects.toThrow('Nothing is stored');
  });

  test('a refresh restores no login that was removed in the meantime', async () => {
    const { home, token, endpoint } = await underWay();
    const held = await stored(home, servers.resource);
    await partsAt(home).credentialStore.removeRecord(held);
    endpoint.open();
    await expect(token).rejects.toMatchObject({ code: 'login-required' });
    await expect(stored(home, servers.resource)).rejects.toThrow('Nothing is stored');
  });
});

describe('a vault that closes', () => {
  test('close does not wait for the lease of another process', async () => {
    const { home } = await loggedIn(await temporaryHome(), servers.resource);
    const held = await expire(home, servers.resource);
    const { store: inner } = partsAt(home);
    const lease = await inner.lock(held.address.id, { waitMs: 0 });
    const wanted = gate();
    const store = storeAround(inner, {
      lock: (...arguments_) => {
        wanted.open();
        return inner.lock(...arguments_);
      },
    });
    const { vault } = vaultAt(home, { store });
    const token = vault.token(servers.resource);
    token.catch(() => {});
    await wanted.opened;
    await vault.close();
    await expect(token).rejects.toBeInstanceOf(VaultClosedError);
    await lease.release();
    expect(await storedGeneration(home)).toBe(1);
  });

  test('close can be called twice, and the vault then answers no more calls', async () => {
    const { vault } = await loggedIn(await temporaryHome(), servers.resource);
    await vault.token(servers.resource);
    await Promise.all([vault.close(), vault.close()]);
    for (const call of [
      vault.token(servers.resource),
      vault.list(),
      vault.logout(servers.resource),
      vault.login(servers.resource, { interaction: scripted }),
    ]) {
      await expect(call).rejects.toBeInstanceOf(VaultClosedError);
    }
  });
});
