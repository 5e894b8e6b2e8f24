import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ClientRegistration } from '../../../src/credential.ts';
import { HoldfastError, InvalidResponseError, NetworkError, OAuthError } from '../../../src/errors.ts';
import {
  createAuthorizationRequest,
  readAuthorizationResponse,
} from '../../../src/oauth/authorization/authorization.ts';
import { openCallbackServer } from '../../../src/oauth/authorization/callback-server.ts';
import { discover } from '../../../src/oauth/discovery/discovery.ts';
import { registerClient } from '../../../src/oauth/registration/registration.ts';
import { revokeToken } from '../../../src/oauth/tokens/revocation.ts';
import { exchangeCode, refreshTokens } from '../../../src/oauth/tokens/token.ts';
import { Secret } from '../../../src/secret.ts';
import { browse } from '../../support/browser/scripted-browser.mjs';
import { secretsSeen } from '../../support/leaks.ts';
import {
  answer,
  type Handler,
  hang,
  hostileServer,
  json,
  raw,
} from '../../support/servers/hostile-server.ts';
import { type Servers, startServers } from '../../support/servers/servers.ts';

const TOKEN = 'T0KEN+to/revoke=and-secret';
const CLIENT_SECRET = 'CLIENT-secret';
const SECRETS = [TOKEN, CLIENT_SECRET];

function client(authMethod: ClientRegistration['authMethod']): ClientRegistration {
  return {
    clientId: 'a-client',
    clientSecret: authMethod === 'none' ? undefined : new Secret(CLIENT_SECRET),
    authMethod,
    redirectUris: [],
    source: 'dynamic',
  };
}

async function revokeAt(
  handler: Handler,
  hint: 'refresh_token' | 'access_token' = 'refresh_token',
  authMethod: ClientRegistration['authMethod'] = 'none',
) {
  const server = await hostileServer({ '/revoke': handler });
  const at = { issuer: server.origin, revocationEndpoint: `${server.origin}/revoke` };
  let error: unknown;
  try {
    await revokeToken(at, client(authMethod), new Secret(TOKEN), hint, { timeoutMs: 2_000 });
  } catch (thrown) {
    if (!(thrown instanceof HoldfastError)) throw thrown;
    error = thrown;
  }
  expect(secretsSeen(error, SECRETS)).toBe(0);
  return { error, request: server.log[0] };
}

describe('a revocation', () => {
  test.each(['refresh_token', 'access_token'] as const)('sends the token with its hint, %s', async (hint) => {
    const { error, request } = await revokeAt(answer(200), hint);
    expect(error).toBeUndefined();
    expect(request?.method).toBe('POST');
    const sent = Object.fromEntries(new URLSearchParams(request?.body));
    expect(sent['token'] === TOKEN).toBe(true);
    expect(sent).toMatchObject({ token_type_hint: hint, client_id: 'a-client' });
    expect(Object.keys(sent)).toHaveLength(3);
  });

  test('authenticates the client by its registered method', async () => {
    const basic = await revokeAt(answer(200), 'refresh_token', 'client_secret_basic');
    expect(basic.request?.headers.authorization).toMatch(/^Basic /);
    expect(basic.request?.body.includes(CLIENT_SECRET)).toBe(false);
    const post = await revokeAt(answer(200), 'refresh_token', 'client_secret_post');
    expect(post.request?.headers).not.toHaveProperty('authorization');
    expect(new URLSearchParams(post.request?.body).get('client_secret') === CLIENT_SECRET).toBe(true);
  });

  test.each([
    ['with nothing', answer(200)],
    ['with whatever', answer(200, '<html>done</html>', { 'content-type': 'text/html' })],
    ['with 204', answer(204)],
  ])('succeeds when the server answers %s', async (_name, handler) => {
    expect((await revokeAt(handler)).error).toBeUndefined();
  });

  test.each(['unsupported_token_type', 'invalid_client', 'invalid_request'])(
    'fails when the server answers %s',
    async (code) => {
      const { error } = await revokeAt(json({ error: code, error_description: 'No\u001b[2J' }, 400));
      expect(error).toBeInstanceOf(OAuthError);
      expect(error).toMatchObject({ error: code });
      expect((error as Error).message).not.toContain('\u001b');
    },
  );

  test('fails when a gateway in front of the server wants a password', async () => {
    const { error } = await revokeAt(answer(401, '', { 'www-authenticate': 'Basic realm="x"' }));
    expect(error).toMatchObject({ code: 'network', retryable: true });
  });

  test.each([
    ['404', answer(404)],
    ['a redirect', answer(302, '', { location: 'https://elsewhere.example/' })],
    ['an error as a page', answer(400, '<html>', { 'content-type': 'text/html' })],
  ])('fails when the server answers %s', async (_name, handler) => {
    expect((await revokeAt(handler)).error).toBeInstanceOf(InvalidResponseError);
  });

  test.each([
    ['503, which asks to come again (RFC 7009 section 2.2.1)', answer(503, '', { 'retry-after': '3' })],
    ['nothing', raw('')],
  ])('reports a revocation as retryable when the server answers %s', async (_name, handler) => {
    const { error } = await revokeAt(handler);
    expect(error).toBeInstanceOf(NetworkError);
    expect(error).toMatchObject({ retryable: true });
  });

  test('does not connect beyond the reach of the server', async () => {
    const server = await hostileServer({ '/revoke': answer(200) });
    const at = { issuer: server.origin, revocationEndpoint: `${server.origin}/revoke` };
    const revoke = (reach: 'public' | 'anywhere') =>
      revokeToken({ ...at, reach }, client('none'), new Secret(TOKEN), 'refresh_token');
    await expect(revoke('public')).rejects.toMatchObject({ code: 'unsafe-url' });
    expect(server.requests).toEqual([]);
    await revoke('anywhere');
    expect(server.requests).toEqual(['POST /revoke']);
  });

  test('times out when the server never answers', async () => {
    expect((await revokeAt(hang())).error).toMatchObject({ code: 'timeout', retryable: true });
  });

  test('hides the token and the client secret when the refusal repeats them', async () => {
    const { error } = await revokeAt(
      ((request, response) =>
        json(
          { error: 'invalid_request', error_description: `${request.body} ${TOKEN} ${CLIENT_SECRET}` },
          400,
        )(request, response)) satisfies Handler,
      'refresh_token',
      'client_secret_post',
    );
    expect(error).toMatchObject({ error: 'invalid_request' });
  });
});

