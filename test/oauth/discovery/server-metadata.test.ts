import { describe, expect, test } from 'vitest';
import {
  InvalidResponseError,
  IssuerMismatchError,
  ServerUnsupportedError,
  UnsafeUrlError,
} from '../../../src/errors.ts';
import { discover } from '../../../src/oauth/discovery/discovery.ts';
import { remoteHost } from '../../support/network/remote-host.ts';
import { answer, hostileServer } from '../../support/servers/hostile-server.ts';
import {
  failure,
  metadata,
  OAUTH,
  OPENID,
  publishing,
  RESOURCE,
  server,
} from '../../support/servers/mcp-routes.ts';

describe('the authorization server’s metadata', () => {
  test('tries the well-known URLs in the prescribed order for an issuer without a path', async () => {
    const found = await server((origin) => ({ [OAUTH]: answer(404), [OPENID]: metadata(origin) }));
    expect((await discover(`${found.origin}/mcp`)).server.issuer).toBe(found.origin);
    expect(found.requests.slice(2)).toEqual([`GET ${OAUTH}`, `GET ${OPENID}`]);
  });

  test.each(['/tenant/1', '/tenant/1/'])(
    'tries the well-known URLs in the prescribed order for an issuer with the path %s',
    async (path) => {
      const found = await server((origin) => ({
        [`${RESOURCE}/mcp`]: { resource: `${origin}/mcp`, authorization_servers: [`${origin}${path}`] },
        [`/tenant/1${OPENID}`]: metadata(`${origin}${path}`),
      }));
      expect((await discover(`${found.origin}/mcp`)).server.issuer).toBe(`${found.origin}${path}`);
      expect(found.requests.slice(2)).toEqual([
        `GET ${OAUTH}/tenant/1`,
        `GET ${OPENID}/tenant/1`,
        `GET /tenant/1${OPENID}`,
      ]);
    },
  );

  test('stops looking at the first document, even a wrong one', async () => {
    const found = await server((origin) => ({
      [OAUTH]: metadata('https://other.example'),
      [OPENID]: metadata(origin),
    }));
    expect(await failure(found)).toBeInstanceOf(IssuerMismatchError);
    expect(found.requests.slice(2)).toEqual([`GET ${OAUTH}`]);
  });

  test('skips a web page in place of the metadata', async () => {
    const found = await server((origin) => ({
      [OAUTH]: answer(200, '<html>', { 'content-type': 'Text/HTML; charset=utf-8' }),
      [OPENID]: metadata(origin),
    }));
    await discover(`${found.origin}/mcp`);
  });

  test('finds the metadata at the root of an MCP 2025-03-26 server', async () => {
    const found = await server(() => ({ [`${RESOURCE}/mcp`]: answer(404) }));
    expect(await discover(`${found.origin}/mcp`)).toMatchObject({
      resourceParameter: `${found.origin}/mcp`,
      resourceScopes: undefined,
      server: { issuer: found.origin },
    });
    expect(found.requests).toEqual(['POST /mcp', `GET ${RESOURCE}/mcp`, `GET ${RESOURCE}`, `GET ${OAUTH}`]);
  });

  test('accepts metadata without its optional members, or with null', async () => {
    const found = await publishing(() => ({
      registration_endpoint: null,
      revocation_endpoint: null,
      scopes_supported: null,
    }));
    expect((await discover(`${found.origin}/mcp`)).server).toMatchObject({
      registrationEndpoint: undefined,
      revocationEndpoint: undefined,
      scopesSupported: undefined,
      tokenEndpointAuthMethods: undefined,
      issParameterSupported: false,
    });
  });

  test.each([
    ['a trailing slash', (origin: string) => `${origin}/`],
    ['a path', (origin: string) => `${origin}/mcp`],
    ['another host', () => 'https://other.example'],
    ['another scheme', (origin: string) => origin.replace('http:', 'https:')],
    ['capitals', (origin: string) => origin.replace('http:', 'HTTP:')],
    ['escape sequences', () => '\u001b[2J\u202ehttps://other.example'],
  ])('compares issuers as strings and refuses one that differs by %s', async (_what, change) => {
    const found = await publishing((origin) => ({ issuer: change(origin) }));
    const error = await failure(found);
    expect(error).toBeInstanceOf(IssuerMismatchError);
    expect(error.message).not.toContain('\u202e');
  });

  test.each([
    ['a trailing slash', '/', ''],
    ['none', '', '/'],
  ])('compares the issuer with the published one, which has %s', async (_what, named, inDocument) => {
    const found = await server((origin) => ({
      [`${RESOURCE}/mcp`]: { resource: `${origin}/mcp`, authorization_servers: [`${origin}${named}`] },
      [OAUTH]: metadata(`${origin}${inDocument}`),
    }));
    expect(await failure(found)).toBeInstanceOf(IssuerMismatchError);
    found.routes[OAUTH] = metadata(`${found.origin}${named}`);
    expect((await discover(`${found.origin}/mcp`)).server.issuer).toBe(`${found.origin}${named}`);
  });

  test('treats a default port in the issuer as a difference', async () => {
    // A test cannot listen on the default port: the URL with the port leads to a server that names itself without it.
    const as = await hostileServer({}, remoteHost('as.example.com'));
    as.routes[OAUTH] = metadata('https://as.example.com');
    const found = await server((origin) => ({
      [`${RESOURCE}/mcp`]: { resource: `${origin}/mcp`, authorization_servers: [as.origin] },
    }));
    expect(await failure(found)).toBeInstanceOf(IssuerMismatchError);
    as.routes[OAUTH] = metadata(as.origin);
    expect((await discover(`${found.origin}/mcp`)).server.issuer).toBe(as.origin);
  });

  test.each(['?tenant=a', '?', '#a', '#'])(
    'does not ask for the metadata of an issuer that ends in %j',
    async (end) => {
      const found = await server((origin) => ({
        [`${RESOURCE}/mcp`]: { resource: `${origin}/mcp`, authorization_servers: [`${origin}/${end}`] },
      }));
      const error = await failure(found);
      expect(error).toBeInstanceOf(UnsafeUrlError);
      expect(error.message).toContain('query or a fragment');
      expect(found.requests.length).toBe(2);
    },
  );

  test.each([
    ['absent', undefined],
    ['null', null],
    ['empty', []],
    ['plain only', ['plain']],
    ['in another case', ['s256']],
  ])('refuses a server whose PKCE methods are %s', async (_what, methods) => {
    const found = await publishing(() => ({ code_challenge_methods_supported: methods }));
    const error = await failure(found);
    expect(error).toBeInstanceOf(ServerUnsupportedError);
    expect(error.message).toContain('PKCE');
  });

  test.each(['authorization', 'token'])('refuses a server that names no %s endpoint', async (name) => {
    const found = await publishing(() => ({ [`${name}_endpoint`]: undefined }));
    const error = await failure(found);
    expect(error).toBeInstanceOf(InvalidResponseError);
    expect(error.message).toContain(`names no ${name} endpoint`);
  });

  test.each([
    ['javascript:alert(1)', 'neither http nor https'],
    ['vbscript:x', 'neither http nor https'],
    ['file:///etc/passwd', 'neither http nor https'],
    ['data:text/html,x', 'neither http nor https'],
    ['smb://as.example/x', 'neither http nor https'],
    ['http://as.example/authorize', 'not https'],
    ['https://user:hunter2@as.example/authorize', 'user name or password'],
    ['/authorize', 'not a URL'],
    ['', 'not a URL'],
    ['https://as.example/\u0007authorize', 'not a URL'],
    ['https://as.example/\u001b]0;x\u0007', 'not a URL'],
    ['https://as.example/a\nb', 'not a URL'],
    [' https://as.example/a', 'not a URL'],
    [`https://as.example/${'a'.repeat(3000)}`, 'not a URL'],
    ...Array.from('"\'`$()<>|\\^{};').map((character) => [`https://as.example/a${character}b`, 'shell']),
    ['https://as.example/$(touch${IFS}x)', 'shell'],
  ])('refuses the authorization endpoint %j', async (url, why) => {
    const found = await publishing(() => ({ authorization_endpoint: url }));
    const error = await failure(found);
    expect(error).toBeInstanceOf(UnsafeUrlError);
    expect(error.message).toContain('authorization endpoint');
    expect(error.message).toContain(why);
    expect(error.message).not.toContain('hunter2');
    expect(error.message.length).toBeLessThan(500);
  });

  test('accepts an authorization endpoint with a query', async () => {
    const url = 'https://as.example/authorize?a=b&c=%20d';
    const found = await publishing(() => ({ authorization_endpoint: url }));
    expect((await discover(`${found.origin}/mcp`)).server.authorizationEndpoint).toBe(url);
  });

  test.each(['token', 'registration', 'revocation'])('refuses an unsafe %s endpoint', async (name) => {
    for (const url of ['http://as.example/x', 'javascript:x', 'https://u:p@as.example/', 'x']) {
      const found = await publishing(() => ({ [`${name}_endpoint`]: url }));
      const error = await failure(found);
      expect(error).toBeInstanceOf(UnsafeUrlError);
      expect(error.message).toContain(`${name} endpoint`);
    }
  });
});
