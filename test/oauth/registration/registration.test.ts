import { inspect } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type HoldfastError,
  InvalidResponseError,
  NetworkError,
  OAuthError,
  ResponseTooLargeError,
  ServerUnsupportedError,
  UnsafeUrlError,
} from '../../../src/errors.ts';
import { discover } from '../../../src/oauth/discovery/discovery.ts';
import type { ServerMetadata } from '../../../src/oauth/discovery/server-metadata.ts';
import { registerClient } from '../../../src/oauth/registration/registration.ts';
import { answer, type Handler, hostileServer, json, stream } from '../../support/servers/hostile-server.ts';
import { metadataOf } from '../../support/servers/metadata.ts';
import { type Servers, startServers } from '../../support/servers/servers.ts';

const REDIRECT = 'http://127.0.0.1:43210/callback';
const SECRET = 'the-client-secret';

function metadata(origin: string, changes: Partial<ServerMetadata> = {}): ServerMetadata {
  return metadataOf(origin, {
    registrationEndpoint: `${origin}/register`,
    tokenEndpointAuthMethods: ['client_secret_basic', 'client_secret_post', 'none'],
    ...changes,
  });
}

/** Registers at a server that answers with the handler. */
async function register(handler: Handler, changes: Partial<ServerMetadata> = {}, options = {}) {
  const server = await hostileServer({ '/register': handler });
  const client = await registerClient(metadata(server.origin, changes), REDIRECT, options);
  return { client, request: JSON.parse(server.log[0]?.body ?? '') as unknown, server };
}

async function failure(handler: Handler, changes: Partial<ServerMetadata> = {}): Promise<HoldfastError> {
  try {
    await register(handler, changes);
  } catch (error) {
    const found = error as HoldfastError;
    expect(inspect(found).includes(SECRET)).toBe(false);
    expect(found.message).not.toMatch(/\p{Cc}/u);
    expect(found.hint).toBeTruthy();
    return found;
  }
  throw new Error('The registration did not fail.');
}

describe('registration at a real authorization server', () => {
  let servers: Servers;
  beforeAll(async () => {
    servers = await startServers();
  });
  afterAll(() => servers.stop());

  test('registers a public client with the exact redirect URI', async () => {
    const { server } = await discover(servers.resource);
    const before = (await servers.counters()).registrations;
    const client = await registerClient(server, REDIRECT);
    expect(client).toEqual({
      clientId: expect.stringMatching(/./),
      clientSecret: undefined,
      clientSecretExpiresAt: undefined,
      authMethod: 'none',
      redirectUris: [REDIRECT],
      source: 'dynamic',
    });
    expect((await servers.counters()).registrations).toBe(before + 1);
  });

  test('registers a confidential client when the server takes no other', async () => {
    const { server } = await discover(servers.resource);
    const client = await registerClient({ ...server, tokenEndpointAuthMethods: undefined }, REDIRECT);
    expect(client.authMethod).toBe('client_secret_basic');
    expect((client.clientSecret?.reveal() ?? '').length > 0).toBe(true);
    // The server sends 0, which means that the secret never expires.
    expect(client.clientSecretExpiresAt).toBeUndefined();
  });

  test('names the redirect URI that the server refuses', async () => {
    const { server } = await discover(servers.resource);
    const redirect = 'http://mcp.example.com/callback';
    const error = await registerClient(server, redirect).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(OAuthError);
    expect((error as OAuthError).error).toBe('invalid_redirect_uri');
    expect((error as OAuthError).message).toContain(redirect);
  });
});

