import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DirectoryStore } from '../../src/store/directory.ts';
import { type Home, temporaryHome } from '../support/homes/home.ts';
import { gate, storeAround } from '../support/homes/store.ts';
import { accepted, change, loggedIn, scripted, stored, vaultAt } from '../support/homes/vault.ts';
import { answer, type Handler, hostileServer } from '../support/servers/hostile-server.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

async function useRevocationEndpoint(home: Home, handler: Handler) {
  const server = await hostileServer({ '/revoke': handler });
  await change(home, servers.resource, (credential) => ({
    server: { ...credential.server, revocationEndpoint: `${server.origin}/revoke` },
  }));
  return server;
}

describe('a logout', () => {
  test('a logout revokes at the server, and removes the record for every process', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    const { token } = await vault.token(servers.resource);
    expect(await accepted(servers.resource, token)).toBe(true);
    const before = await servers.counters();
    expect(await vaultAt(home).vault.logout(servers.resource)).toEqual({
      removed: 1,
      revocation: 'revoked',
      reason: undefined,
      undecryptable: [],
    });
    expect((await servers.counters()).revocations).toBe(before.revocations + 2);
    expect(await accepted(servers.resource, token)).toBe(false);
    await expect(stored(home, servers.resource)).rejects.toThrow('Nothing is stored');
  });

  test('its own vault notices a logout at once', async () => {
    const { vault } = await loggedIn(await temporaryHome(), servers.resource);
    await vault.token(servers.resource);
    await vault.logout(servers.resource);
    await expect(vault.token(servers.resource)).rejects.toMatchObject({
      code: 'login-required',
      message: `There is no login to ${servers.resource}.`,
      hint: `Log in: holdfast login ${servers.resource}`,
    });
  });

  test('a vault notices a logout even if a caller read the login before it and finished after it', async () => {
    const home = await temporaryHome();
    await loggedIn(home, servers.resource);
    const inner = new DirectoryStore(home.layout, home.environment);
    const [reached, may] = [gate(), gate()];
    let hold = true;
    const store = storeAround(inner, {
      read: async (address) => {
        const found = await inner.read(address);
        if (hold) {
          hold = false;
          reached.open();
          await may.opened;
        }
        return found;
      },
    });
    const { vault } = vaultAt(home, { store });
    const slow = vault.token(servers.resource);
    await reached.opened;
    await vault.logout(servers.resource);
    may.open();
    await slow;
    await expect(vault.token(servers.resource)).rejects.toMatchObject({ code: 'login-required' });
  });

  test('the registration that a logout keeps allows the next login', async () => {
    const { vault } = await loggedIn(await temporaryHome(), servers.resource);
    await vault.logout(servers.resource);
    await vault.login(servers.resource, { interaction: scripted });
    expect(await vault.token(servers.resource)).toMatchObject({ generation: 1 });
  });

  test.each<[string, Handler]>([
    ['is down', answer(500)],
    ['refuses', answer(400, '{"error":"unsupported_token_type"}', { 'content-type': 'application/json' })],
    ['breaks off', (_request, response) => void response.destroy()],
  ])(
    'a logout from a server that %s removes the local login all the same, and says so',
    async (_what, handler) => {
      const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
      await useRevocationEndpoint(home, handler);
      const result = await vault.logout(servers.resource);
      expect(result).toMatchObject({ removed: 1, revocation: 'failed' });
      expect(result.reason).toBeTruthy();
      await expect(stored(home, servers.resource)).rejects.toThrow('Nothing is stored');
    },
  );

  test('a logout from a server without revocation says so', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    await change(home, servers.resource, ({ server }) => ({
      server: { ...server, revocationEndpoint: undefined },
    }));
    expect(await vault.logout(servers.resource)).toMatchObject({ removed: 1, revocation: 'not-offered' });
  });

  test('a logout whose caller gives up leaves the login as it is', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    const reached = gate();
    await useRevocationEndpoint(home, () => reached.open());
    const giveUp = new AbortController();
    const logout = vault.logout(servers.resource, { signal: giveUp.signal });
    await reached.opened;
    giveUp.abort();
    await expect(logout).rejects.toMatchObject({ code: 'aborted' });
    expect(await vault.token(servers.resource)).toMatchObject({ generation: 1 });
  });

  test('a logout also ends a login made in the meantime, at the server too', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    const reached = gate();
    const may = gate();
    await useRevocationEndpoint(home, async (_request, response) => {
      reached.open();
      await may.opened;
      response.end();
    });
    const logout = vault.logout(servers.resource);
    await reached.opened;
    await vaultAt(home).vault.login(servers.resource, { interaction: scripted });
    const { accessToken } = (await stored(home, servers.resource)).credential.tokens;
    expect(await accepted(servers.resource, accessToken)).toBe(true);
    may.open();
    expect(await logout).toMatchObject({ removed: 1, revocation: 'revoked' });
    await expect(stored(home, servers.resource)).rejects.toThrow('Nothing is stored');
    expect(await accepted(servers.resource, accessToken)).toBe(false);
  });

  test('a logout names the records it could not open, and leaves them in place', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    const { address } = await stored(home, servers.resource);
    const directory = join(home.layout.credentials, address.kid);
    await writeFile(join(directory, `${address.id}.jwe`), 'not a record');
    expect(await vault.logout(servers.resource)).toMatchObject({
      removed: 0,
      revocation: 'nothing',
      undecryptable: [{ id: address.id, kid: address.kid, code: 'record-damaged' }],
    });
    expect(await readdir(directory)).toEqual([`${address.id}.jwe`]);
  });

  test('a logout from one account leaves the other accounts', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    await vault.login(servers.resource, { account: 'work', interaction: scripted });
    await vault.logout(servers.resource);
    expect((await vaultAt(home).vault.list()).credentials).toMatchObject([{ account: 'work' }]);
  });
});
