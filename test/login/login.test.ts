import { lstat, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { recordId } from '../../src/credential.ts';
import {
  KeyringAbsentError,
  KeyringLockedError,
  LoginCancelledError,
  LoginDeniedError,
  LoginTimeoutError,
  RecordNewerError,
  StorageFullError,
  StorageUnsafeError,
} from '../../src/errors.ts';
import { MemoryKeyring } from '../../src/keyring/memory.ts';
import type { LoginInteraction } from '../../src/login/types.ts';
import { seal } from '../../src/sealing.ts';
import { DirectoryStore } from '../../src/store/directory.ts';
import type { RecordStore } from '../../src/store/record-store.ts';
import { browse } from '../support/browser/scripted-browser.mjs';
import { type Home, temporaryHome } from '../support/homes/home.ts';
import { gate, storeAround } from '../support/homes/store.ts';
import { change, expire, fingerprint, partsAt, scripted, stored, vaultAt } from '../support/homes/vault.ts';
import { DesktopKeyring, opener } from '../support/keyrings/keyring.ts';
import { runScript } from '../support/processes/process.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

async function registrations(): Promise<number> {
  return (await servers.counters()).registrations;
}

/** An interaction that fails if the user is asked. */
const unasked: LoginInteraction = {
  authorize: () => Promise.reject(new Error('The person was asked.')),
};

async function recordsOf(home: Home): Promise<string[]> {
  const kids = await readdir(home.layout.credentials).catch(() => []);
  const lists = await Promise.all(kids.map((kid) => readdir(join(home.layout.credentials, kid))));
  return lists.flat();
}

describe('a login', () => {
  test.each(['header', 'path', 'root'] as const)(
    'finds the server’s metadata by %s, and stores what later requests need',
    async (metadata) => {
      const own = await startServers({ metadata });
      try {
        const home = await temporaryHome();
        const before = Date.now();
        const result = await vaultAt(home).vault.login(own.resource, { interaction: scripted });
        expect(result.keyring).toEqual({ id: 'file', tier: 'file', lifetime: 'disk' });
        expect(result.credential).toMatchObject({ resource: own.resource, state: 'fresh', generation: 1 });
        const { credential } = await stored(home, own.resource);
        expect(credential.server).toMatchObject({
          reach: 'anywhere',
          issuer: own.issuer,
          tokenEndpoint: `${own.issuer}/token`,
          revocationEndpoint: `${own.issuer}/token/revocation`,
        });
        expect(credential).toMatchObject({ account: 'default', resourceParameter: own.resource });
        expect(credential.client).toMatchObject({ source: 'dynamic', authMethod: 'none' });
        expect(credential.client.clientId).not.toBe('');
        expect(credential.client.redirectUris).toEqual([
          expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+\/callback$/),
        ]);
        expect(credential.requestedScope?.split(' ')).toContain('tools:call');
        expect(credential.grantedScope?.split(' ')).toContain('tools:call');
        expect(credential.tokens.refreshToken).toBeDefined();
        expect(credential.tokens.expiresAt).toBe(credential.tokens.obtainedAt + 3_600_000);
        for (const time of [credential.loggedInAt, credential.tokens.obtainedAt]) {
          expect(time).toBeGreaterThanOrEqual(before);
          expect(time).toBeLessThanOrEqual(Date.now());
        }
      } finally {
        await own.stop();
      }
    },
  );

  test('serves this vault, another vault and another process', async () => {
    const home = await temporaryHome();
    const { vault } = vaultAt(home);
    await vault.login(servers.resource, { interaction: scripted });
    const { token } = await vault.token(servers.resource);
    expect((await vaultAt(home).vault.token(servers.resource)).token.equals(token)).toBe(true);
    const spelt = servers.resource.replace('http:', 'HTTP:');
    expect((await vault.token(spelt)).token.equals(token)).toBe(true);
    const { out } = await runScript('token-process.ts', [servers.resource], { HOLDFAST_HOME: home.path });
    expect(JSON.parse(out)).toEqual({ generation: 1, fingerprint: fingerprint(token) });
  });

  test('replaces an earlier login at once in the vault that made it', async () => {
    const { vault } = vaultAt(await temporaryHome());
    await vault.login(servers.resource, { interaction: scripted });
    const first = await vault.token(servers.resource);
    await vault.login(servers.resource, { interaction: scripted });
    const second = await vault.token(servers.resource);
    expect(second.generation).toBe(2);
    expect(second.token.equals(first.token)).toBe(false);
  });

  test('keeps accounts apart', async () => {
    const { vault } = vaultAt(await temporaryHome());
    const as = (user: string): LoginInteraction => ({
      authorize: async (url) => void (await browse(url, { user })),
    });
    await vault.login(servers.resource, { interaction: as('alice') });
    await vault.login(servers.resource, { account: 'work', interaction: as('bob') });
    const [one, other] = await Promise.all([
      vault.token(servers.resource),
      vault.token(servers.resource, { account: 'work' }),
    ]);
    expect(one.token.equals(other.token)).toBe(false);
    expect((await vault.token(servers.resource, { account: 'default' })).token.equals(one.token)).toBe(true);
    await expect(vault.token(servers.resource, { account: 'home' })).rejects.toMatchObject({
      code: 'login-required',
      hint: `Log in: holdfast login ${servers.resource} --account home`,
    });
    await vault.logout(servers.resource, { account: 'work' });
    expect((await vault.token(servers.resource)).token.equals(one.token)).toBe(true);
  });

  test('keeps a resource with a NUL in its name apart from another account', async () => {
    const { vault } = vaultAt(await temporaryHome());
    await vault.login(servers.resource, { account: 'work', interaction: scripted });
    await vault.token(servers.resource, { account: 'work' });
    await expect(vault.token(`${servers.resource}\0work`)).rejects.toMatchObject({ code: 'login-required' });
  });

  test('does not wait for the caller’s authorize when the redirect has come', async () => {
    const { vault } = vaultAt(await temporaryHome());
    let page = 0;
    const result = await vault.login(servers.resource, {
      // The server answers the page only when the login ends: waiting for the page first would never end.
      interaction: { authorize: async (url) => void (page = (await browse(url)).status) },
    });
    expect(result.credential.state).toBe('fresh');
    await expect.poll(() => page, { timeout: 30_000 }).toBe(200);
  });

  test('fails with the reason when the URL cannot be shown, and stops listening', async () => {
    const home = await temporaryHome();
    let redirectUri = '';
    const login = vaultAt(home).vault.login(servers.resource, {
      interaction: {
        authorize: async (url) => {
          redirectUri = new URL(url).searchParams.get('redirect_uri') ?? '';
          throw new Error('No browser.');
        },
      },
    });
    await expect(login).rejects.toThrow('No browser.');
    await expect(fetch(redirectUri)).rejects.toThrow();
    expect(await recordsOf(home)).toEqual([]);
  });

  test.each([0, -1, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31])(
    'refuses a timeout of %d ms',
    async (timeoutMs) => {
      const { vault } = vaultAt(await temporaryHome());
      await expect(vault.login(servers.resource, { timeoutMs, interaction: unasked })).rejects.toMatchObject({
        code: 'invalid-argument',
      });
    },
  );
});