describe('a registration', () => {
  test('asks for a native application with refresh tokens and exactly one redirect URI', async () => {
    const { request, server } = await register(json({ client_id: 'c' }, 201));
    expect(request).toEqual({
      client_name: 'Holdfast',
      application_type: 'native',
      redirect_uris: [REDIRECT],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
    });
    expect(server.requests).toEqual(['POST /register']);
    expect(server.log[0]?.headers['content-type']).toBe('application/json');
  });

  test('asks for the given scope', async () => {
    const { request } = await register(json({ client_id: 'c' }, 201), {}, { scope: 'a b' });
    expect(request).toMatchObject({ scope: 'a b' });
    expect((await register(json({ client_id: 'c' }, 201), {}, { scope: '' })).request).not.toHaveProperty(
      'scope',
    );
  });

  test.each([
    [['client_secret_basic', 'none'], 'none'],
    [['private_key_jwt', 'client_secret_basic', 'client_secret_post'], 'client_secret_post'],
    [['client_secret_basic'], 'client_secret_basic'],
    [undefined, 'client_secret_basic'],
  ])('given a server that takes %j, asks for %s', async (tokenEndpointAuthMethods, method) => {
    const { request, client } = await register(json({ client_id: 'c', client_secret: SECRET }, 201), {
      tokenEndpointAuthMethods,
    });
    expect(request).toMatchObject({ token_endpoint_auth_method: method });
    expect(client.authMethod).toBe(method);
    expect(client.clientSecret?.reveal() === (method === 'none' ? undefined : SECRET)).toBe(true);
  });

  test('uses the values that the server returned instead of the requested ones', async () => {
    const { client } = await register(
      json(
        {
          client_id: 'the client',
          client_secret: SECRET,
          client_secret_expires_at: 1_900_000_000,
          token_endpoint_auth_method: 'client_secret_post',
          grant_types: ['authorization_code'],
        },
        201,
      ),
    );
    expect(client).toMatchObject({
      clientId: 'the client',
      authMethod: 'client_secret_post',
      clientSecretExpiresAt: 1_900_000_000_000,
    });
    expect(client.clientSecret?.reveal() === SECRET).toBe(true);
    expect(inspect(client).includes(SECRET)).toBe(false);
  });

  test('keeps neither the secret nor its expiry for a public client', async () => {
    const { client } = await register(
      json({ client_id: 'c', client_secret: SECRET, client_secret_expires_at: 1_900_000_000 }, 201),
    );
    expect(client.authMethod).toBe('none');
    expect(client.clientSecret === undefined && client.clientSecretExpiresAt === undefined).toBe(true);
  });

  test.each([
    ['status 200', json({ client_id: 'c' }, 200)],
    [
      'members that are null',
      json({ client_id: 'c', client_secret: null, client_secret_expires_at: null }, 201),
    ],
    ['a secret that is empty', json({ client_id: 'c', client_secret: '' }, 201)],
    ['another content type', answer(201, '{"client_id":"c"}', { 'content-type': 'text/plain' })],
    [
      'the redirect URI without its port',
      json({ client_id: 'c', redirect_uris: ['http://127.0.0.1/callback'] }, 201),
    ],
  ])('accepts a registration with %s', async (_what, handler) => {
    expect((await register(handler)).client).toMatchObject({
      clientId: 'c',
      authMethod: 'none',
      redirectUris: [REDIRECT],
    });
  });

  test.each([
    ['never', 0],
    ['a string', '1900000000'],
    ['negative', -1],
    ['missing', undefined],
  ])('treats a secret whose expiry is %s as one that never expires', async (_what, expiry) => {
    const { client } = await register(
      json({ client_id: 'c', client_secret: SECRET, client_secret_expires_at: expiry }, 201),
      { tokenEndpointAuthMethods: ['client_secret_basic'] },
    );
    expect(client.clientSecretExpiresAt).toBeUndefined();
  });
});

