import { createHash, randomBytes } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { decodeJwt, EmbeddedJWK, jwtVerify } from 'jose';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { ClientRegistration } from '../../../src/credential.ts';
import { HoldfastError, InvalidResponseError } from '../../../src/errors.ts';
import { dpopThumbprint, generateDpopKey } from '../../../src/oauth/tokens/dpop.ts';
import {
  exchangeCode,
  refreshTokens,
  type TokenServer,
  tokenRequest,
} from '../../../src/oauth/tokens/token.ts';
import { Secret } from '../../../src/secret.ts';
import { browse } from '../../support/browser/scripted-browser.mjs';
import {
  answer,
  type Handler,
  type HostileServer,
  hang,
  hostileServer,
  json,
  raw,
} from '../../support/servers/hostile-server.ts';

const KEY = generateDpopKey();
const GIVEN = 'ACCESS-given-and-secret';
const GOOD = { access_token: GIVEN, token_type: 'DPoP' };
const CLIENT: ClientRegistration = {
  clientId: 'a-client',
  authMethod: 'none',
  redirectUris: [],
  source: 'pre-registered',
};

/** Starts a token endpoint that answers with the handlers in order, then repeats the last one. */
function endpoint(...handlers: (Handler | object)[]): Promise<HostileServer> {
  let next = 0;
  return hostileServer({
    '/token': (request, response) => {
      const handler = handlers[Math.min(next, handlers.length - 1)] ?? GOOD;
      next += 1;
      return (typeof handler === 'function' ? (handler as Handler) : json(handler))(request, response);
    },
  });
}

function refresh(server: HostileServer, options: Parameters<typeof refreshTokens>[3] = { dpopKey: KEY }) {
  const at = { issuer: server.origin, tokenEndpoint: `${server.origin}/token` };
  const grant = { refreshToken: new Secret('a-refresh-token'), resourceParameter: undefined };
  return refreshTokens(at, CLIENT, grant, options);
}

function wantsNonce(nonce: string, status = 400): Handler {
  return json({ error: 'use_dpop_nonce' }, status, { 'dpop-nonce': nonce });
}

