import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ClientRegistration } from '../../../src/credential.ts';
import {
  HoldfastError,
  InvalidResponseError,
  NetworkError,
  OAuthError,
  ResponseTooLargeError,
  TimeoutError,
} from '../../../src/errors.ts';
import {
  createAuthorizationRequest,
  readAuthorizationResponse,
} from '../../../src/oauth/authorization/authorization.ts';
import { openCallbackServer } from '../../../src/oauth/authorization/callback-server.ts';
import { discover } from '../../../src/oauth/discovery/discovery.ts';
import { registerClient } from '../../../src/oauth/registration/registration.ts';
import {
  exchangeCode,
  IncompleteTokensError,
  refreshTokens,
  type TokenResponse,
  tokenRequest,
} from '../../../src/oauth/tokens/token.ts';
import { Secret } from '../../../src/secret.ts';
import { browse } from '../../support/browser/scripted-browser.mjs';
import { secretsSeen } from '../../support/leaks.ts';
import {
  answer,
  type Handler,
  type HostileServer,
  hang,
  hostileServer,
  json,
  raw,
  stream,
} from '../../support/servers/hostile-server.ts';
import { type Servers, startServers } from '../../support/servers/servers.ts';

const RESOURCE = 'https://MCP.example:443/mcp?x=1&y=a+b%20c';
const SENT = {
  code: 'C0DE-sent-and-secret',
  codeVerifier: 'V3RIFIER-sent-and-secret-000000000000000000',
  refreshToken: 'REFRESH-sent-and-secret',
  clientSecret: 'CLIENT:secret%sent+and /ü',
};
const GIVEN = { accessToken: 'ACCESS-given-and-secret', refreshToken: 'REFRESH-given-and-secret' };
const SECRETS = [...Object.values(SENT), ...Object.values(GIVEN)];
const REDIRECT = 'http://127.0.0.1:4000/callback';
const GOOD = { access_token: GIVEN.accessToken, token_type: 'Bearer' };

function client(authMethod: ClientRegistration['authMethod'] = 'none'): ClientRegistration {
  return {
    clientId: 'id:with%odd+signs /ü',
    clientSecret: authMethod === 'none' ? undefined : new Secret(SENT.clientSecret),
    authMethod,
    redirectUris: [REDIRECT],
    source: 'dynamic',
  };
}

/** Starts a token endpoint that sends this answer. */
function endpoint(handler: Handler | object): Promise<HostileServer> {
  return hostileServer({ '/token': handler });
}

function exchange(
  server: HostileServer,
  registration = client(),
  timeoutMs = 30_000,
): Promise<TokenResponse> {
  return exchangeCode(
    { issuer: server.origin, tokenEndpoint: `${server.origin}/token` },
    registration,
    { code: SENT.code, codeVerifier: SENT.codeVerifier, redirectUri: REDIRECT, resourceParameter: RESOURCE },
    { timeoutMs },
  );
}

function refresh(server: HostileServer, registration = client(), timeoutMs = 30_000): Promise<TokenResponse> {
  return refreshTokens(
    { issuer: server.origin, tokenEndpoint: `${server.origin}/token` },
    registration,
    { refreshToken: new Secret(SENT.refreshToken), resourceParameter: RESOURCE },
    { timeoutMs },
  );
}

async function failure(promise: Promise<unknown>): Promise<HoldfastError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof HoldfastError) return error;
    throw new Error('It failed with an error that is not ours.', { cause: error });
  }
  throw new Error('It did not fail.');
}

/** Returns the error of an exchange and of a refresh: both fail alike, and neither shows a secret. */
async function failures(handler: Handler | object, registration = client('client_secret_post')) {
  const server = await endpoint(handler);
  const errors = [
    await failure(exchange(server, registration)),
    await failure(refresh(server, registration)),
  ] as const;
  for (const error of errors) expect(secretsSeen(error, SECRETS)).toBe(0);
  expect(errors[1].constructor).toBe(errors[0].constructor);
  expect(errors[0].message.length).toBeLessThan(600);
  return errors[0];
}

async function given(members: object): Promise<TokenResponse> {
  return refresh(await endpoint({ ...GOOD, ...members }));
}

