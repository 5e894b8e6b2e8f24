import { readdir } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { KeyringLockedError } from '../../src/errors.ts';
import { FileKeyring } from '../../src/keyring/file/file.ts';
import { type Home, temporaryHome } from '../support/homes/home.ts';
import { expire, fingerprint, scripted, stored, vaultAt } from '../support/homes/vault.ts';
import { DesktopKeyring, opener } from '../support/keyrings/keyring.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';

/*
 * A desktop with its own keyring, and sessions on the same machine that cannot reach it. Each seals under its own key
 * in one home.
 */

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

function sessionsIn(home: Home) {
  const keyring = new DesktopKeyring();
  const file = () => opener(new FileKeyring(home.layout, home.environment));
  return {
    keyring,
    desktop: () => vaultAt(home, { openers: [opener(keyring), file()] }),
    ssh: () =>
      vaultAt(home, { openers: [{ id: 'desktop', tier: 'native', open: async () => undefined }, file()] }),
  };
}

/** Both sessions have logged in, the desktop first. */
async function bothLoggedIn() {
  const home = await temporaryHome();
  const { keyring, desktop, ssh } = sessionsIn(home);
  await desktop().vault.login(servers.resource, { interaction: scripted });
  await ssh().vault.login(servers.resource, { interaction: scripted });
  const [fromDesktop, fromSsh] = [
    await desktop().vault.token(servers.resource),
    await ssh().vault.token(servers.resource),
  ];
  return { home, keyring, desktop, ssh, fromDesktop, fromSsh };
}

describe('two sessions with keys of their own', () => {
  test('a login without the desktop’s keyring leaves the desktop’s login in place', async () => {
    const { home, fromDesktop, fromSsh } = await bothLoggedIn();
    expect(fingerprint(fromDesktop.token)).not.toBe(fingerprint(fromSsh.token));
    expect(await readdir(home.layout.credentials)).toHaveLength(2);
    await expect(readdir(home.layout.quarantine)).rejects.toThrow('ENOENT');
  });

  test('reads the credential of the strongest key if both keys are available', async () => {
    const { desktop, fromDesktop } = await bothLoggedIn();
    const { vault } = desktop();
    expect((await vault.token(servers.resource)).token.equals(fromDesktop.token)).toBe(true);
    expect((await vault.list()).credentials.map(({ tier }) => tier)).toEqual(['native', 'file']);
  });

  test('a desktop without its own login reads the session’s', async () => {
    const { desktop, ssh } = sessionsIn(await temporaryHome());
    await ssh().vault.login(servers.resource, { interaction: scripted });
    const { token } = await ssh().vault.token(servers.resource);
    expect((await desktop().vault.token(servers.resource)).token.equals(token)).toBe(true);
  });

  test('a vault that stays open sees the stronger login that another process made', async () => {
    const { desktop, ssh } = sessionsIn(await temporaryHome());
    await ssh().vault.login(servers.resource, { interaction: scripted });
    const kept = desktop().vault;
    const before = await kept.token(servers.resource);
    await desktop().vault.login(servers.resource, { interaction: scripted });
    const { token } = await desktop().vault.token(servers.resource);
    expect(token.equals(before.token)).toBe(false);
    await expect
      .poll(async () => (await kept.token(servers.resource)).token.equals(token), { timeout: 30_000 })
      .toBe(true);
  });

  test('a refresh keeps the key of its record, so that the session keeps its login', async () => {
    const home = await temporaryHome();
    const { keyring, desktop, ssh } = sessionsIn(home);
    await ssh().vault.login(servers.resource, { interaction: scripted });
    await expire(home, servers.resource);
    const refreshed = await desktop().vault.token(servers.resource);
    expect(refreshed.generation).toBe(2);
    expect((await ssh().vault.token(servers.resource)).token.equals(refreshed.token)).toBe(true);
    expect(await readdir(home.layout.credentials)).toHaveLength(1);
    expect(keyring.calls.filter((call) => call.startsWith('set'))).toEqual([]);
  });

  test('each session refreshes its own login, and no refresh token is in two places', async () => {
    const { home, desktop, ssh, fromDesktop } = await bothLoggedIn();
    await expire(home, servers.resource);
    expect(await ssh().vault.token(servers.resource)).toMatchObject({ generation: 2 });
    const { token, generation } = await desktop().vault.token(servers.resource);
    expect(generation).toBe(1);
    expect(token.equals(fromDesktop.token)).toBe(true);
  });

  test('a logout on the desktop ends both logins, and one in the session names the desktop’s and leaves it', async () => {
    const one = await bothLoggedIn();
    expect(await one.desktop().vault.logout(servers.resource)).toMatchObject({
      removed: 2,
      undecryptable: [],
    });
    expect(await readdir(one.home.layout.credentials).then((kids) => kids.length)).toBe(2);
    await expect(one.ssh().vault.token(servers.resource)).rejects.toMatchObject({ code: 'login-required' });

    const other = await bothLoggedIn();
    const result = await other.ssh().vault.logout(servers.resource);
    expect(result).toMatchObject({ removed: 1, undecryptable: [{ code: 'key-unavailable' }] });
    const { token } = await other.desktop().vault.token(servers.resource);
    expect(token.equals(other.fromDesktop.token)).toBe(true);
  });
});

