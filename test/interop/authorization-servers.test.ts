import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { refreshTokens } from '../../src/oauth/tokens/token.ts';
import { browse } from '../support/browser/scripted-browser.mjs';
import { temporaryHome } from '../support/homes/home.ts';
import { accepted, expire, loggedIn, scripted, stored, vaultAt } from '../support/homes/vault.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { toolCallBy } from '../support/tool-call.ts';

/* The whole life of a login at two real authorization servers that share no code. */

describe.each(['oidc-provider', 'better-auth'] as const)('at %s', (authorizationServer) => {
  let servers: Servers;
  beforeAll(async () => {
    servers = await startServers({ authorizationServer });
  });
  afterAll(() => servers.stop());

  test('gets a token that the MCP server accepts for the user who logged in', async () => {
    const before = await servers.counters();
    const { vault, first } = await loggedIn(await temporaryHome(), servers.resource);
    expect(await toolCallBy(vault, servers.resource)).toMatchObject({
      status: 200,
      text: expect.stringContaining('You are '),
    });
    expect(first).toMatchObject({
      server: { issuer: servers.issuer },
      client: { source: 'dynamic', authMethod: 'none' },
    });
    expect(first.tokens.refreshToken).toBeDefined();
    expect(first.grantedScope?.split(' ')).toContain('tools:call');
    const after = await servers.counters();
    expect(after.registrations).toBe(before.registrations + 1);
    expect(after.codeGrants).toBe(before.codeGrants + 1);
  });

  test('reports a login that the user refuses as denied', async () => {
    const { vault } = vaultAt(await temporaryHome());
    const login = vault.login(servers.resource, {
      interaction: { authorize: async (url) => void (await browse(url, { deny: true })) },
    });
    await expect(login).rejects.toMatchObject({ code: 'login-denied' });
  });

  test('keeps two users at one server as two accounts', async () => {
    const home = await temporaryHome();
    const { vault } = vaultAt(home);
    for (const user of ['alice', 'bob']) {
      await vault.login(servers.resource, {
        account: user,
        interaction: { authorize: async (url) => void (await browse(url, { user })) },
      });
    }
    const said = async (account: string) => (await toolCallBy(vault, servers.resource, { account })).text;
    const [alice, bob, aliceAgain] = [await said('alice'), await said('bob'), await said('alice')];
    expect(alice).toContain('You are ');
    expect(bob).toContain('You are ');
    expect(alice).not.toBe(bob);
    expect(aliceAgain).toBe(alice);
  });

  test('rotates the refresh token, and the new access token is accepted', async () => {
    const { home, vault, first } = await loggedIn(await temporaryHome(), servers.resource);
    await expire(home, servers.resource);
    const before = await servers.counters();
    const { token, generation } = await vault.token(servers.resource);
    expect(generation).toBe(2);
    expect(token.equals(first.tokens.accessToken)).toBe(false);
    expect(await accepted(servers.resource, token)).toBe(true);
    const { tokens } = (await stored(home, servers.resource)).credential;
    expect(tokens.refreshToken?.equals(first.tokens.refreshToken)).toBe(false);
    expect((await servers.counters()).refreshGrants).toBe(before.refreshGrants + 1);
  });

  test('ends the login when an old refresh token is used again', async () => {
    const { home, vault, first } = await loggedIn(await temporaryHome(), servers.resource);
    await expire(home, servers.resource);
    await vault.token(servers.resource);
    const { server, client, resourceParameter } = first;
    await expect(
      refreshTokens(server, client, { refreshToken: first.tokens.refreshToken!, resourceParameter }),
    ).rejects.toMatchObject({ error: 'invalid_grant' });
    await expire(home, servers.resource);
    await expect(vaultAt(home).vault.token(servers.resource)).rejects.toMatchObject({
      code: 'login-required',
    });
  });

  test('revokes the login at the server on logout', async () => {
    const { vault, first } = await loggedIn(await temporaryHome(), servers.resource);
    const before = await servers.counters();
    expect(await vault.logout(servers.resource)).toMatchObject({ removed: 1, revocation: 'revoked' });
    expect((await servers.counters()).revocations).toBeGreaterThan(before.revocations);
    const { server, client, resourceParameter } = first;
    await expect(
      refreshTokens(server, client, { refreshToken: first.tokens.refreshToken!, resourceParameter }),
    ).rejects.toMatchObject({ error: 'invalid_grant' });
  });

  test('asks for a new login when the server ended the old one, and reuses the registration', async () => {
    const { home, vault, first } = await loggedIn(await temporaryHome(), servers.resource);
    await servers.revokeGrants();
    await expire(home, servers.resource);
    await expect(vault.token(servers.resource)).rejects.toMatchObject({ code: 'login-required' });
    const before = await servers.counters();
    await vault.login(servers.resource, { interaction: scripted });
    expect((await servers.counters()).registrations).toBe(before.registrations);
    const { client } = (await stored(home, servers.resource)).credential;
    expect(client.clientId).toBe(first.client.clientId);
    expect(await accepted(servers.resource, (await vault.token(servers.resource)).token)).toBe(true);
  });
});
