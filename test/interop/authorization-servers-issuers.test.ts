import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { temporaryHome } from '../support/homes/home.ts';
import { expire, loggedIn, scripted, stored, vaultAt } from '../support/homes/vault.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { toolCallBy } from '../support/tool-call.ts';

/* Metadata of a real authorization server and its locations; several servers; one server that replaces another. */

async function ownServers() {
  const servers = await startServers();
  onTestFinished(() => servers.stop());
  return servers;
}

describe('an issuer with a path', () => {
  let servers: Servers;
  beforeAll(async () => {
    servers = await startServers({ issuerPath: '/tenant1' });
  });
  afterAll(() => servers.stop());

  test.each(['oauth', 'openid', 'openid-appended'] as const)(
    'finds an issuer with a path by its %s metadata, and serves a whole login',
    async (publishedAt) => {
      await servers.publish({ publishedAt });
      const { home, vault, first } = await loggedIn(await temporaryHome(), servers.resource);
      expect(first.server).toMatchObject({
        issuer: servers.issuer,
        tokenEndpoint: `${servers.issuer}/token`,
        revocationEndpoint: `${servers.issuer}/token/revocation`,
      });
      await expire(home, servers.resource);
      expect((await toolCallBy(vault, servers.resource)).status).toBe(200);
      expect(await vault.logout(servers.resource)).toMatchObject({ revocation: 'revoked' });
    },
  );
});

describe('the metadata of an authorization server', () => {
  let servers: Servers;
  beforeAll(async () => {
    servers = await startServers();
  });
  afterAll(() => servers.stop());

  test.each(['unsupported', 'unannounced'] as const)(
    'accepts a server whose iss parameter (RFC 9207) is %s',
    async (issParameter) => {
      await servers.publish({ issParameter });
      const { vault } = await loggedIn(await temporaryHome(), servers.resource);
      expect((await toolCallBy(vault, servers.resource)).status).toBe(200);
    },
  );

  test.each(['broken', 'foreign'] as const)(
    'sends no code when the iss parameter is %s',
    async (issParameter) => {
      await servers.publish({ issParameter });
      const before = await servers.counters();
      const { vault } = vaultAt(await temporaryHome());
      await expect(vault.login(servers.resource, { interaction: scripted })).rejects.toMatchObject({
        code: 'callback-rejected',
      });
      expect((await servers.counters()).tokenRequests).toBe(before.tokenRequests);
    },
  );

  test('refuses a server without PKCE metadata before it registers', async () => {
    await servers.publish({ publishes: { code_challenge_methods_supported: null } });
    const before = await servers.counters();
    const { vault } = vaultAt(await temporaryHome());
    await expect(vault.login(servers.resource, { interaction: scripted })).rejects.toMatchObject({
      code: 'server-unsupported',
    });
    expect((await servers.counters()).registrations).toBe(before.registrations);
  });

  test('accepts a server without PKCE metadata when the user allows it, and still uses PKCE', async () => {
    await servers.publish({ publishes: { code_challenge_methods_supported: null } });
    const { vault } = vaultAt(await temporaryHome());
    // oidc-provider refuses a request without a code challenge.
    await vault.login(servers.resource, { interaction: scripted, lenient: { pkceNotAdvertised: true } });
    expect((await toolCallBy(vault, servers.resource)).status).toBe(200);
  });

  test('refuses metadata that names another issuer', async () => {
    await servers.publish({ publishes: { issuer: 'https://another-issuer.example' } });
    const { vault } = vaultAt(await temporaryHome());
    await expect(vault.login(servers.resource, { interaction: scripted })).rejects.toMatchObject({
      code: 'issuer-mismatch',
    });
  });
});

describe('several authorization servers', () => {
  test('logs in at the first authorization server, and at the next when the first is gone', async () => {
    const servers = await ownServers();
    const second = await servers.another();
    await servers.name([second, servers]);
    const one = await loggedIn(await temporaryHome(), servers.resource);
    expect(one.first.server.issuer).toBe(second.issuer);
    await second.stop();
    const other = await loggedIn(await temporaryHome(), servers.resource);
    expect(other.first.server.issuer).toBe(servers.issuer);
    expect((await toolCallBy(other.vault, servers.resource)).status).toBe(200);
  });

  test('logs in at a second authorization server of another make', async () => {
    const servers = await ownServers();
    const second = await servers.another({ authorizationServer: 'better-auth' });
    await servers.name([second]);
    const { vault, first } = await loggedIn(await temporaryHome(), servers.resource);
    expect(first.server.issuer).toBe(second.issuer);
    expect((await toolCallBy(vault, servers.resource)).status).toBe(200);
  });
});

describe('another authorization server under a stored login', () => {
  test('sends a new authorization server neither the client nor the tokens of the old one', async () => {
    const servers = await ownServers();
    const { home, vault, first } = await loggedIn(await temporaryHome(), servers.resource);
    const second = await servers.another();
    await servers.name([second]);
    // The old server issued the token, and the MCP server no longer accepts it.
    expect((await toolCallBy(vault, servers.resource)).status).toBe(401);
    expect(await second.counters()).toMatchObject({ registrations: 0, tokenRequests: 0 });

    await vault.login(servers.resource, { interaction: scripted });
    const { credential } = await stored(home, servers.resource);
    expect(credential.server.issuer).toBe(second.issuer);
    expect(credential.client.clientId).not.toBe(first.client.clientId);
    expect(await second.counters()).toMatchObject({ registrations: 1, codeGrants: 1 });
    expect((await toolCallBy(vault, servers.resource)).status).toBe(200);
    expect(await servers.counters()).toMatchObject({ registrations: 1, codeGrants: 1, refreshGrants: 0 });
  });

  test('refreshes at the server that issued the token, until there is a new login', async () => {
    const servers = await ownServers();
    const { home } = await loggedIn(await temporaryHome(), servers.resource);
    const second = await servers.another();
    await servers.name([second]);
    await expire(home, servers.resource);
    await vaultAt(home).vault.token(servers.resource);
    expect(await servers.counters()).toMatchObject({ refreshGrants: 1 });
    expect(await second.counters()).toMatchObject({ tokenRequests: 0 });
  });
});