describe('a keyring that is unavailable', () => {
  test('reports a record under a locked keyring as locked, never as "not logged in"', async () => {
    const home = await temporaryHome();
    const { keyring, desktop } = sessionsIn(home);
    await desktop().vault.login(servers.resource, { interaction: scripted });
    keyring.locked = true;
    const { vault } = desktop();
    await expect(vault.token(servers.resource)).rejects.toMatchObject({
      code: 'keyring-locked',
      message: `The login to ${servers.resource} is sealed under a key that cannot be read now. The desktop keyring is locked.`,
      hint: 'Unlock it.',
    });
    expect(await vault.list()).toMatchObject({
      credentials: [],
      undecryptable: [{ code: 'keyring-locked' }],
    });
    await expect(vault.token('https://mcp.example.com')).rejects.toMatchObject({ code: 'login-required' });
  });

  test('a locked keyring does not hide a login that another key opens', async () => {
    const { keyring, desktop, fromSsh } = await bothLoggedIn();
    keyring.locked = true;
    const { token } = await desktop().vault.token(servers.resource);
    expect(token.equals(fromSsh.token)).toBe(true);
  });

  test('reports a record whose keyring is absent, and a login there leaves that record', async () => {
    const home = await temporaryHome();
    const { desktop, ssh } = sessionsIn(home);
    await desktop().vault.login(servers.resource, { interaction: scripted });
    const { vault } = ssh();
    await expect(vault.token(servers.resource)).rejects.toMatchObject({ code: 'key-unavailable' });
    await vault.login(servers.resource, { interaction: scripted });
    expect(await vault.token(servers.resource)).toMatchObject({ generation: 1 });
    expect((await desktop().vault.list()).credentials).toHaveLength(2);
  });

  test('a login fails if the keyring chosen by name is locked', async () => {
    const home = await temporaryHome();
    const { keyring } = sessionsIn(home);
    keyring.locked = true;
    const openers = [opener(keyring), opener(new FileKeyring(home.layout, home.environment))];
    const { vault } = vaultAt(home, { openers, keyring: 'desktop' });
    await expect(
      vault.login(servers.resource, {
        interaction: { authorize: () => Promise.reject(new Error('The person was asked.')) },
      }),
    ).rejects.toBeInstanceOf(KeyringLockedError);
  });
});

describe('the desktop’s keyring', () => {
  test('does not touch the desktop’s keyring for a login that does not exist', async () => {
    const home = await temporaryHome();
    const { keyring, desktop } = sessionsIn(home);
    const { vault } = desktop();
    await expect(vault.token(servers.resource)).rejects.toMatchObject({ code: 'login-required' });
    await vault.logout(servers.resource);
    expect(keyring.calls).toEqual([]);
    await desktop().vault.login(servers.resource, { interaction: scripted });
    keyring.calls.length = 0;
    await expect(desktop().vault.token(servers.resource, { account: 'other' })).rejects.toMatchObject({
      code: 'login-required',
    });
    expect(keyring.calls).toEqual([]);
  });

  test('a vault reads the desktop’s keyring once for all tokens, and a first login writes it once', async () => {
    const { keyring, desktop } = sessionsIn(await temporaryHome());
    const { vault } = desktop();
    await vault.login(servers.resource, { interaction: scripted });
    await vault.login(servers.resource, { account: 'work', interaction: scripted });
    expect(keyring.calls.filter((call) => call.startsWith('set'))).toEqual(['set sealing-key']);
    keyring.calls.length = 0;
    const again = desktop().vault;
    for (let call = 0; call < 10; call += 1) {
      await again.token(servers.resource);
      await again.token(servers.resource, { account: 'work' });
      await again.list();
    }
    expect(keyring.calls).toEqual(['probe', 'get sealing-key']);
  });

  test('the desktop’s keyring holds no token, since the credential is in the store', async () => {
    const home = await temporaryHome();
    const { keyring, desktop, ssh } = sessionsIn(home);
    await ssh().vault.login(servers.resource, { interaction: scripted });
    await desktop().vault.login(servers.resource, { interaction: scripted });
    const item = Buffer.from((await keyring.get('sealing-key')) ?? []);
    expect(item).toHaveLength(43);
    const { tokens } = (await stored(home, servers.resource)).credential;
    expect(item.toString('latin1').includes(tokens.accessToken.reveal())).toBe(false);
  });
});
