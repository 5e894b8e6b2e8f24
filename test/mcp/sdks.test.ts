import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { LoginRequiredError, TokenRenewedError } from '../../src/errors.ts';
import { authProvider, oauthClientProvider } from '../../src/mcp/index.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { expire, loggedIn, vaultAt } from '../support/homes/vault.ts';
import { countedSince } from '../support/servers/counted-since.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { countingBrowser, later, loseTokens, spoilAccessToken } from './calls.ts';
import { ALONE, MINIMAL, WHOLE } from './clients.ts';

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

const ONE_REFRESH = { tokenRequests: 1, refreshGrants: 1 };

/** Returns the error that Holdfast threw, out of any errors that the SDK wrapped around it. */
async function failure(of: Promise<unknown>): Promise<Error> {
  let error: unknown = await of.then(
    () => new Error('It did not fail.'),
    (thrown: unknown) => thrown,
  );
  while (error instanceof Error && !('code' in error && 'hint' in error) && error.cause !== undefined)
    error = error.cause;
  return error as Error;
}

describe.each(Object.entries({ ...WHOLE, ...MINIMAL, ...ALONE }))('%s', (_name, connect) => {
  test('calls a tool with the login', async () => {
    const { vault } = await loggedIn(await temporaryHome(), servers.resource);
    const before = await servers.counters();
    const client = await connect(vault, servers.resource);
    expect(await client.call()).toContain('You are alice.');
    await client.close();
    expect(await countedSince(servers, before)).toEqual({});
  });

  test('refreshes an expired token once for twenty calls at a time', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    const client = await connect(vault, servers.resource);
    await expire(home, servers.resource);
    later();
    const before = await servers.counters();
    const all = await Promise.all(Array.from({ length: 20 }, () => client.call()));
    for (const one of all) expect(one).toContain('You are alice.');
    await client.close();
    expect(await countedSince(servers, before)).toEqual(ONE_REFRESH);
  });

  test('fails with a typed error and the command to run when there is no login', async () => {
    const { vault } = vaultAt(await temporaryHome());
    const error = await failure(connect(vault, servers.resource));
    expect(error).toBeInstanceOf(LoginRequiredError);
    expect((error as LoginRequiredError).hint).toBe(`Log in: holdfast login ${servers.resource}`);
  });
});

describe.each(Object.entries({ ...WHOLE, ...MINIMAL }))('%s', (_name, connect) => {
  test('refreshes a rejected token once for twenty calls at a time, and loses none of them', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    const client = await connect(vault, servers.resource);
    await spoilAccessToken(home, servers.resource);
    later();
    const before = await servers.counters();
    const all = await Promise.all(Array.from({ length: 20 }, () => client.call()));
    for (const one of all) expect(one).toContain('You are alice.');
    await client.close();
    expect(await countedSince(servers, before)).toEqual(ONE_REFRESH);
  });

  test('logs in once when the caller supplies an interaction', async () => {
    const { vault } = vaultAt(await temporaryHome());
    const interaction = countingBrowser();
    const client = await connect(vault, servers.resource, { interaction });
    expect(await client.call()).toContain('You are alice.');
    await client.close();
    expect(interaction.opened).toBe(1);
  });

  test('fails with a typed error when the login has ended', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    const client = await connect(vault, servers.resource);
    await loseTokens(home, servers.resource);
    later();
    const error = await failure(client.call());
    expect(error).toBeInstanceOf(LoginRequiredError);
    expect((error as LoginRequiredError).hint).toBe(`Log in again: holdfast login ${servers.resource}`);
    await client.close();
  });
});