/** Returns the lifetime of the access token, in seconds. */
async function life(expiresIn: unknown): Promise<number | undefined> {
  const { tokens } = await given({ expires_in: expiresIn });
  return tokens.expiresAt === undefined ? undefined : (tokens.expiresAt - tokens.obtainedAt) / 1000;
}

describe('the token request on the wire', () => {
  test('sends the code, its verifier, the redirect URI and the resource byte for byte', async () => {
    const server = await endpoint(GOOD);
    await exchange(server);
    const [request] = server.log;
    expect(server.requests).toEqual(['POST /token']);
    expect(request?.headers).toMatchObject({ accept: 'application/json' });
    expect(request?.headers['content-type']).toMatch(/^application\/x-www-form-urlencoded\b/);
    const sent = Object.fromEntries(new URLSearchParams(request?.body));
    expect(sent['code'] === SENT.code && sent['code_verifier'] === SENT.codeVerifier).toBe(true);
    expect(sent).toMatchObject({
      grant_type: 'authorization_code',
      redirect_uri: REDIRECT,
      resource: RESOURCE,
      client_id: client().clientId,
    });
    expect(Object.keys(sent)).toHaveLength(6);
  });

  test('sends the refresh token and the resource byte for byte', async () => {
    const server = await endpoint(GOOD);
    await refresh(server);
    const sent = Object.fromEntries(new URLSearchParams(server.log[0]?.body));
    expect(sent['refresh_token'] === SENT.refreshToken).toBe(true);
    expect(sent).toMatchObject({
      grant_type: 'refresh_token',
      resource: RESOURCE,
      client_id: client().clientId,
    });
    expect(Object.keys(sent)).toHaveLength(4);
  });

  test('sends no resource when the grant names none', async () => {
    const server = await endpoint(GOOD);
    const at = { issuer: server.origin, tokenEndpoint: `${server.origin}/token` };
    const none = { resourceParameter: undefined };
    const { code, codeVerifier, refreshToken } = SENT;
    await exchangeCode(at, client(), { code, codeVerifier, redirectUri: REDIRECT, ...none });
    await refreshTokens(at, client(), { refreshToken: new Secret(refreshToken), ...none });
    expect(server.log.map(({ body }) => new URLSearchParams(body).has('resource'))).toEqual([false, false]);
  });

  test('does not connect beyond the reach of the server', async () => {
    const server = await endpoint(GOOD);
    const at = { issuer: server.origin, tokenEndpoint: `${server.origin}/token`, reach: 'public' } as const;
    const grant = { refreshToken: new Secret(SENT.refreshToken), resourceParameter: RESOURCE };
    const error = await failure(refreshTokens(at, client(), grant));
    expect(error).toMatchObject({ code: 'unsafe-url' });
    expect(secretsSeen(error, SECRETS)).toBe(0);
    await failure(refreshTokens({ ...at, reach: undefined }, client(), grant, { reach: 'public' }));
    expect(server.requests).toEqual([]);
    await refreshTokens({ ...at, reach: 'anywhere' }, client(), grant, { reach: 'public' });
    expect(server.requests).toEqual(['POST /token']);
  });

  test('sends no authentication and no secret for a public client', async () => {
    const server = await endpoint(GOOD);
    await exchange(server);
    expect(server.log[0]?.headers).not.toHaveProperty('authorization');
    expect(new URLSearchParams(server.log[0]?.body).has('client_secret')).toBe(false);
  });

  test('sends the secret in the body for client_secret_post', async () => {
    const server = await endpoint(GOOD);
    await refresh(server, client('client_secret_post'));
    const [request] = server.log;
    const sent = new URLSearchParams(request?.body);
    expect(request?.headers).not.toHaveProperty('authorization');
    expect(sent.get('client_id')).toBe(client().clientId);
    expect(sent.get('client_secret') === SENT.clientSecret).toBe(true);
  });

  test('sends client_secret_basic form-encoded in the header, never in the body', async () => {
    const server = await endpoint(GOOD);
    await refresh(server, client('client_secret_basic'));
    const [request] = server.log;
    const [scheme, credentials = ''] = (request?.headers.authorization ?? '').split(' ');
    expect(scheme).toBe('Basic');
    const halves = Buffer.from(credentials, 'base64').toString('ascii').split(':');
    expect(halves).toHaveLength(2);
    // RFC 6749 appendix B: any form decoder reverses the encoding.
    const [id, secret] = halves.map((half) => new URLSearchParams(`x=${half}`).get('x'));
    expect(id).toBe(client().clientId);
    expect(secret === SENT.clientSecret).toBe(true);
    const sent = new URLSearchParams(request?.body);
    expect(sent.has('client_secret') || sent.has('client_id')).toBe(false);
  });

  test('leaves a UUID as it is in client_secret_basic, for servers that forget to decode', async () => {
    const server = await endpoint(GOOD);
    const clientId = '0b0bbf6e-6d05-4d0c-9d1a-2a7a7b3c9f10';
    await refresh(server, { ...client('client_secret_basic'), clientId });
    const [, credentials = ''] = (server.log[0]?.headers.authorization ?? '').split(' ');
    expect(Buffer.from(credentials, 'base64').toString('ascii').split(':')[0]).toBe(clientId);
  });
});