/** Returns the claims of each request's proof, after jose verifies it. */
function proofs({ log }: HostileServer) {
  return Promise.all(
    log.map(async ({ headers }) => {
      const proof = String(headers['dpop']);
      return (await jwtVerify(proof, EmbeddedJWK, { typ: 'dpop+jwt', algorithms: ['ES256'] })).payload;
    }),
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

describe('a token request with a DPoP key', () => {
  test('carries a proof for the token endpoint, and yields tokens of type DPoP', async () => {
    const server = await endpoint(GOOD);
    const { tokens } = await refresh(server);
    expect(tokens.tokenType).toBe('DPoP');
    expect(await proofs(server)).toEqual([
      {
        jti: expect.any(String),
        htm: 'POST',
        htu: `${server.origin}/token`,
        iat: expect.any(Number),
      },
    ]);
  });

  test('sends no proof without a key', async () => {
    const server = await endpoint({ ...GOOD, token_type: 'Bearer' });
    await refresh(server, {});
    expect(server.log[0]?.headers).not.toHaveProperty('dpop');
  });

  test.each(['DPoP', 'dpop', 'DPOP'])('accepts the token type %s', async (token_type) => {
    expect((await refresh(await endpoint({ ...GOOD, token_type }))).tokens.tokenType).toBe('DPoP');
  });

  test('keeps the tokens of a server that no longer binds them, the next refresh token above all', async () => {
    const answer = { ...GOOD, token_type: 'Bearer', refresh_token: 'the-next-one' };
    const { tokens } = await refresh(await endpoint(answer));
    expect(tokens.tokenType).toBe('Bearer');
    expect(tokens.refreshToken?.reveal()).toBe('the-next-one');
  });

  test.each(['N_A', '', 'DPoP ', undefined, 7, ['DPoP']])(
    'refuses an unbound token of type %j',
    async (token_type) => {
      const error = await failure(refresh(await endpoint({ ...GOOD, token_type })));
      expect(error).toBeInstanceOf(InvalidResponseError);
      expect(error.message).toContain('bound to a key');
      expect(error.message).not.toContain(GIVEN);
    },
  );

  test('sends nothing when the key cannot make a proof', async () => {
    const server = await endpoint(GOOD);
    const error = await failure(refresh(server, { dpopKey: new Secret('certainly-not-a-key') }));
    expect(error).toMatchObject({ code: 'invalid-argument' });
    expect(error.message).not.toContain('certainly');
    expect(server.requests).toEqual([]);
  });

  test('hints at a wrong clock when the server refuses the proof', async () => {
    const error = await failure(refresh(await endpoint(json({ error: 'invalid_dpop_proof' }, 400))));
    expect(error).toMatchObject({ code: 'oauth-error', error: 'invalid_dpop_proof' });
    expect(error.hint).toContain('clock');
  });
});

describe('a server that demands a nonce', () => {
  test.each([400, 401])(
    'sends the request once more with the demanded nonce on status %i',
    async (status) => {
      const server = await endpoint(wantsNonce('n1', status), GOOD);
      const { tokens } = await refresh(server);
      expect(tokens.accessToken.reveal() === GIVEN).toBe(true);
      const [first, second, ...more] = await proofs(server);
      expect(more).toEqual([]);
      expect(first).not.toHaveProperty('nonce');
      expect(second?.['nonce']).toBe('n1');
      expect(second?.jti).not.toBe(first?.jti);
      expect(server.log[1]?.body).toBe(server.log[0]?.body);
    },
  );

  test('sends the request again when a challenge alone demands a nonce', async () => {
    const headers = { 'www-authenticate': 'DPoP error="use_dpop_nonce", algs="ES256"', 'dpop-nonce': 'n1' };
    const server = await endpoint(answer(401, '', headers), GOOD);
    await refresh(server);
    expect(server.requests).toHaveLength(2);
  });

  test('sends the latest nonce with each next request', async () => {
    const server = await endpoint(
      wantsNonce('n1'),
      GOOD,
      json(GOOD, 200, { 'dpop-nonce': 'n2' }),
      json({ error: 'invalid_grant' }, 400, { 'dpop-nonce': 'n3' }),
      GOOD,
    );
    await refresh(server);
    await refresh(server);
    await failure(refresh(server));
    await refresh(server);
    const nonces = (await proofs(server)).map(({ nonce }) => nonce);
    expect(nonces).toEqual([undefined, 'n1', 'n1', 'n2', 'n3']);
  });

  test('sends the request again when the known nonce has expired', async () => {
    const server = await endpoint(wantsNonce('n1'), GOOD, wantsNonce('n2'), GOOD);
    await refresh(server);
    await refresh(server);
    const nonces = (await proofs(server)).map(({ nonce }) => nonce);
    expect(nonces).toEqual([undefined, 'n1', 'n1', 'n2']);
  });

  test('gives up when the server demands another nonce after the second request', async () => {
    const server = await endpoint(wantsNonce('n1'), wantsNonce('n2'));
    const error = await failure(refresh(server));
    expect(error).toMatchObject({ code: 'oauth-error', error: 'use_dpop_nonce' });
    expect(server.requests).toHaveLength(2);
  });

  test.each([
    ['gives none', json({ error: 'use_dpop_nonce' }, 400)],
    ['gives what is none', wantsNonce('not a nonce')],
    ['says so with status 403', wantsNonce('n1', 403)],
    ['gives one and has another complaint', json({ error: 'invalid_grant' }, 400, { 'dpop-nonce': 'n1' })],
  ])('sends no second request when the server %s', async (_name, handler) => {
    const server = await endpoint(handler, GOOD);
    expect(await failure(refresh(server))).toMatchObject({ code: 'oauth-error' });
    expect(server.requests).toHaveLength(1);
  });

  test('sends no second request without a key', async () => {
    const server = await endpoint(wantsNonce('n1'), GOOD);
    expect(await failure(refresh(server, {}))).toMatchObject({ error: 'use_dpop_nonce' });
    expect(server.requests).toHaveLength(1);
  });

  test('makes a new client assertion for the second request', async () => {
    const server = await endpoint(wantsNonce('n1'), GOOD);
    const at = { issuer: server.origin, tokenEndpoint: `${server.origin}/token` };
    const client: ClientRegistration = {
      ...CLIENT,
      authMethod: 'private_key_jwt',
      privateKey: generateDpopKey(),
    };
    await tokenRequest(at, client, 'client_credentials', {}, { dpopKey: KEY });
    const ids = server.log.map(
      ({ body }) => decodeJwt(new URLSearchParams(body).get('client_assertion') ?? '').jti,
    );
    expect(new Set(ids).size).toBe(2);
  });

  test.each([
    ['never answers', hang(), { code: 'timeout' }],
    ['breaks off', raw(''), { code: 'network', unsent: false }],
    ['is in trouble', answer(503), { code: 'network', unsent: false }],
  ])(
    'reports that the second request may have been processed when the server %s',
    async (_name, handler, expected) => {
      const server = await endpoint(wantsNonce('n1'), handler);
      expect(await failure(refresh(server, { dpopKey: KEY, timeoutMs: 500 }))).toMatchObject(expected);
      expect(server.requests).toHaveLength(2);
    },
  );

  test('reports the request as unsent when the server is gone before the second one', async () => {
    const server = createServer((request, response) => {
      request.resume().on('end', () => {
        server.close();
        response.writeHead(400, { 'dpop-nonce': 'n1' }).end('{"error":"use_dpop_nonce"}');
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const error = await failure(
      tokenRequest(
        { issuer: origin, tokenEndpoint: `${origin}/token` },
        CLIENT,
        'refresh_token',
        {},
        {
          dpopKey: KEY,
        },
      ),
    );
    expect(error).toMatchObject({ code: 'network', unsent: true });
  });
});

describe('a real authorization server (oidc-provider) that demands a nonce', () => {
  let server: Server;
  let at: TokenServer;
  let grants = 0;

  beforeAll(async () => {
    for (const name of ['info', 'warn', 'error'] as const) vi.spyOn(console, name).mockReturnValue();
    const { default: Provider } = await import('oidc-provider');
    server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const provider = new Provider(issuer, {
      clients: [
        {
          client_id: CLIENT.clientId,
          token_endpoint_auth_method: 'none',
          application_type: 'native',
          grant_types: ['authorization_code', 'refresh_token'],
          redirect_uris: ['http://127.0.0.1/callback'],
          dpop_bound_access_tokens: true,
        },
      ],
      cookies: { keys: [randomBytes(16).toString('hex')] },
      scopes: ['openid', 'offline_access'],
      rotateRefreshToken: true,
      issueRefreshToken: async () => true,
      findAccount: async (_context, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
      features: {
        devInteractions: { enabled: true },
        dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => true },
      },
      ttl: { Interaction: 600, Session: 600, Grant: 600, RefreshToken: 600, AuthorizationCode: 60 },
    });
    provider.on('grant.success', () => {
      grants += 1;
    });
    const serve = provider.callback();
    server.on('request', (request, response) => void serve(request, response));
    at = { issuer, tokenEndpoint: `${issuer}/token` };
  });
  afterAll(async () => {
    vi.restoreAllMocks();
    await new Promise((resolve) => server.close(resolve));
  });

  /** Logs in with the browser and returns the code, not yet exchanged. */
  async function code(parameters: Record<string, string> = {}) {
    const client = await hostileServer({ '/callback': answer(200, 'done') });
    const redirectUri = `${client.origin}/callback`;
    const codeVerifier = randomBytes(32).toString('base64url');
    const query = new URLSearchParams({
      client_id: CLIENT.clientId,
      redirect_uri: redirectUri,
      response_type: 'code',
      scope: 'openid offline_access',
      prompt: 'consent',
      code_challenge: createHash('sha256').update(codeVerifier).digest('base64url'),
      code_challenge_method: 'S256',
      ...parameters,
    });
    const page = await browse(`${at.issuer}/auth?${query.toString()}`);
    const given = new URL(page.url).searchParams.get('code') ?? '';
    expect(given).not.toBe('');
    return { code: given, codeVerifier, redirectUri, resourceParameter: undefined };
  }

  test('issues bound tokens, and new ones for the refresh token with the same key', async () => {
    const before = grants;
    const first = await exchangeCode(at, CLIENT, await code(), { dpopKey: KEY });
    expect(first.tokens.tokenType).toBe('DPoP');
    const grant = {
      refreshToken: first.tokens.refreshToken ?? new Secret(''),
      resourceParameter: undefined,
    };
    const second = await refreshTokens(at, CLIENT, grant, { dpopKey: KEY });
    expect(second.tokens.tokenType).toBe('DPoP');
    expect(second.tokens.accessToken.equals(first.tokens.accessToken)).toBe(false);
    expect(grants - before).toBe(2);
  });

  test('refuses the refresh token with another key, and without one', async () => {
    const { tokens } = await exchangeCode(at, CLIENT, await code(), { dpopKey: KEY });
    const grant = { refreshToken: tokens.refreshToken ?? new Secret(''), resourceParameter: undefined };
    for (const dpopKey of [generateDpopKey(), undefined]) {
      expect(await failure(refreshTokens(at, CLIENT, grant, { dpopKey }))).toMatchObject({
        error: 'invalid_grant',
      });
    }
    await refreshTokens(at, CLIENT, grant, { dpopKey: KEY });
  });

  test('exchanges a code bound by dpop_jkt only for the holder of the key', async () => {
    const bound = { dpop_jkt: dpopThumbprint(KEY) };
    const other = { dpopKey: generateDpopKey() };
    expect(await failure(exchangeCode(at, CLIENT, await code(bound), other))).toMatchObject({
      error: 'invalid_grant',
    });
    const { tokens } = await exchangeCode(at, CLIENT, await code(bound), { dpopKey: KEY });
    expect(tokens.tokenType).toBe('DPoP');
  });
});