describe.each(Object.entries(ALONE))('%s', (_name, connect) => {
  test('refreshes a rejected token, and says that the call can be repeated', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    const client = await connect(vault, servers.resource);
    await spoilAccessToken(home, servers.resource);
    later();
    const before = await servers.counters();
    const error = await failure(client.call());
    expect(error).toBeInstanceOf(TokenRenewedError);
    expect((error as TokenRenewedError).retryable).toBe(true);
    expect(await client.call()).toContain('You are alice.');
    await client.close();
    expect(await countedSince(servers, before)).toEqual(ONE_REFRESH);
  });

  test('logs in automatically when the caller supplies an interaction', async () => {
    const { vault } = vaultAt(await temporaryHome());
    const interaction = countingBrowser();
    const error = await failure(connect(vault, servers.resource, { interaction }));
    expect(error).toBeInstanceOf(TokenRenewedError);
    const client = await connect(vault, servers.resource);
    expect(await client.call()).toContain('You are alice.');
    await client.close();
    expect(interaction.opened).toBe(1);
  });
});

describe('oauthClientProvider', () => {
  test('returns only the access token with its remaining lifetime, its scopes and its issuer', async () => {
    const { vault, first } = await loggedIn(await temporaryHome(), servers.resource);
    const provider = oauthClientProvider(vault, servers.resource);
    const tokens = await provider.tokens();
    expect(tokens).toEqual({
      access_token: first.tokens.accessToken.reveal(),
      token_type: 'Bearer',
      expires_in: expect.any(Number),
      scope: first.grantedScope,
      issuer: servers.issuer,
    });
    expect(tokens?.expires_in).toBeLessThanOrEqual(3600);
    expect(tokens?.expires_in).toBeGreaterThan(3000);
  });

  test('refreshes once, by the vault, what the SDK calls invalid', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    const provider = oauthClientProvider(vault, servers.resource);
    const held = await provider.tokens();
    const before = await servers.counters();
    await provider.invalidateCredentials('tokens');
    const [renewed] = await Promise.all([provider.tokens(), provider.tokens()]);
    expect(renewed?.access_token).not.toBe(held?.access_token);
    expect((await provider.tokens())?.access_token).toBe(renewed?.access_token);
    expect(await countedSince(servers, before)).toEqual(ONE_REFRESH);
    expect((await vaultAt(home).vault.token(servers.resource)).token.reveal()).toBe(renewed?.access_token);
  });

  test('keeps tokens that another process has refreshed meanwhile', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    const provider = oauthClientProvider(vault, servers.resource);
    const held = await provider.tokens();
    if (held === undefined) throw new Error('There is no token.');
    const { token } = await vaultAt(home).vault.token(servers.resource, { rejectedGeneration: 1 });
    const before = await servers.counters();
    await provider.invalidateCredentials('tokens', { tokens: held });
    await provider.invalidateCredentials('all');
    await provider.invalidateCredentials('client');
    // The vault looks every half second for changes of other processes.
    await expect
      .poll(async () => (await provider.tokens())?.access_token, { timeout: 10_000 })
      .toBe(token.reveal());
    expect(await countedSince(servers, before)).toEqual({});
  });

  test('refuses to let the SDK log in by its own means', async () => {
    const { vault } = vaultAt(await temporaryHome());
    const provider = oauthClientProvider(vault, servers.resource);
    for (const member of [
      'redirectToAuthorization',
      'saveTokens',
      'codeVerifier',
      'discoveryState',
    ] as const) {
      await expect(provider[member]()).rejects.toBeInstanceOf(LoginRequiredError);
    }
  });

  test('requires a login when a refreshed token is rejected as well', async () => {
    const { vault } = await loggedIn(await temporaryHome(), servers.resource);
    const provider = oauthClientProvider(vault, servers.resource);
    await provider.tokens();
    await expect(provider.discoveryState()).rejects.toBeInstanceOf(TokenRenewedError);
    await provider.tokens();
    await expect(provider.discoveryState()).rejects.toBeInstanceOf(LoginRequiredError);
  });
});

test('returns no token from authProvider when it can log in on demand', async () => {
  const { vault } = vaultAt(await temporaryHome());
  expect(
    await authProvider(vault, servers.resource, { interaction: countingBrowser() }).token(),
  ).toBeUndefined();
});
