import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ExportedLogin } from '../../src/transfer/types.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { change, loggedIn, scripted, stored, vaultAt } from '../support/homes/vault.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

describe('a login that is exported', () => {
  test('keeps the login when the delivery fails', async () => {
    const { home, vault, first } = await loggedIn(await temporaryHome(), servers.resource);
    const deliver = () => Promise.reject(new Error('The pipe is closed.'));
    await expect(vault.transfer.export(servers.resource, { mode: 'move', deliver })).rejects.toThrow(
      'The pipe',
    );
    const { credential } = await stored(home, servers.resource);
    expect(credential.generation).toBe(first.generation);
    expect(credential.loginRequired).toBeUndefined();
    expect((await vault.token(servers.resource)).token.equals(first.tokens.accessToken)).toBe(true);
  });

  test('keeps a login that was made during the export, and says so', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    const deliver = async () => {
      await vaultAt(home).vault.login(servers.resource, { interaction: scripted });
    };
    await expect(vault.transfer.export(servers.resource, { mode: 'move', deliver })).rejects.toMatchObject({
      code: 'storage-unwritable',
      message: expect.stringContaining('the new login stays here'),
    });
    expect((await stored(home, servers.resource)).credential.loginRequired).toBeUndefined();
  });

  test('says where the login went, does not revoke it on logout, and works once where it was imported', async () => {
    const { home, vault, first } = await loggedIn(await temporaryHome(), servers.resource);
    const given: ExportedLogin[] = [];
    const deliver = async (login: ExportedLogin) => void given.push(login);
    await vault.transfer.export(servers.resource, { mode: 'move', deliver });
    expect(given).toHaveLength(1);
    const [login] = given as [ExportedLogin];
    expect(login.canRefresh).toBe(true);
    expect(JSON.stringify(login)).not.toContain(first.tokens.accessToken.reveal());
    await expect(vault.transfer.export(servers.resource, { mode: 'move', deliver })).rejects.toMatchObject({
      code: 'login-required',
      message: expect.stringContaining('it was exported from this machine'),
    });
    expect(await vault.logout(servers.resource)).toMatchObject({ removed: 1, revocation: 'nothing' });

    const there = vaultAt(await temporaryHome()).vault;
    await there.transfer.importExported(login.json);
    expect((await there.token(servers.resource, { rejectedGeneration: 1 })).generation).toBe(2);
    await expect(there.transfer.importExported(login.json)).rejects.toMatchObject({
      code: 'invalid-argument',
    });
    expect(await stored(home, servers.resource).catch(() => undefined)).toBeUndefined();
  });

  test('refuses to export bound tokens and logins by client credentials', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    const deliver = () => Promise.reject(new Error('It was given away.'));
    await change(home, servers.resource, () => ({ grant: { type: 'client_credentials' } }));
    await expect(
      vaultAt(home).vault.transfer.export(servers.resource, { mode: 'move', deliver }),
    ).rejects.toMatchObject({
      code: 'invalid-argument',
      message: expect.stringContaining('client_credentials'),
    });
    await change(home, servers.resource, ({ tokens }) => ({
      grant: undefined,
      tokens: { ...tokens, tokenType: 'DPoP' },
    }));
    for (const mode of ['move', 'access-token'] as const) {
      const bound = vaultAt(home).vault.transfer.export(servers.resource, { mode, deliver });
      await expect(bound).rejects.toMatchObject({ message: expect.stringContaining('bound to a key') });
    }
    await vault.close();
  });
});
