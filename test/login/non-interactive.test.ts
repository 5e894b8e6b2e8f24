import { generateKeyPairSync } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { InvalidArgumentError, OAuthError } from '../../src/errors.ts';
import type { LoginOptions } from '../../src/login/types.ts';
import { Secret } from '../../src/secret.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { accepted, change, expire, fingerprint, scripted, stored, vaultAt } from '../support/homes/vault.ts';
import { secretsSeen } from '../support/leaks.ts';
import { start, TYPESCRIPT } from '../support/processes/process.ts';
import { countedSince } from '../support/servers/counted-since.ts';
import { json } from '../support/servers/hostile-server.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { useTokenEndpoint } from '../support/servers/token-endpoint.ts';

/* Client credentials at a real authorization server and a real MCP server, without a user. */

const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const PEM = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
const SECRET = 'a-secret:with%odd+signs /';
const ITSELF = { grant_types: ['client_credentials'], response_types: [], redirect_uris: [] };
const BY_SECRET: LoginOptions = {
  client: { id: 'robot', secret: new Secret(SECRET) },
  grant: { type: 'client_credentials' },
};
const BY_KEY: LoginOptions = {
  client: { id: 'robot-with-key', privateKey: new Secret(PEM), keyId: 'k1' },
  grant: { type: 'client_credentials' },
};

let servers: Servers;
beforeAll(async () => {
  const jwk = { ...publicKey.export({ format: 'jwk' }), alg: 'ES256', kid: 'k1', use: 'sig' };
  servers = await startServers({
    toolScopes: { delete: 'tools:delete' },
    scopesSupported: ['tools:call'],
    clients: [
      { client_id: 'robot', client_secret: SECRET, ...ITSELF },
      {
        client_id: 'robot-with-key',
        token_endpoint_auth_method: 'private_key_jwt',
        jwks: { keys: [jwk] },
        ...ITSELF,
      },
    ],
  });
});
afterAll(() => servers.stop());

const ONE_GRANT = { tokenRequests: 1, clientCredentialsGrants: 1 };

/** Makes a home that holds only a login of that client. */
async function loggedInBy(options: LoginOptions) {
  const home = await temporaryHome();
  const { vault, events } = vaultAt(home);
  const result = await vault.login(servers.resource, options);
  return { home, vault, events, result, first: (await stored(home, servers.resource)).credential };
}

describe('a login by client credentials', () => {
  test.each([
    ['a secret', BY_SECRET, 'client_secret_basic'],
    ['a private key', BY_KEY, 'private_key_jwt'],
  ])(
    'gets a token for the resource with %s, without a user or a registration',
    async (_what, options, method) => {
      const before = await servers.counters();
      const { vault, first, result } = await loggedInBy(options);
      const { token } = await vault.token(servers.resource);
      expect(await accepted(servers.resource, token)).toBe(true);
      expect(first).toMatchObject({
        resourceParameter: servers.resource,
        server: { issuer: servers.issuer },
        client: { clientId: options.client?.id, source: 'pre-registered', authMethod: method },
        grant: { type: 'client_credentials' },
        requestedScope: 'tools:call',
        grantedScope: 'tools:call',
      });
      expect(first.tokens.refreshToken).toBeUndefined();
      expect(result.credential).toMatchObject({
        canRefresh: true,
        grant: 'client_credentials',
        state: 'fresh',
      });
      expect(await countedSince(servers, before)).toEqual(ONE_GRANT);
      expect(await vault.logout(servers.resource)).toMatchObject({ removed: 1, revocation: 'revoked' });
      expect(await accepted(servers.resource, token)).toBe(false);
    },
  );

  test('replaces a user’s login without asking for its scopes again', async () => {
    const home = await temporaryHome();
    const { vault } = vaultAt(home);
    await vault.login(servers.resource, {
      interaction: scripted,
      challenge: 'Bearer scope="openid tools:delete"',
    });
    await vault.login(servers.resource, BY_SECRET);
    const { credential } = await stored(home, servers.resource);
    expect(credential).toMatchObject({ client: { clientId: 'robot' }, requestedScope: 'tools:call' });
    expect((await vault.list()).credentials).toHaveLength(1);
  });

  test('logs in again as the same client when none is named', async () => {
    const { vault } = await loggedInBy(BY_KEY);
    const again = await vault.login(servers.resource, { grant: { type: 'client_credentials' } });
    expect(again.credential).toMatchObject({ clientId: 'robot-with-key', state: 'fresh' });
  });

  test('binds its tokens to a key with dpop, after each refresh too', async () => {
    const { home, vault, first } = await loggedInBy({ ...BY_SECRET, dpop: true });
    expect(first.tokens.tokenType).toBe('DPoP');
    await expire(home, servers.resource);
    const { tokenType, proof, generation } = await vault.token(servers.resource);
    expect({ tokenType, generation }).toEqual({ tokenType: 'DPoP', generation: 2 });
    const { Authorization, DPoP } = await vault.headers(servers.resource, {
      request: { method: 'POST', url: servers.resource },
    });
    expect(proof).toBeDefined();
    const answer = await fetch(servers.resource, {
      method: 'POST',
      headers: {
        Authorization,
        ...(DPoP === undefined ? {} : { DPoP }),
        'content-type': 'application/json',
        accept: 'application/json, text/event-stream',
      },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'ping' }),
    });
    await answer.body?.cancel();
    expect(answer.status).not.toBe(401);
    const { credential } = await stored(home, servers.resource);
    expect(credential.dpopKey?.equals(first.dpopKey)).toBe(true);
  });
});