describe('a good token response', () => {
  test('yields the tokens, the scope, and the expiry counted from the request', async () => {
    const before = Date.now();
    const { tokens, scope } = await given({
      refresh_token: GIVEN.refreshToken,
      expires_in: 3600,
      scope: 'a b',
    });
    expect(tokens.accessToken.reveal() === GIVEN.accessToken).toBe(true);
    expect(tokens.refreshToken?.reveal() === GIVEN.refreshToken).toBe(true);
    expect(tokens.tokenType).toBe('Bearer');
    expect(scope).toBe('a b');
    expect(tokens.obtainedAt).toBeGreaterThanOrEqual(before);
    expect(tokens.obtainedAt).toBeLessThanOrEqual(Date.now());
    expect(tokens.expiresAt).toBe(tokens.obtainedAt + 3_600_000);
  });

  test('counts the expiry from the request, not from the arrival of the answer', async () => {
    let arrived = 0;
    const server = await endpoint(((request, response) => {
      arrived = Date.now();
      return json({ ...GOOD, expires_in: 60 })(request, response);
    }) satisfies Handler);
    const { tokens } = await refresh(server);
    expect(tokens.obtainedAt).toBeLessThanOrEqual(arrived);
  });

  test.each(['Bearer', 'bearer', 'BEARER'])('reads the token type %s as Bearer', async (token_type) => {
    expect((await given({ token_type })).tokens.tokenType).toBe('Bearer');
  });

  test.each([
    [3600, 3600],
    ['3600', 3600],
    [0.5, 0.5],
    [1e12, 315_360_000],
    ['1e300', 315_360_000],
  ])('reads expires_in %j as %j s', async (expiresIn, seconds) => {
    expect(await life(expiresIn)).toBe(seconds);
  });

  test.each([null, 0, -1, '-5', '', 'soon', 'NaN', '3600 seconds', true, [3600], { s: 1 }])(
    'ignores the expires_in %j',
    async (expiresIn) => {
      expect(await life(expiresIn)).toBeUndefined();
    },
  );

  test('caps an expires_in that no number can hold at the longest expiry', async () => {
    const body = JSON.stringify({ ...GOOD, expires_in: 1 }).replace(':1}', ':1e999}');
    const { tokens } = await refresh(await endpoint(answer(200, body)));
    expect(tokens.expiresAt).toBe(tokens.obtainedAt + 315_360_000_000);
  });

  test.each([{}, { refresh_token: null, scope: null, expires_in: null }, { refresh_token: '' }])(
    'accepts an answer without refresh token, expiry and scope (%j)',
    async (members) => {
      const { tokens, scope } = await given(members);
      expect(tokens.refreshToken).toBeUndefined();
      expect(tokens.expiresAt).toBeUndefined();
      expect(scope).toBeUndefined();
    },
  );

  test.each([
    ['a  b a', 'a b'],
    ['', ''],
    ['repo,gist', 'repo,gist'],
    ['good \u001b[31mred new\nline good2', 'good good2'],
    [['a', 'b'], undefined],
    [7, undefined],
  ])('reads the scope %j as %j', async (scope, read) => {
    expect((await given({ scope })).scope).toBe(read);
  });

  test.each(['not.a.jwt', 'x', null, 7, { alg: 'none' }])('ignores the ID token %j', async (id_token) => {
    expect((await given({ id_token })).tokens.accessToken.reveal() === GIVEN.accessToken).toBe(true);
  });

  test.each([
    [200, { 'content-type': 'text/html' }],
    [200, {}],
    [201, { 'content-type': 'application/json;charset=utf-8' }],
  ])('accepts an answer with status %i and headers %j', async (status, headers) => {
    const server = await endpoint(answer(status, JSON.stringify(GOOD), headers));
    expect((await refresh(server)).tokens.accessToken.reveal() === GIVEN.accessToken).toBe(true);
  });
});

