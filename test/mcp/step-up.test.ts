import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { InsufficientScopeError } from '../../src/errors.ts';
import { authorizedFetch } from '../../src/mcp/index.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { loggedIn, stored } from '../support/homes/vault.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { call, countingBrowser } from './calls.ts';
import { WHOLE } from './clients.ts';

/* A server whose tool needs a scope that a first login does not ask for (RFC 6750 section 3.1). */

let servers: Servers;
beforeAll(async () => {
  servers = await startServers({ toolScopes: { erase: 'tools:erase' }, scopesSupported: ['tools:call'] });
});
afterAll(() => servers.stop());

describe.each(Object.entries(WHOLE))('%s', (_name, connect) => {
  test('logs in once for the scope that a tool needs, and keeps the earlier scopes', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    const interaction = countingBrowser();
    const client = await connect(vault, servers.resource, { interaction });
    expect(await client.call('erase')).toContain('Done: erase.');
    expect(await client.call()).toContain('You are alice.');
    await client.close();
    expect(interaction.opened).toBe(1);
    const { requestedScope } = (await stored(home, servers.resource)).credential;
    expect(requestedScope?.split(' ')).toEqual(expect.arrayContaining(['tools:call', 'tools:erase']));
  });

  test('fails a call that needs a scope when it cannot ask, and other calls still work', async () => {
    const { vault } = await loggedIn(await temporaryHome(), servers.resource);
    const client = await connect(vault, servers.resource);
    await expect(client.call('erase')).rejects.toThrow();
    expect(await client.call()).toContain('You are alice.');
    await client.close();
  });
});

test('names the scope and the command that asks for all scopes in the error', async () => {
  const { vault } = await loggedIn(await temporaryHome(), servers.resource);
  const send = authorizedFetch(vault, servers.resource, { onInsufficientScope: 'throw' });
  const error = await send(servers.resource, call('tools/call', { name: 'erase', arguments: {} })).catch(
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(InsufficientScopeError);
  expect((error as InsufficientScopeError).hint).toMatch(
    /^Log in for them: holdfast login \S+ --scope 'tools:call .*\btools:erase'$/,
  );
});