describe('the real authorization server', () => {
  let servers: Servers;
  beforeAll(async () => {
    servers = await startServers();
  });
  afterAll(() => servers.stop());

  async function loggedIn() {
    const discovery = await discover(servers.resource);
    const { server, resourceParameter, resource } = discovery;
    let state = '';
    const callbacks = await openCallbackServer({ belongs: (query) => query.get('state') === state });
    try {
      const registration = await registerClient(server, callbacks.redirectUri);
      const request = createAuthorizationRequest(discovery, registration, callbacks.redirectUri);
      state = request.state;
      const page = browse(request.url);
      const callback = await callbacks.next({ timeoutMs: 30_000 });
      const { tokens } = await exchangeCode(server, registration, {
        code: readAuthorizationResponse(request, callback.parameters),
        codeVerifier: request.codeVerifier,
        redirectUri: callbacks.redirectUri,
        resourceParameter,
      });
      await callback.succeed({ resource, account: 'default' });
      await page;
      const { revocationEndpoint = '' } = server;
      return {
        tokens,
        revoke: (token: Secret | undefined, hint: 'refresh_token' | 'access_token') =>
          revokeToken(
            { issuer: server.issuer, revocationEndpoint },
            registration,
            token ?? new Secret(''),
            hint,
          ),
        refresh: () =>
          refreshTokens(server, registration, {
            refreshToken: tokens.refreshToken ?? new Secret(''),
            resourceParameter,
          }),
        status: async () => {
          const response = await fetch(servers.resource, {
            method: 'POST',
            headers: { authorization: `Bearer ${tokens.accessToken.reveal()}` },
          });
          await response.body?.cancel();
          return response.status;
        },
      };
    } finally {
      await callbacks.close();
    }
  }

  test('refuses an access token once it is revoked', async () => {
    const login = await loggedIn();
    expect(await login.status()).not.toBe(401);
    await login.revoke(login.tokens.accessToken, 'access_token');
    expect(await login.status()).toBe(401);
  });

  test('refuses a revoked refresh token and the access token that came with it', async () => {
    const login = await loggedIn();
    await login.revoke(login.tokens.refreshToken, 'refresh_token');
    await expect(login.refresh()).rejects.toMatchObject({ error: 'invalid_grant' });
    expect(await login.status()).toBe(401);
  });

  test('reports an unknown or revoked token as revoked', async () => {
    const login = await loggedIn();
    await login.revoke(new Secret('never-given'), 'refresh_token');
    await login.revoke(login.tokens.refreshToken, 'refresh_token');
    await login.revoke(login.tokens.refreshToken, 'refresh_token');
    await login.revoke(login.tokens.accessToken, 'access_token');
  });

  test('revokes the token even when the hint is wrong', async () => {
    const login = await loggedIn();
    await login.revoke(login.tokens.refreshToken, 'access_token');
    await expect(login.refresh()).rejects.toMatchObject({ error: 'invalid_grant' });
  });
});