describe('a request of another grant', () => {
  const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
  const ID_JAG = 'urn:ietf:params:oauth:token-type:id-jag';
  const parameters = {
    subject_token: new Secret(SENT.refreshToken),
    audience: 'https://as.example/',
    resource: undefined,
  };

  async function exchanged(answered: Handler | object, tokenTypes?: readonly string[]) {
    const server = await endpoint(answered);
    const at = { issuer: server.origin, tokenEndpoint: `${server.origin}/token` };
    const response = tokenRequest(at, client(), EXCHANGE, parameters, { tokenTypes });
    // The caller checks a failure through `response`.
    await response.catch(() => {});
    return { response, sent: Object.fromEntries(new URLSearchParams(server.log[0]?.body)) };
  }

  test('sends the given parameters, and leaves out undefined ones', async () => {
    const { response, sent } = await exchanged(GOOD);
    await response;
    expect(sent['subject_token'] === SENT.refreshToken).toBe(true);
    expect(sent).toMatchObject({ grant_type: EXCHANGE, audience: 'https://as.example/' });
    expect(Object.keys(sent).sort()).toEqual(['audience', 'client_id', 'grant_type', 'subject_token']);
  });

  test('accepts another token type when the caller names it', async () => {
    const answered = { ...GOOD, token_type: 'n_a', issued_token_type: ID_JAG };
    const { tokens, issuedTokenType } = await (await exchanged(answered, ['N_A', 'Bearer'])).response;
    expect(tokens.tokenType).toBe('N_A');
    expect(issuedTokenType).toBe(ID_JAG);
    const error = await failure((await exchanged(answered)).response);
    expect(error).toBeInstanceOf(InvalidResponseError);
    expect(error.message).toContain('"n_a", not of type Bearer');
    expect(secretsSeen(error, SECRETS)).toBe(0);
  });

  test.each([undefined, null, '', 7, 'jwt', ` ${ID_JAG}`, `${ID_JAG}\u001b[2J`, `a:${'x'.repeat(300)}`])(
    'ignores the issued_token_type %j',
    async (issued_token_type) => {
      const { response } = await exchanged({ ...GOOD, issued_token_type });
      expect((await response).issuedTokenType).toBeUndefined();
    },
  );

  test('hides the tokens when the refusal repeats the request', async () => {
    const { response } = await exchanged(((request, response) => {
      const error_description = `${request.body} ${new URLSearchParams(request.body).get('subject_token')}`;
      return json({ error: 'invalid_request', error_description }, 400)(request, response);
    }) satisfies Handler);
    const error = await failure(response);
    expect(error.message).toContain('subject_token=[secret]');
    expect(secretsSeen(error, SECRETS)).toBe(0);
  });
});

describe('an odd answer to a refresh', () => {
  const rotated = { ...GOOD, refresh_token: GIVEN.refreshToken };

  test.each([undefined, null])('assumes the requested type when the token_type is %s', async (type) => {
    const { tokens } = await refresh(await endpoint({ ...rotated, token_type: type }));
    expect(tokens.tokenType).toBe('Bearer');
    const login = await failure(exchange(await endpoint({ ...rotated, token_type: type })));
    expect(login.message).toContain('without a type');
  });

  test.each(['', 'slow_down', 'invalid_grant'])(
    'keeps the tokens although the error %j comes with the next refresh token',
    async (error) => {
      const { tokens } = await refresh(await endpoint({ ...rotated, error }));
      expect(tokens.refreshToken?.reveal() === GIVEN.refreshToken).toBe(true);
    },
  );

  test.each([
    { access_token: undefined },
    { access_token: null },
    { access_token: [GIVEN.accessToken] },
    { access_token: 'two words' },
    { token_type: 'JWT' },
    { token_type: ['Bearer'] },
  ])('keeps the next refresh token when the rest cannot be used: %j', async (odd) => {
    const error = await failure(refresh(await endpoint({ ...rotated, ...odd })));
    expect(error).toBeInstanceOf(IncompleteTokensError);
    expect((error as IncompleteTokensError).refreshToken.reveal() === GIVEN.refreshToken).toBe(true);
    expect(secretsSeen(error, SECRETS)).toBe(0);
  });
});

