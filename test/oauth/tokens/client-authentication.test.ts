import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { jwtVerify } from 'jose';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { ClientRegistration } from '../../../src/credential.ts';
import { HoldfastError, InvalidArgumentError } from '../../../src/errors.ts';
import { revokeToken } from '../../../src/oauth/tokens/revocation.ts';
import { type TokenServer, tokenRequest } from '../../../src/oauth/tokens/token.ts';
import { Secret } from '../../../src/secret.ts';
import { secretsSeen } from '../../support/leaks.ts';
import {
  type Handler,
  hostileServer,
  json,
  type LoggedRequest,
} from '../../support/servers/hostile-server.ts';

const PAIRS = {
  ES256: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  ES384: generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  EdDSA: generateKeyPairSync('ed25519'),
  RS256: generateKeyPairSync('rsa', { modulusLength: 2048 }),
};
const ASSERTION_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
const GOOD = { access_token: 'an-access-token', token_type: 'Bearer' };

function pem(key: KeyObject): Secret {
  return new Secret(key.export({ type: 'pkcs8', format: 'pem' }).toString());
}

function client(over: Partial<ClientRegistration> = {}): ClientRegistration {
  return {
    clientId: 'a-client:ü',
    privateKey: pem(PAIRS.ES256.privateKey),
    authMethod: 'private_key_jwt',
    redirectUris: [],
    source: 'pre-registered',
    ...over,
  };
}

function ask(server: TokenServer, registration: ClientRegistration) {
  return tokenRequest(server, registration, 'client_credentials', {});
}

