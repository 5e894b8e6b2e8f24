import { describe, expect, onTestFinished, test } from 'vitest';
import { defined } from '../../src/values/defined.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { expire, loggedIn, scripted, stored, vaultAt } from '../support/homes/vault.ts';
import { type ServerOptions, startServers } from '../support/servers/servers.ts';
import { toolCall, toolCallBy } from '../support/tool-call.ts';

/* DPoP-bound tokens, and logins that gain a scope. */

async function serversWith(options: ServerOptions) {
  const servers = await startServers(options);
  onTestFinished(() => servers.stop());
  return servers;
}

/** Calls a tool, and once more with the nonce that the MCP server demands (RFC 9449 section 9). */
async function withNonce(...[vault, resource]: Parameters<typeof toolCallBy>) {
  const first = await toolCallBy(vault, resource);
  if (first.status !== 401) return first;
  expect(first.challenge).toContain('use_dpop_nonce');
  return toolCallBy(vault, resource, { nonce: first.nonce });
}

describe('DPoP-bound tokens (RFC 9449)', () => {
  test.each([
    ['where the MCP server demands it, unasked', { dpop: true }, {}],
    ['where the user asks for it', {}, { dpop: true }],
    ['where both servers ask for nonces', { dpop: true, dpopNonce: true }, {}],
    ['by better-auth', { dpop: true, authorizationServer: 'better-auth' }, {}],
  ] as const)(
    'uses bound tokens %s, after a refresh and in another process too',
    async (_where, options, asked) => {
      const servers = await serversWith(options);
      const home = await temporaryHome();
      const { vault } = vaultAt(home);
      await vault.login(servers.resource, { interaction: scripted, ...asked });
      expect((await vault.token(servers.resource)).tokenType).toBe('DPoP');
      expect((await withNonce(vault, servers.resource)).status).toBe(200);
      await expire(home, servers.resource);
      const other = vaultAt(home).vault;
      expect((await withNonce(other, servers.resource)).status).toBe(200);
      expect((await stored(home, servers.resource)).credential.generation).toBe(2);
      expect(await servers.counters()).toMatchObject({ refreshGrants: 1 });
    },
  );

  test('refuses a bound token without its proof, and a proof that was used', async () => {
    const servers = await serversWith({ dpop: true });
    const { vault } = await loggedIn(await temporaryHome(), servers.resource);
    const { token } = await vault.token(servers.resource);
    const bearer = { authorization: `Bearer ${token.reveal()}` };
    expect((await toolCall(servers.resource, bearer)).status).toBe(401);
    for (const other of [
      { method: 'GET', url: servers.resource },
      { method: 'POST', url: `${servers.resource}/1` },
    ]) {
      const wrong = { ...(await vault.headers(servers.resource, { request: other })) };
      expect((await toolCall(servers.resource, wrong)).status).toBe(401);
    }
    const request = { method: 'POST', url: servers.resource };
    const headers = { ...(await vault.headers(servers.resource, { request })) };
    expect((await toolCall(servers.resource, headers)).status).toBe(200);
    expect(await toolCall(servers.resource, headers)).toMatchObject({
      status: 401,
      challenge: expect.stringContaining('invalid_dpop_proof'),
    });
  });

  test('needs one more request when the MCP server renews its nonce', async () => {
    const servers = await serversWith({ dpop: true, dpopNonce: true });
    const { vault } = await loggedIn(await temporaryHome(), servers.resource);
    const { nonce } = await toolCallBy(vault, servers.resource);
    expect((await toolCallBy(vault, servers.resource, { nonce })).status).toBe(200);
    await servers.renewNonce();
    const again = await toolCallBy(vault, servers.resource, { nonce });
    expect(again).toMatchObject({ status: 401, challenge: expect.stringContaining('use_dpop_nonce') });
    expect((await toolCallBy(vault, servers.resource, { nonce: again.nonce })).status).toBe(200);
  });
});

describe('a step-up', () => {
  test.each(['oidc-provider', 'better-auth'] as const)(
    'adds the scope that the server demands, and keeps the others, at %s',
    async (authorizationServer) => {
      const servers = await serversWith({ authorizationServer, toolScopes: { write: 'tools:write' } });
      const { home, vault, first } = await loggedIn(await temporaryHome(), servers.resource);
      expect(first.grantedScope?.split(' ')).not.toContain('tools:write');
      const { status, challenge } = await toolCallBy(vault, servers.resource, { tool: 'write' });
      expect(status).toBe(403);
      expect(challenge).toContain('insufficient_scope');
      await vault.login(servers.resource, defined({ challenge, interaction: scripted }));
      const { credential } = await stored(home, servers.resource);
      expect(credential.requestedScope?.split(' ')).toEqual(
        expect.arrayContaining(['tools:call', 'tools:write']),
      );
      expect((await toolCallBy(vault, servers.resource, { tool: 'write' })).status).toBe(200);
      expect((await toolCallBy(vault, servers.resource)).status).toBe(200);
      expect(await servers.resourceCounters()).toMatchObject({ calls: 2, stepUps: 1 });
    },
  );
});
