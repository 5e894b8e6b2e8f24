import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { canonicalResource } from '../../../src/credential.ts';
import {
  AbortedError,
  InvalidArgumentError,
  InvalidResponseError,
  NetworkError,
  NotAnMcpServerError,
  UnsafeUrlError,
} from '../../../src/errors.ts';
import { discover } from '../../../src/oauth/discovery/discovery.ts';
import { remoteHost } from '../../support/network/remote-host.ts';
import { answer, hostileServer, json, type Routes } from '../../support/servers/hostile-server.ts';
import { challenge, failure, metadata, OAUTH, RESOURCE, server } from '../../support/servers/mcp-routes.ts';
import { type Servers, startServers } from '../../support/servers/servers.ts';

describe('discovery at a real MCP server', () => {
  describe.each(['header', 'path', 'root'] as const)('metadata published by %s', (place) => {
    let servers: Servers;
    beforeAll(async () => {
      servers = await startServers({ metadata: place });
    });
    afterAll(() => servers.stop());

    test('finds the authorization server', async () => {
      const found = await discover(servers.resource);
      expect(found).toEqual({
        resource: servers.resource,
        resourceParameter: servers.resource,
        challengedScope: 'tools:call',
        resourceScopes: ['tools:call'],
        dpopRequired: false,
        // The server is on this machine, so it may name other servers on it.
        reach: 'anywhere',
        leniencies: [],
        server: {
          issuer: servers.issuer,
          authorizationEndpoint: `${servers.issuer}/auth`,
          tokenEndpoint: `${servers.issuer}/token`,
          registrationEndpoint: `${servers.issuer}/reg`,
          revocationEndpoint: `${servers.issuer}/token/revocation`,
          scopesSupported: ['openid', 'offline_access', 'tools:call'],
          deviceAuthorizationEndpoint: undefined,
          tokenEndpointAuthMethods: expect.arrayContaining(['none', 'client_secret_basic']),
          signingAlgorithms: expect.arrayContaining(['ES256']),
          issParameterSupported: true,
          clientIdMetadataDocumentSupported: false,
        },
      });
    });
  });

  test('says that a server without metadata offers no login', async () => {
    const servers = await startServers({ metadata: 'none' });
    try {
      expect(await failure(servers.resource)).toBeInstanceOf(NotAnMcpServerError);
    } finally {
      await servers.stop();
    }
  });
});

describe('a server that is not MCP', () => {
  test.each([
    [
      'a web site',
      { '*': answer(200, '<!doctype html><h1>Hi</h1>', { 'content-type': 'text/html' }) },
      'without a login',
    ],
    ['nothing but 404', {}, 'does not answer like an MCP server'],
    ['405 for everything', { '*': answer(405) }, 'HTTP 405'],
    ['an open server', { '/mcp': json({ jsonrpc: '2.0', id: 1, result: {} }) }, 'without a login'],
    ['another kind of login', { '/mcp': challenge('Basic realm="x"') }, 'asks for a login (HTTP 401)'],
    [
      'a redirect',
      { '/mcp': answer(301, '', { location: 'https://else.example/mcp\u009b2J' }) },
      'redirects to',
    ],
  ])('recognizes that %s is not an MCP server', async (_what, routes, message) => {
    const found = await hostileServer(routes);
    const error = await failure(found);
    expect(error).toBeInstanceOf(NotAnMcpServerError);
    expect(error.message).toContain(message);
    expect(error.retryable).toBe(false);
  });

  test('sends nothing over plain http to another machine', async () => {
    expect(() => canonicalResource('http://mcp.example.com/mcp')).toThrow(InvalidArgumentError);
    expect(await failure('http://mcp.example.com/mcp')).toBeInstanceOf(UnsafeUrlError);
  });

  test('rejects resource metadata that names no authorization server', async () => {
    const found = await server((origin) => ({
      [`${RESOURCE}/mcp`]: { resource: `${origin}/mcp` },
      [OAUTH]: answer(404),
    }));
    const error = await failure(found);
    expect(error).toBeInstanceOf(InvalidResponseError);
    expect(error.message).toContain('names no authorization server');
  });
});