describe('a failed registration', () => {
  test('sends nothing when the server takes no registrations', async () => {
    const error = await failure(answer(201), { registrationEndpoint: undefined });
    expect(error).toBeInstanceOf(ServerUnsupportedError);
    expect(error.message).toContain('takes no dynamic registrations');
  });

  test.each([[['private_key_jwt', 'tls_client_auth']], [[]], [['\u001b[2J']]])(
    'sends nothing when the token endpoint takes only %j',
    async (tokenEndpointAuthMethods) => {
      const error = await failure(answer(201), { tokenEndpointAuthMethods });
      expect(error).toBeInstanceOf(ServerUnsupportedError);
      expect(error.message).toContain('none of the ways');
    },
  );

  test('shows the redirect URI and the server’s message when the server refuses it', async () => {
    const error = await failure(
      json({ error: 'invalid_redirect_uri', error_description: 'no \u001b[31mloopback' }, 400),
    );
    expect(error).toBeInstanceOf(OAuthError);
    expect((error as OAuthError).error).toBe('invalid_redirect_uri');
    expect(error.message).toContain(`"${REDIRECT}"`);
    expect(error.message).toContain('loopback');
  });

  test.each([
    ['invalid_client_metadata', 'invalid_client_metadata'],
    ['access_denied', 'access_denied'],
    ['\u001b[2J', 'unknown_error'],
    ['x'.repeat(5000), 'unknown_error'],
  ])('reports the answer %j as an OAuth error', async (code, shown) => {
    const error = await failure(json({ error: code, error_description: 7 }, 400));
    expect(error).toBeInstanceOf(OAuthError);
    expect((error as OAuthError).error).toBe(shown);
    expect(error.message.length).toBeLessThan(500);
  });

  test.each([401, 403])('reports HTTP %i as a server that takes no registrations', async (status) => {
    const error = await failure(answer(status, '', { 'www-authenticate': 'Bearer' }));
    expect(error).toBeInstanceOf(ServerUnsupportedError);
    expect(error.message).toContain(`HTTP ${status}`);
  });

  test.each([
    ['a redirect', answer(307, '', { location: '/elsewhere' }), 'HTTP 307'],
    ['a page that is not there', answer(404, '<html>'), 'HTTP 404'],
    ['not JSON', answer(201, '<html>'), 'not JSON'],
    ['no object', json(['c'], 201), 'not an object'],
    ['nothing', answer(204), 'not JSON'],
    ['no client id', json({ client_secret: SECRET }, 201), 'wrong: client_id'],
    ['an empty client id', json({ client_id: '' }, 201), 'wrong: client_id'],
    ['a client id with control characters', json({ client_id: 'a\nb' }, 201), 'wrong: client_id'],
    ['a client id without measure', json({ client_id: 'a'.repeat(5000) }, 201), 'wrong: client_id'],
    [
      'a secret that is no string',
      json({ client_id: 'c', client_secret: { a: SECRET } }, 201),
      'client_secret',
    ],
    [
      'a way to prove itself that it does not have',
      json({ client_id: 'c', client_secret: SECRET, token_endpoint_auth_method: 'private_key_jwt' }, 201),
      '"private_key_jwt"',
    ],
    [
      'no secret although it demands one',
      json({ client_id: 'c', token_endpoint_auth_method: 'client_secret_basic' }, 201),
      'demands a client secret',
    ],
    [
      'an empty secret although it demands one',
      json({ client_id: 'c', client_secret: '', token_endpoint_auth_method: 'client_secret_post' }, 201),
      'demands a client secret',
    ],
    [
      'another redirect URI',
      json({ client_id: 'c', redirect_uris: ['http://127.0.0.1:43210/other', 'https://evil.example'] }, 201),
      'in place of',
    ],
  ])('rejects an answer with %s', async (_what, handler, message) => {
    const error = await failure(handler);
    expect(error).toBeInstanceOf(InvalidResponseError);
    expect(error.message).toContain(message);
  });

  test('follows no redirect of the registration endpoint', async () => {
    const server = await hostileServer({ '/register': answer(308, '', { location: '/elsewhere' }) });
    await registerClient(metadata(server.origin), REDIRECT).catch(() => {});
    expect(server.requests).toEqual(['POST /register']);
  });

  test('reports a server in trouble as retryable', async () => {
    const error = await failure(answer(503, '', { 'retry-after': '3' }));
    expect(error).toBeInstanceOf(NetworkError);
    expect(error).toMatchObject({ retryable: true, retryAfterMs: 3000 });
  });

  test('stops reading an answer that never ends', async () => {
    const endless = stream(Buffer.alloc(65_536, ' '));
    expect(await failure(endless.handler)).toBeInstanceOf(ResponseTooLargeError);
    await endless.closed;
  });

  test('refuses a registration endpoint over plain http on another machine', async () => {
    const error = await failure(answer(201), { registrationEndpoint: 'http://as.example.com/register' });
    expect(error).toBeInstanceOf(UnsafeUrlError);
  });
});