describe('the registration of a login', () => {
  async function loggedIn() {
    const home = await temporaryHome();
    const { vault } = vaultAt(home);
    await vault.login(servers.resource, { interaction: scripted });
    const { clientId } = (await stored(home, servers.resource)).credential.client;
    return { home, vault, clientId, before: await registrations() };
  }

  test('reuses the registration at the next login', async () => {
    const { home, vault, clientId, before } = await loggedIn();
    await vault.login(servers.resource, { interaction: scripted });
    expect((await stored(home, servers.resource)).credential.client.clientId).toBe(clientId);
    expect(await registrations()).toBe(before);
  });

  test('never uses a registration at another issuer', async () => {
    const { home, vault, clientId, before } = await loggedIn();
    await change(home, servers.resource, ({ server }) => ({
      server: { ...server, issuer: 'https://former-issuer.example' },
    }));
    await vault.login(servers.resource, { interaction: scripted });
    const { credential } = await stored(home, servers.resource);
    expect(credential.server.issuer).toBe(servers.issuer);
    expect(credential.client.clientId).not.toBe(clientId);
    expect(await registrations()).toBe(before + 1);
  });

  test('registers again when the client secret has expired', async () => {
    const { home, vault, clientId, before } = await loggedIn();
    await change(home, servers.resource, ({ client }) => ({
      client: { ...client, clientSecretExpiresAt: Date.now() - 1 },
    }));
    await vault.login(servers.resource, { interaction: scripted });
    expect((await stored(home, servers.resource)).credential.client.clientId).not.toBe(clientId);
    expect(await registrations()).toBe(before + 1);
  });

  test('registers again when the server has forgotten the client', async () => {
    const { home, vault, before } = await loggedIn();
    await change(home, servers.resource, ({ client }) => ({
      client: { ...client, clientId: 'a-client-that-the-server-forgot' },
    }));
    await expire(home, servers.resource);
    await expect(vaultAt(home).vault.token(servers.resource)).rejects.toMatchObject({
      code: 'login-required',
    });
    await vault.login(servers.resource, { interaction: scripted });
    expect(await vault.token(servers.resource)).toMatchObject({ tokenType: 'Bearer' });
    expect(await registrations()).toBe(before + 1);
  });
});