describe('a bad token response', () => {
  test.each([
    {},
    { ...GOOD, access_token: null },
    { ...GOOD, access_token: '' },
    { ...GOOD, access_token: 7 },
    { ...GOOD, access_token: { value: GIVEN.accessToken } },
    { ...GOOD, refresh_token: 7 },
    { ...GOOD, token_type: 'mac' },
    { ...GOOD, token_type: 'DPoP' },
    { ...GOOD, token_type: ['Bearer'] },
    { ...GOOD, token_type: 'N_A\u001b[2J'.repeat(50) },
    [GOOD],
    'Bearer',
    null,
  ])('refuses malformed answer %#', async (document) => {
    const error = await failures(json(document));
    expect(error).toBeInstanceOf(InvalidResponseError);
    expect(error.message).not.toContain('\u001b');
  });

  test.each(['access_token', 'refresh_token'])(
    'refuses a %s with a character that no token has',
    async (name) => {
      for (const wrong of [' ', '\n', '\r\nX-Injected: 1', '\0', '\u007f', 'ü', '\u2028']) {
        for (const token of [`${GIVEN.accessToken}${wrong}`, `${wrong}${GIVEN.accessToken}`]) {
          const server = await endpoint({ ...GOOD, [name]: token });
          const error = await failure(refresh(server));
          expect(error).toBeInstanceOf(InvalidResponseError);
          expect(error.message).toContain(name);
          expect(secretsSeen(error, SECRETS)).toBe(0);
        }
      }
    },
  );

  test('refuses a token that fits no request header', async () => {
    const error = await failures(json({ ...GOOD, access_token: 'x'.repeat(65_537) }));
    expect(error).toBeInstanceOf(InvalidResponseError);
  });

  test.each([
    ['a page of HTML', answer(200, `<html>${GIVEN.accessToken}</html>`, { 'content-type': 'text/html' })],
    ['nothing', answer(200, '', { 'content-type': 'application/json' })],
    ['no content', answer(204)],
    ['half of it', answer(200, JSON.stringify(GOOD).slice(0, -2), { 'content-type': 'application/json' })],
    ['a form', answer(200, `access_token=${GIVEN.accessToken}&token_type=bearer`)],
    ['bytes that are no text', answer(200, new Uint8Array([0xff, 0xfe, 0x00, 0x80]))],
    ['an error without words', json({ message: GIVEN.accessToken }, 400)],
    ['a page of HTML as an error', answer(403, '<html>', { 'content-type': 'text/html' })],
    ['nothing, not found', answer(404)],
    ['no HTTP', raw(`220 ${GIVEN.accessToken} ESMTP\r\n`)],
  ])('refuses %s as an answer', async (_name, handler) => {
    expect(await failures(handler)).toBeInstanceOf(InvalidResponseError);
  });

  test.each([301, 302, 303, 307, 308])(
    'does not follow redirect %i, so the secrets go nowhere else',
    async (status) => {
      const elsewhere = await hostileServer({ '*': GOOD });
      const location = `${elsewhere.origin}/token`;
      const error = await failures(answer(status, '', { location }));
      expect(error).toBeInstanceOf(InvalidResponseError);
      expect(error.message).toContain(`HTTP ${status}`);
      expect(elsewhere.requests).toEqual([]);
    },
  );

  test('refuses an answer of more than 1 MiB, or without an end', async () => {
    const large = JSON.stringify({ ...GOOD, x: 'x'.repeat(1024 * 1024) });
    expect(await failures(answer(200, large))).toBeInstanceOf(ResponseTooLargeError);
    const { handler, closed } = stream('x'.repeat(64 * 1024));
    expect(await failure(refresh(await endpoint(handler)))).toBeInstanceOf(ResponseTooLargeError);
    await closed;
  });

  test('times out when the answer never comes', async () => {
    const server = await endpoint(hang());
    for (const error of [
      await failure(exchange(server, client('client_secret_basic'), 100)),
      await failure(refresh(server, client('client_secret_basic'), 100)),
    ]) {
      expect(error).toBeInstanceOf(TimeoutError);
      expect(secretsSeen(error, SECRETS)).toBe(0);
    }
  });

  test.each([
    ['breaks off', raw(`HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n${JSON.stringify(GOOD)}`)],
    ['is closed at once', raw('')],
    [
      'is broken HTTP',
      raw(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n${JSON.stringify(GOOD)}\r\n`),
    ],
  ])('reports a retryable network failure when the answer %s', async (_name, handler) => {
    const error = await failures(handler);
    expect(error).toBeInstanceOf(NetworkError);
    expect(error).toMatchObject({ retryable: true, unsent: false });
  });

  test.each([500, 502, 503, 429])(
    'reports status %i as retryable, whatever its body says',
    async (status) => {
      const error = await failures(json({ error: 'invalid_grant' }, status, { 'retry-after': '7' }));
      expect(error).toBeInstanceOf(NetworkError);
      expect(error).toMatchObject({ retryable: true, retryAfterMs: 7000 });
    },
  );
});

describe('an error of RFC 6749 section 5.2', () => {
  test.each([
    'invalid_request',
    'invalid_client',
    'invalid_grant',
    'unauthorized_client',
    'unsupported_grant_type',
    'invalid_scope',
    'invalid_target',
  ])('reports %s by its code', async (code) => {
    const error = await failures(json({ error: code, error_description: 'Because.' }, 400));
    expect(error).toBeInstanceOf(OAuthError);
    expect(error).toMatchObject({ error: code, retryable: false });
    expect(error.message).toContain('"Because."');
  });

  test.each([
    [
      'with status 401 and a challenge',
      json({ error: 'invalid_client' }, 401, { 'www-authenticate': 'Basic' }),
    ],
    ['with status 401 and no challenge', json({ error: 'invalid_client' }, 401)],
    ['as text', answer(400, '{"error":"invalid_client"}', { 'content-type': 'text/plain' })],
    ['with status 200, as GitHub does', json({ error: 'invalid_client' })],
  ])('reads invalid_client %s', async (_name, handler) => {
    expect(await failures(handler)).toMatchObject({ code: 'oauth-error', error: 'invalid_client' });
  });

  test.each([
    ['a challenge alone', answer(401, '', { 'www-authenticate': 'Basic realm="x"' })],
    ['a page of a gateway', answer(401, '<h1>Maintenance</h1>', { 'www-authenticate': 'Basic realm="x"' })],
    ['nothing at all', answer(401, '')],
  ])('treats a 401 with %s as retryable, not as a refusal of the client', async (_name, handler) => {
    expect(await failures(handler)).toMatchObject({ code: 'network', retryable: true });
  });

  test('prefers the error of the body to that of a challenge', async () => {
    const handler = json({ error: 'invalid_grant' }, 401, { 'www-authenticate': 'Bearer error="x"' });
    expect(await failures(handler)).toMatchObject({ code: 'oauth-error', error: 'invalid_grant' });
  });

  test('quotes the description, bounded and without control characters', async () => {
    const error_description = `\u001b]0;owned\u0007\u001b[2J\r\nwarning: "all well"\u202e${'x'.repeat(10_000)}`;
    const error = await failures(json({ error: 'invalid_grant', error_description }, 400));
    expect(error).toMatchObject({ error: 'invalid_grant' });
    expect(error.message).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    expect(error.message).toContain('\\"all well\\"');
  });

  test.each(['', 'a\nb', '\u001b[31m', 'ünknown', 'x'.repeat(65)])(
    'replaces the error code %j by unknown_error',
    async (code) => {
      const error = await failures(json({ error: code }, 400));
      expect(error).toMatchObject({ code: 'oauth-error', error: 'unknown_error' });
    },
  );

  test.each([7, null, ['x'], { text: GIVEN.accessToken }])(
    'accepts the error description %j',
    async (description) => {
      const error = await failures(json({ error: 'invalid_grant', error_description: description }, 400));
      expect(error).toMatchObject({ error: 'invalid_grant' });
    },
  );

  test('hides the request when the error repeats it', async () => {
    const error = await failures(((request, response) => {
      const sent = [...new URLSearchParams(request.body).values()].join(' ');
      return json({ error: 'invalid_grant', error_description: `Not good: ${sent}` }, 400)(request, response);
    }) satisfies Handler);
    expect(error.message).toContain('Not good: ');
    expect(error.message).toContain('[secret]');
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
    const request: { state?: string } = {};
    const server = await openCallbackServer({ belongs: (query) => query.get('state') === request.state });
    try {
      const registration = await registerClient(discovery.server, server.redirectUri);
      const authorization = createAuthorizationRequest(discovery, registration, server.redirectUri);
      request.state = authorization.state;
      const page = browse(authorization.url);
      const callback = await server.next({ timeoutMs: 30_000 });
      const grant = {
        code: readAuthorizationResponse(authorization, callback.parameters),
        codeVerifier: authorization.codeVerifier,
        redirectUri: server.redirectUri,
        resourceParameter: discovery.resourceParameter,
      };
      await callback.succeed({ resource: discovery.resource, account: 'default' });
      expect((await page).status).toBe(200);
      return { discovery, registration, grant };
    } finally {
      await server.close();
    }
  }

  test('issues tokens that the MCP server takes, and new ones for the refresh token', async () => {
    const { discovery, registration, grant } = await loggedIn();
    const first = await exchangeCode(discovery.server, registration, grant);
    expect(first.tokens.refreshToken).toBeInstanceOf(Secret);
    expect(first.tokens.expiresAt).toBeGreaterThan(first.tokens.obtainedAt);
    expect(first.scope).toContain('tools:call');
    const second = await refreshTokens(discovery.server, registration, {
      refreshToken: first.tokens.refreshToken ?? new Secret(''),
      resourceParameter: discovery.resourceParameter,
    });
    expect(second.tokens.accessToken.equals(first.tokens.accessToken)).toBe(false);
    expect(second.tokens.refreshToken?.equals(first.tokens.refreshToken)).toBe(false);
    for (const { tokens } of [first, second]) {
      const response = await fetch(servers.resource, {
        method: 'POST',
        headers: {
          authorization: `Bearer ${tokens.accessToken.reveal()}`,
          'content-type': 'application/json',
          accept: 'application/json, text/event-stream',
        },
        body: '{"jsonrpc":"2.0","id":1,"method":"ping"}',
      });
      await response.body?.cancel();
      expect([401, 403]).not.toContain(response.status);
    }
  });

  test('refuses a code without its verifier, and a code that was used', async () => {
    const { discovery, registration, grant } = await loggedIn();
    const wrong = { ...grant, codeVerifier: 'w'.repeat(43) };
    const secrets = [grant.code, grant.codeVerifier, wrong.codeVerifier];
    const refused = await failure(exchangeCode(discovery.server, registration, wrong));
    expect(refused).toMatchObject({ code: 'oauth-error', error: 'invalid_grant' });
    expect(secretsSeen(refused, secrets)).toBe(0);
    await exchangeCode(discovery.server, registration, grant);
    const again = await failure(exchangeCode(discovery.server, registration, grant));
    expect(again).toMatchObject({ code: 'oauth-error', error: 'invalid_grant' });
    expect(secretsSeen(again, secrets)).toBe(0);
  });

  test('refuses a refresh token that it never issued', async () => {
    const { discovery, registration } = await loggedIn();
    const refused = await failure(
      refreshTokens(discovery.server, registration, {
        refreshToken: new Secret(SENT.refreshToken),
        resourceParameter: discovery.resourceParameter,
      }),
    );
    expect(refused).toMatchObject({ code: 'oauth-error', error: 'invalid_grant' });
    expect(secretsSeen(refused, SECRETS)).toBe(0);
  });
});