describe('a remote server', () => {
  test('finds the authorization server of a remote server over TLS', async () => {
    const as = await hostileServer({}, remoteHost('as.example.com'));
    as.routes[OAUTH] = metadata(as.origin);
    const found = await server(
      (origin) => ({
        [`${RESOURCE}/mcp`]: { resource: `${origin}/mcp`, authorization_servers: [as.origin] },
      }),
      remoteHost('mcp.example.com'),
    );
    expect(await discover(`${found.origin}/mcp`)).toMatchObject({
      resource: `${found.origin}/mcp`,
      server: { issuer: as.origin, tokenEndpoint: `${as.origin}/token` },
    });
  });

  test.each(['http://127.0.0.1', 'https://localhost', 'https://0.0.0.0', 'https://[::ffff:127.0.0.1]'])(
    'lets no remote server point to this machine by %s, in any member',
    async (base) => {
      const here = await hostileServer({ '*': answer(200) });
      const url = `${base}:${here.port}/x`;
      const tls = remoteHost('mcp.example.com');
      const cases: [string, (origin: string) => Routes][] = [
        ['resource metadata', () => ({ '/mcp': challenge(`Bearer resource_metadata="${url}"`) })],
        [
          'issuer',
          (origin) => ({
            [`${RESOURCE}/mcp`]: { resource: `${origin}/mcp`, authorization_servers: [url] },
          }),
        ],
        ...['authorization', 'token', 'registration', 'revocation'].map(
          (name): [string, (origin: string) => Routes] => [
            `${name} endpoint`,
            (origin) => ({ [OAUTH]: metadata(origin, { [`${name}_endpoint`]: url }) }),
          ],
        ),
      ];
      for (const [name, changes] of cases) {
        const error = await failure(await server(changes, tls));
        expect(error).toBeInstanceOf(UnsafeUrlError);
        expect(error.message).toContain(name);
        expect(error.message).toContain('your own machine');
      }
      expect(here.log).toEqual([]);
    },
  );
});

describe('several authorization servers', () => {
  function naming(issuers: (origin: string) => string[], changes: (origin: string) => Routes = () => ({})) {
    return server((origin) => ({
      [`${RESOURCE}/mcp`]: { resource: `${origin}/mcp`, authorization_servers: issuers(origin) },
      ...changes(origin),
    }));
  }

  test('takes the first authorization server and asks no others', async () => {
    const found = await naming((origin) => [origin, `${origin}/second`]);
    expect((await discover(`${found.origin}/mcp`)).server.issuer).toBe(found.origin);
    expect(found.requests.slice(2)).toEqual([`GET ${OAUTH}`]);
  });

  test.each<[string, (origin: string) => [string, Routes]]>([
    ['has an unsafe issuer', () => ['javascript:alert(1)', {}]],
    ['publishes nothing', (origin) => [`${origin}/first`, {}]],
    [
      'calls itself something else',
      (origin) => [`${origin}/first`, { [`${OAUTH}/first`]: metadata(origin) }],
    ],
    [
      'lacks S256',
      (origin) => [
        `${origin}/first`,
        { [`${OAUTH}/first`]: metadata(`${origin}/first`, { code_challenge_methods_supported: [] }) },
      ],
    ],
    ['is in trouble', (origin) => [`${origin}/first`, { [`${OAUTH}/first`]: answer(503) }]],
    ['answers nonsense', (origin) => [`${origin}/first`, { [`${OAUTH}/first`]: answer(200, 'x') }]],
  ])('takes the second authorization server when the first %s', async (_what, first) => {
    const found = await naming(
      (origin) => [first(origin)[0], origin],
      (origin) => first(origin)[1],
    );
    expect((await discover(`${found.origin}/mcp`)).server.issuer).toBe(found.origin);
  });

  test('reports the first server’s fault when none is usable, and asks five at most', async () => {
    const found = await naming(
      (origin) => Array.from({ length: 50 }, (_, i) => `${origin}/${i}`),
      () => ({ '*': answer(404), [`${OAUTH}/0`]: answer(200, 'x') }),
    );
    const error = await failure(found);
    expect(error.message).toContain(`${OAUTH}/0" answers is not JSON`);
    expect(found.requests.slice(2).length).toBe(1 + 4 * 3);
  });

  test('stops the search at once at the caller’s signal', async () => {
    const caller = new AbortController();
    const found = await naming(
      (origin) => ['javascript:x', `${origin}/1`, `${origin}/2`],
      () => ({ [`${OAUTH}/1`]: () => caller.abort() }),
    );
    expect(await failure(found, { signal: caller.signal })).toBeInstanceOf(AbortedError);
    expect(found.requests.at(-1)).toBe(`GET ${OAUTH}/1`);
  });
});

describe('a server in trouble', () => {
  test.each<[string, string, number, Record<string, string>, number | undefined]>([
    ['the MCP server', '/mcp', 500, {}, undefined],
    ['the MCP server', '/mcp', 503, { 'retry-after': '7' }, 7000],
    ['the MCP server', '/mcp', 429, { 'retry-after': '2' }, 2000],
    ['its metadata', `${RESOURCE}/mcp`, 502, {}, undefined],
    ['the authorization server', OAUTH, 429, { 'retry-after': 'Sun, 06 Nov 1994 08:49:37 GMT' }, 0],
  ])(
    'reports a retryable error when %s at %s answers %i, %j',
    async (_what, place, status, headers, retryAfterMs) => {
      const found = await server(() => ({ [place]: answer(status, 'trouble', headers) }));
      const error = await failure(found);
      expect(error).toBeInstanceOf(NetworkError);
      expect(error).toMatchObject({ retryable: true, unsent: false, retryAfterMs });
      expect(error.message).toContain(`HTTP ${status}`);
    },
  );
});