/** Returns the assertion of a request, after jose verifies its signature with the key. */
async function assertionOf(request: LoggedRequest | undefined, { publicKey }: { publicKey: KeyObject }) {
  const form = new URLSearchParams(request?.body);
  expect(form.get('client_assertion_type')).toBe(ASSERTION_TYPE);
  return jwtVerify(form.get('client_assertion') ?? '', publicKey);
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

describe('private_key_jwt', () => {
  async function endpoint(answer: Handler | object = GOOD) {
    const server = await hostileServer({ '/token': answer, '/revoke': answer });
    return { server, at: { issuer: 'https://as.example/tenant', tokenEndpoint: `${server.origin}/token` } };
  }

  test('signs an assertion of the client about itself, for the issuer, valid for a minute', async () => {
    const { server, at } = await endpoint();
    const before = Math.floor(Date.now() / 1000);
    await ask(at, client());
    const { payload, protectedHeader } = await assertionOf(server.log[0], PAIRS.ES256);
    expect(protectedHeader).toEqual({ alg: 'ES256' });
    expect(payload).toEqual({
      iss: 'a-client:ü',
      sub: 'a-client:ü',
      aud: 'https://as.example/tenant',
      jti: expect.stringMatching(/^.{20,}$/),
      iat: expect.any(Number),
      exp: (payload.iat ?? 0) + 60,
    });
    expect(payload.iat).toBeGreaterThanOrEqual(before);
    expect(payload.iat).toBeLessThanOrEqual(Date.now() / 1000);
    const form = new URLSearchParams(server.log[0]?.body);
    expect(form.get('client_id')).toBe('a-client:ü');
    expect(form.has('client_secret')).toBe(false);
    expect(server.log[0]?.headers).not.toHaveProperty('authorization');
  });

  test('names the key in the assertion when the key has a name', async () => {
    const { server, at } = await endpoint();
    await ask(at, client({ keyId: 'key-7' }));
    expect((await assertionOf(server.log[0], PAIRS.ES256)).protectedHeader.kid).toBe('key-7');
  });

  test('makes a new assertion for each request, a revocation included', async () => {
    const { server, at } = await endpoint();
    await ask(at, client());
    await ask(at, client());
    const revocationEndpoint = `${server.origin}/revoke`;
    await revokeToken({ ...at, revocationEndpoint }, client(), new Secret('t'), 'access_token');
    const made = await Promise.all(server.log.map((request) => assertionOf(request, PAIRS.ES256)));
    expect(new Set(made.map(({ payload }) => payload.jti)).size).toBe(3);
    expect(made[2]?.payload.aud).toBe(at.issuer);
  });

  test.each([
    [undefined, 'RS256'],
    [['PS256'], 'PS256'],
  ])('signs with RSA, for a server that lists %j, by %s', async (signingAlgorithms, algorithm) => {
    const { server, at } = await endpoint();
    await ask({ ...at, signingAlgorithms }, client({ privateKey: pem(PAIRS.RS256.privateKey) }));
    expect((await assertionOf(server.log[0], PAIRS.RS256)).protectedHeader.alg).toBe(algorithm);
    const revocation = { ...at, revocationEndpoint: `${server.origin}/revoke`, signingAlgorithms };
    const registration = client({ privateKey: pem(PAIRS.RS256.privateKey) });
    await revokeToken(revocation, registration, new Secret('t'), 'access_token');
    expect((await assertionOf(server.log[1], PAIRS.RS256)).protectedHeader.alg).toBe(algorithm);
  });

  test.each([
    ['none', undefined],
    ['one that is not a private key', new Secret('certainly-not-a-private-key')],
    ['one that is too short', pem(generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey)],
  ])('sends nothing when the key is %s', async (_name, privateKey) => {
    const { server, at } = await endpoint();
    const error = await failure(ask(at, client({ privateKey })));
    expect(error).toBeInstanceOf(InvalidArgumentError);
    expect(secretsSeen(error, privateKey?.reveal().split('\n').slice(0, 1) ?? [])).toBe(0);
    expect(server.requests).toEqual([]);
  });

  test('hides the assertion and the token when the refusal repeats them', async () => {
    const sent: string[] = [];
    const { at, server } = await endpoint(((request, response) => {
      const form = new URLSearchParams(request.body);
      const assertion = form.get('client_assertion') ?? '';
      // A message is truncated, so the test also looks for the beginning of the sent assertion.
      sent.push(assertion, assertion.slice(0, 60));
      const error_description = `${assertion} ${request.body}`;
      return json({ error: 'invalid_client', error_description }, 401)(request, response);
    }) satisfies Handler);
    const parameters = { assertion: new Secret('ASSERTION-sent-and-secret') };
    const refused = await failure(tokenRequest(at, client(), 'jwt-bearer', parameters));
    const revocation = { ...at, revocationEndpoint: `${server.origin}/revoke` };
    const alike = await failure(revokeToken(revocation, client(), new Secret('T0KEN'), 'access_token'));
    expect(sent.every((text) => text.length >= 60)).toBe(true);
    const secrets = [...sent, 'ASSERTION-sent-and-secret', 'T0KEN'];
    for (const error of [refused, alike]) {
      expect(error).toMatchObject({ code: 'oauth-error', error: 'invalid_client' });
      expect(error.message).toContain('[secret]');
      expect(secretsSeen(error, secrets)).toBe(0);
    }
    expect(refused.hint).toContain('private key');
    expect(refused.hint).toContain('clock');
  });
});

test('hides the client_secret_basic header when the refusal repeats it', async () => {
  const server = await hostileServer({
    '/token': ((request, response) =>
      json({ error: 'invalid_client', error_description: request.headers.authorization }, 401)(
        request,
        response,
      )) satisfies Handler,
  });
  const registration = client({
    authMethod: 'client_secret_basic',
    clientSecret: new Secret('CLIENT-secret'),
  });
  const at = { issuer: server.origin, tokenEndpoint: `${server.origin}/token` };
  const error = await failure(ask(at, registration));
  const header = server.log[0]?.headers.authorization?.split(' ')[1] ?? '';
  expect(Buffer.from(header, 'base64').toString().endsWith(':CLIENT-secret')).toBe(true);
  expect(error.message).toContain('Basic [secret]');
  expect(secretsSeen(error, [header])).toBe(0);
});

describe('a real authorization server (oidc-provider)', () => {
  const algorithms = ['ES256', 'ES384', 'EdDSA', 'RS256', 'PS256'] as const;
  let server: Server;
  let at: TokenServer;

  beforeAll(async () => {
    for (const name of ['info', 'warn', 'error'] as const) vi.spyOn(console, name).mockReturnValue();
    const { default: Provider } = await import('oidc-provider');
    server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const provider = new Provider(issuer, {
      clients: algorithms.map((alg) => {
        const { publicKey } = PAIRS[alg === 'PS256' ? 'RS256' : alg];
        return {
          client_id: alg,
          token_endpoint_auth_method: 'private_key_jwt',
          token_endpoint_auth_signing_alg: alg,
          jwks: { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'the-key' }] },
          grant_types: ['client_credentials'],
          redirect_uris: [],
          response_types: [],
        };
      }),
      cookies: { keys: ['x'] },
      enabledJWA: { clientAuthSigningAlgValues: [...algorithms] },
      features: { clientCredentials: { enabled: true }, devInteractions: { enabled: false } },
    });
    const serve = provider.callback();
    server.on('request', (request, response) => void serve(request, response));
    at = { issuer, tokenEndpoint: `${issuer}/token` };
  });
  afterAll(async () => {
    vi.restoreAllMocks();
    await new Promise((resolve) => server.close(resolve));
  });

  test.each(algorithms)('accepts a client assertion signed with %s', async (alg) => {
    const { privateKey } = PAIRS[alg === 'PS256' ? 'RS256' : alg];
    const registration = client({ clientId: alg, privateKey: pem(privateKey), keyId: 'the-key' });
    const { tokens } = await ask({ ...at, signingAlgorithms: [alg] }, registration);
    expect(tokens.tokenType).toBe('Bearer');
    // A second request: the server remembers the first assertion and still accepts a new one.
    await ask({ ...at, signingAlgorithms: [alg] }, registration);
  });

  test('refuses the assertion of another key', async () => {
    const other = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const registration = client({ clientId: 'ES256', privateKey: pem(other.privateKey) });
    const error = await failure(ask(at, registration));
    expect(error).toMatchObject({ code: 'oauth-error', error: 'invalid_client' });
  });

  test('refuses an assertion meant for another server', async () => {
    const registration = client({ clientId: 'ES256' });
    const error = await failure(ask({ ...at, issuer: 'https://elsewhere.example' }, registration));
    expect(error).toMatchObject({ code: 'oauth-error', error: 'invalid_client' });
  });
});