describe('the scopes of client credentials', () => {
  const challenge = 'Bearer error="insufficient_scope", scope="tools:delete"';

  test('asks for the chosen scopes, before all others', async () => {
    const { first } = await loggedInBy({ ...BY_SECRET, scopes: ['tools:delete'], challenge });
    expect(first).toMatchObject({ requestedScope: 'tools:delete', grantedScope: 'tools:delete' });
  });

  test('adds the scopes of the challenge to the earlier ones, and refreshes all of them', async () => {
    const { home, vault } = await loggedInBy(BY_SECRET);
    const { credential } = await vault.login(servers.resource, { ...BY_SECRET, challenge });
    expect(credential.scopes).toEqual(['tools:call', 'tools:delete']);
    await expire(home, servers.resource);
    await vault.token(servers.resource);
    const renewed = (await stored(home, servers.resource)).credential;
    expect(renewed).toMatchObject({ generation: 3, grantedScope: 'tools:call tools:delete' });
  });
});

describe('options that cannot succeed', () => {
  test.each([
    ['no client', { grant: { type: 'client_credentials' } }, /registered at the authorization server/],
    [
      'a client that has nothing to prove itself with',
      { client: { id: 'robot' }, grant: { type: 'client_credentials' } },
      /nothing to prove itself/,
    ],
    [
      'a method that the client lacks the secret for',
      { client: { id: 'robot', authMethod: 'client_secret_post' }, grant: { type: 'client_credentials' } },
      /needs a client secret/,
    ],
    [
      'a key that is none',
      { client: { id: 'robot', privateKey: new Secret('no key') }, grant: { type: 'client_credentials' } },
      /private key cannot be used/,
    ],
    ['what is no scope', { ...BY_SECRET, scopes: ['two words'] }, /not a scope/],
  ] as [string, LoginOptions, RegExp][])(
    'refuses %s before any token request',
    async (_what, options, message) => {
      const before = await servers.counters();
      const { vault } = vaultAt(await temporaryHome());
      const login = vault.login(servers.resource, options);
      await expect(login).rejects.toThrow(InvalidArgumentError);
      await expect(login).rejects.toThrow(message);
      expect(await countedSince(servers, before)).toEqual({});
      expect((await vault.list()).credentials).toEqual([]);
    },
  );

  test('refuses a registration of our own, which has no rights of its own', async () => {
    const { vault } = vaultAt(await temporaryHome());
    await vault.login(servers.resource, { interaction: scripted });
    await expect(vault.login(servers.resource, { grant: { type: 'client_credentials' } })).rejects.toThrow(
      InvalidArgumentError,
    );
  });
});

