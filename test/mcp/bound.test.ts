import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { InvalidArgumentError } from '../../src/errors.ts';
import { authorizedFetch } from '../../src/mcp/index.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { expire, loggedIn, stored, vaultAt } from '../support/homes/vault.ts';
import { countedSince } from '../support/servers/counted-since.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { countingBrowser, later, whoami } from './calls.ts';
import { ALONE, MINIMAL, WHOLE } from './clients.ts';

/* DPoP-bound tokens (RFC 9449) at servers that demand their own nonce in each proof. */

let servers: Servers;
beforeAll(async () => {
  servers = await startServers({ dpop: true, dpopNonce: true });
});
afterAll(() => servers.stop());

describe.each(Object.entries(WHOLE))('%s', (_name, connect) => {
  test('calls a tool with a bound token, before and after it is refreshed', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    expect((await stored(home, servers.resource)).credential.tokens.tokenType).toBe('DPoP');
    const client = await connect(vault, servers.resource);
    expect(await client.call()).toContain('You are alice.');
    await expire(home, servers.resource);
    later();
    const before = await servers.counters();
    expect(await client.call()).toContain('You are alice.');
    await client.close();
    expect(await countedSince(servers, before)).toEqual({ tokenRequests: 1, refreshGrants: 1 });
  });
});

describe.each(Object.entries({ ...MINIMAL, ...ALONE }))('%s', (_name, connect) => {
  test('says what is missing when the SDK would send a bound token without its proof', async () => {
    const { vault } = await loggedIn(await temporaryHome(), servers.resource);
    const before = await servers.counters();
    const error = await connect(vault, servers.resource).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(InvalidArgumentError);
    expect((error as InvalidArgumentError).hint).toContain('fetch: provider.fetch');
    expect(await countedSince(servers, before)).toEqual({});
  });
});

test('makes a bound login when the server demands it', async () => {
  const { vault } = vaultAt(await temporaryHome());
  const send = authorizedFetch(vault, servers.resource, { interaction: countingBrowser() });
  expect(await (await send(servers.resource, whoami())).text()).toContain('You are alice.');
});

test('asks for a nonce once, and again only when the server demands another', async () => {
  const { vault } = await loggedIn(await temporaryHome(), servers.resource);
  await servers.renewNonce();
  const send = authorizedFetch(vault, servers.resource);
  const refused = async () => (await servers.resourceCounters()).refused;
  const before = await refused();
  for (let times = 0; times < 3; times += 1)
    expect((await send(servers.resource, whoami())).status).toBe(200);
  expect(await refused()).toBe(before + 1);
  await servers.renewNonce();
  expect((await send(servers.resource, whoami())).status).toBe(200);
  expect(await refused()).toBe(before + 2);
});

test('sends a new proof with each request', async () => {
  const { vault } = await loggedIn(await temporaryHome(), servers.resource);
  const proofs = new Set<string>();
  const own: typeof fetch = (input, init) => {
    proofs.add(new Headers(init?.headers).get('dpop') ?? '');
    return fetch(input, init);
  };
  const send = authorizedFetch(vault, servers.resource, { fetch: own });
  for (let times = 0; times < 3; times += 1) await send(servers.resource, whoami());
  expect(proofs.size).toBeGreaterThanOrEqual(3);
});