describe('checks before the user is asked', () => {
  test('fails before it asks the user when the store cannot be written', async () => {
    const home = await temporaryHome();
    const before = await registrations();
    await mkdir(home.path, { mode: 0o700 });
    await writeFile(home.layout.credentials, 'in the way');
    await expect(
      vaultAt(home).vault.login(servers.resource, { interaction: unasked }),
    ).rejects.toBeInstanceOf(StorageUnsafeError);
    expect(await registrations()).toBe(before);
  });

  test('fails before it asks the user when the store is full', async () => {
    const home = await temporaryHome();
    const before = await registrations();
    const store = storeAround(new DirectoryStore(home.layout, home.environment), {
      selfTest: () => Promise.reject(new StorageFullError('No space is left.')),
    });
    await expect(
      vaultAt(home, { store }).vault.login(servers.resource, { interaction: unasked }),
    ).rejects.toBeInstanceOf(StorageFullError);
    expect(await registrations()).toBe(before);
  });

  test('refuses to replace a record of a newer Holdfast, and leaves it unchanged', async () => {
    const home = await temporaryHome();
    const before = await registrations();
    const { keys, store } = partsAt(home);
    const key = await keys.strongest();
    const address = { kid: key.kid, id: recordId(servers.resource, 'default') };
    const record = seal(Buffer.from('{"v":2}'), key, address.id);
    await store.cas(address, undefined, record);
    await expect(
      vaultAt(home).vault.login(servers.resource, { interaction: unasked }),
    ).rejects.toBeInstanceOf(RecordNewerError);
    await expect(vaultAt(home).vault.token(servers.resource)).rejects.toBeInstanceOf(RecordNewerError);
    expect((await store.read(address))?.record === record).toBe(true);
    expect(await registrations()).toBe(before);
  });

  test('fails before it asks the user when a required persistent keyring is missing', async () => {
    const home = await temporaryHome();
    const before = await registrations();
    const { vault } = vaultAt(home, { openers: [opener(new MemoryKeyring())] });
    await expect(
      vault.login(servers.resource, { requirePersistence: true, interaction: unasked }),
    ).rejects.toBeInstanceOf(KeyringAbsentError);
    expect(await registrations()).toBe(before);
    await expect(lstat(home.path)).rejects.toThrow('ENOENT');
  });
});

describe('a login without a persistent keyring', () => {
  test('keeps the login in this process’s memory, and says so', async () => {
    const home = await temporaryHome();
    const { vault, events } = vaultAt(home, { openers: [opener(new MemoryKeyring())] });
    const { keyring } = await vault.login(servers.resource, { interaction: scripted });
    expect(keyring).toEqual({ id: 'memory', tier: 'memory', lifetime: 'process' });
    expect(events).toMatchObject([{ type: 'memory-only', resource: servers.resource, account: 'default' }]);
    expect(await vault.token(servers.resource)).toMatchObject({ generation: 1 });
    expect(await recordsOf(home)).toEqual([]);
    await expect(
      vaultAt(home, { openers: [opener(new MemoryKeyring())] }).vault.token(servers.resource),
    ).rejects.toMatchObject({ code: 'login-required' });
  });

  test('reports that it uses memory when the keyring refuses the new key, or fails if told to persist', async () => {
    const refusing = () => {
      const keyring = new DesktopKeyring();
      keyring.refusesWrites = new KeyringLockedError('A prompt that nobody answers.');
      return [opener(keyring), opener(new MemoryKeyring())];
    };
    const { vault, events } = vaultAt(await temporaryHome(), { openers: refusing() });
    const { keyring } = await vault.login(servers.resource, { interaction: scripted });
    expect(keyring.id).toBe('memory');
    expect(events.map(({ type }) => type)).toEqual(['memory-only']);

    await expect(
      vaultAt(await temporaryHome(), { openers: refusing() }).vault.login(servers.resource, {
        requirePersistence: true,
        interaction: scripted,
      }),
    ).rejects.toMatchObject({ code: 'keyring-absent', message: expect.stringContaining('nobody answers') });
  });
});