describe('a refusal by the server', () => {
  test('says what to check when the server refuses the client, shows no secret, and stores nothing', async () => {
    const { vault } = vaultAt(await temporaryHome());
    const wrong = 'the-wrong-secret';
    const login = vault.login(servers.resource, {
      ...BY_SECRET,
      client: { id: 'robot', secret: new Secret(wrong) },
    });
    const error: unknown = await login.catch((failure: unknown) => failure);
    expect(error).toBeInstanceOf(OAuthError);
    expect(error).toMatchObject({ error: 'invalid_client' });
    expect((error as OAuthError).hint).toMatch(/client id "robot".*secret.*client_secret_basic/);
    expect(secretsSeen(error, [wrong])).toBe(0);
    expect((await vault.list()).credentials).toEqual([]);
  });

  test.each([
    ['invalid_client', /client id "robot".*secret/],
    ['unauthorized_client', /Ask who runs .* the client "robot"/],
    ['unsupported_grant_type', /Ask who runs .* the client "robot"/],
    ['invalid_scope', /scopes that the client "robot" may have/],
    ['invalid_target', /^$/],
  ])('passes the refusal %s on after one request, with a hint', async (error, hint) => {
    const { home, vault } = await loggedInBy(BY_SECRET);
    const endpoint = await useTokenEndpoint(home, servers.resource, json({ error }, 400));
    await expire(home, servers.resource);
    const failure: unknown = await vault.token(servers.resource).catch((thrown: unknown) => thrown);
    expect(failure).toBeInstanceOf(OAuthError);
    expect(failure).toMatchObject({ error });
    expect((failure as OAuthError).hint ?? '').toMatch(hint);
    expect(endpoint.requests).toEqual(['POST /token']);
    expect((await stored(home, servers.resource)).credential.loginRequired).toBeUndefined();
  });

  test('keeps a login whose client secret is refused, and refreshes it with the right one', async () => {
    const { home, vault, first } = await loggedInBy(BY_SECRET);
    await change(home, servers.resource, ({ client }) => ({
      client: { ...client, clientSecret: new Secret('rotated at the server') },
    }));
    await expire(home, servers.resource);
    const before = await servers.counters();
    await expect(vault.token(servers.resource)).rejects.toMatchObject({ error: 'invalid_client' });
    expect(await countedSince(servers, before)).toEqual({ tokenRequests: 1, tokenErrors: 1 });
    const { credential } = await stored(home, servers.resource);
    expect(credential.loginRequired).toBeUndefined();
    expect(credential.tokens.accessToken.equals(first.tokens.accessToken)).toBe(true);
    await change(home, servers.resource, ({ client }) => ({
      client: { ...client, clientSecret: first.client.clientSecret },
    }));
    expect(await vault.token(servers.resource)).toMatchObject({ generation: 2 });
  });
});

describe('an expired token', () => {
  test.each([
    ['a secret', BY_SECRET],
    ['a private key', BY_KEY],
  ])('refreshes once for twenty callers, by %s', async (_what, options) => {
    const { home, vault } = await loggedInBy(options);
    await expire(home, servers.resource);
    const before = await servers.counters();
    const tokens = await Promise.all(Array.from({ length: 20 }, () => vault.token(servers.resource)));
    expect(new Set(tokens.map(({ token }) => fingerprint(token))).size).toBe(1);
    expect(tokens.every(({ generation }) => generation === 2)).toBe(true);
    expect(await accepted(servers.resource, tokens[0]!.token)).toBe(true);
    expect(await countedSince(servers, before)).toEqual(ONE_GRANT);
  });

  test('refreshes once for two processes, which get the same token', async () => {
    const { home } = await loggedInBy(BY_KEY);
    await expire(home, servers.resource);
    await servers.behave({ delayMs: 300 });
    const before = await servers.counters();
    const go = join(home.path, '..', 'go');
    const script = fileURLToPath(new URL('../support/processes/token-process.ts', import.meta.url));
    const processes = Array.from({ length: 2 }, () =>
      start(process.execPath, [...TYPESCRIPT, script, servers.resource, go], { HOLDFAST_HOME: home.path }),
    );
    await Promise.all(processes.map((one) => one.says('ready')));
    await writeFile(go, '');
    const answers = await Promise.all(processes.map(({ ended }) => ended));
    await servers.behave({});
    const { tokens } = (await stored(home, servers.resource)).credential;
    const expected = { generation: 2, fingerprint: fingerprint(tokens.accessToken) };
    expect(answers.map(({ out }) => JSON.parse(out))).toEqual([expected, expected]);
    expect(await countedSince(servers, before)).toEqual(ONE_GRANT);
  });

  test('refreshes a token that the MCP server rejected', async () => {
    const { vault } = await loggedInBy(BY_SECRET);
    const { generation } = await vault.token(servers.resource);
    const newer = await vault.token(servers.resource, { rejectedGeneration: generation });
    expect(newer.generation).toBe(generation + 1);
    expect(await accepted(servers.resource, newer.token)).toBe(true);
  });

  test('asks for a token again after the server failed', async () => {
    const { home, vault } = await loggedInBy(BY_SECRET);
    await expire(home, servers.resource);
    await servers.behave({ token: '500', times: 1 });
    const before = await servers.counters();
    expect(await vault.token(servers.resource)).toMatchObject({ generation: 2 });
    expect(await countedSince(servers, before)).toEqual({ tokenRequests: 2, clientCredentialsGrants: 1 });
  });
});