describe('the end of a login', () => {
  test('tells the browser of success only after the credential is stored', async () => {
    const home = await temporaryHome();
    const inner: RecordStore = new DirectoryStore(home.layout, home.environment);
    const [reached, may] = [gate(), gate()];
    const store = storeAround(inner, {
      cas: async (...arguments_) => {
        reached.open();
        await may.opened;
        return inner.cas(...arguments_);
      },
    });
    let page: { status: number; text: string } | undefined;
    let elsewhere = '';
    const login = vaultAt(home, { store }).vault.login(servers.resource, {
      interaction: {
        authorize: async (url) => {
          elsewhere = new URL('/elsewhere', new URL(url).searchParams.get('redirect_uri') ?? '').href;
          void browse(url).then((last) => (page = last));
        },
      },
    });
    await reached.opened;
    // The callback server answers a later request first.
    expect((await fetch(elsewhere)).status).toBe(404);
    expect(page).toBeUndefined();
    may.open();
    await login;
    await expect.poll(() => page?.status, { timeout: 30_000 }).toBe(200);
    expect(page?.text).toContain('You are logged in');
  });

  test('tells the browser of failure when the credential cannot be stored', async () => {
    const home = await temporaryHome();
    const store = storeAround(new DirectoryStore(home.layout, home.environment), {
      cas: () => Promise.reject(new StorageFullError('No space is left.')),
    });
    let page: { status: number; text: string } | undefined;
    await expect(
      vaultAt(home, { store }).vault.login(servers.resource, {
        interaction: { authorize: async (url) => void browse(url).then((last) => (page = last)) },
      }),
    ).rejects.toBeInstanceOf(StorageFullError);
    await expect.poll(() => page?.status, { timeout: 30_000 }).toBe(400);
    expect(page?.text).toContain('The login did not succeed');
    expect(page?.text).not.toContain('You are logged in');
  });

  test('stores nothing when the user denies the login, and says so on the page', async () => {
    const home = await temporaryHome();
    let page: { text: string } | undefined;
    await expect(
      vaultAt(home).vault.login(servers.resource, {
        interaction: {
          authorize: async (url) => void browse(url, { deny: true }).then((last) => (page = last)),
        },
      }),
    ).rejects.toBeInstanceOf(LoginDeniedError);
    await expect.poll(() => page?.text, { timeout: 30_000 }).toContain('Access was refused');
    expect(await recordsOf(home)).toEqual([]);
  });

  test.each([
    ['while the browser is open', true],
    ['while the URL is still being shown', false],
  ])('writes nothing to disk, not even a key, when cancelled %s', async (_when, shown) => {
    const home = await temporaryHome();
    const cancel = new AbortController();
    const login = vaultAt(home).vault.login(servers.resource, {
      signal: cancel.signal,
      interaction: {
        authorize: () => {
          setTimeout(() => cancel.abort(), 50);
          return shown ? Promise.resolve() : new Promise(() => {});
        },
      },
    });
    await expect(login).rejects.toBeInstanceOf(LoginCancelledError);
    expect(await recordsOf(home)).toEqual([]);
    await expect(readdir(home.layout.keyring)).rejects.toThrow('ENOENT');
  });

  test('keeps an earlier login when nobody finishes the new one', async () => {
    const home = await temporaryHome();
    const { vault } = vaultAt(home);
    await vault.login(servers.resource, { interaction: scripted });
    const { token } = await vault.token(servers.resource);
    await expect(
      vault.login(servers.resource, { timeoutMs: 100, interaction: { authorize: async () => {} } }),
    ).rejects.toBeInstanceOf(LoginTimeoutError);
    expect((await vaultAt(home).vault.token(servers.resource)).token.equals(token)).toBe(true);
  });

  test('stores one whole credential when two logins for one name run at once', async () => {
    const home = await temporaryHome();
    const results = await Promise.all(
      [vaultAt(home), vaultAt(home)].map(({ vault }) =>
        vault.login(servers.resource, { interaction: scripted }),
      ),
    );
    expect(new Set(results.map(({ credential }) => credential.generation))).toEqual(new Set([1, 2]));
    expect(await recordsOf(home)).toEqual([`${recordId(servers.resource, 'default')}.jwe`]);
    const { credential } = await stored(home, servers.resource);
    const winner = results.find((result) => result.credential.generation === 2);
    expect(credential).toMatchObject({ generation: 2, client: { clientId: winner?.credential.clientId } });
    const text = await readFile(
      join(home.layout.credentials, results[0]?.credential.kid ?? '', (await recordsOf(home))[0] ?? ''),
      'latin1',
    );
    expect(text.split('.')).toHaveLength(5);
    expect(await vaultAt(home).vault.token(servers.resource)).toMatchObject({ generation: 2 });
  });
});
