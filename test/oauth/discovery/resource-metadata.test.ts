import { describe, expect, test } from 'vitest';
import { InvalidResponseError, UnsafeUrlError } from '../../../src/errors.ts';
import { discover } from '../../../src/oauth/discovery/discovery.ts';
import { answer, hostileServer } from '../../support/servers/hostile-server.ts';
import { challenge, failure, metadata, OAUTH, RESOURCE, server } from '../../support/servers/mcp-routes.ts';

describe('the resource’s metadata', () => {
  test('reads the resource metadata where the challenge says, and asks nowhere else', async () => {
    const found = await server((origin) => ({
      '/mcp': challenge(`Basic realm="x", Bearer scope="a b", resource_metadata="${origin}/elsewhere?x=1"`),
      '/elsewhere?x=1': {
        resource: `${origin}/mcp`,
        authorization_servers: [origin],
        scopes_supported: ['c'],
      },
    }));
    expect(await discover(`${found.origin}/mcp`)).toMatchObject({
      challengedScope: 'a b',
      resourceScopes: ['c'],
    });
    expect(found.requests).toEqual(['POST /mcp', 'GET /elsewhere?x=1', `GET ${OAUTH}`]);
    expect(found.log.every(({ headers }) => headers.authorization === undefined)).toBe(true);
  });

  test.each([2000, 4000, 8000])(
    'finds the metadata of a server whose URL has %i characters',
    async (length) => {
      const query = `?x=${'a'.repeat(length - 'http://127.0.0.1:12345/mcp?x='.length)}`;
      const found = await server((origin) => ({
        [`/mcp${query}`]: challenge(`Bearer resource_metadata="${origin}${RESOURCE}/mcp${query}"`),
        [`${RESOURCE}/mcp${query}`]: { resource: `${origin}/mcp${query}`, authorization_servers: [origin] },
      }));
      const resource = `${found.origin}/mcp${query}`;
      expect((await discover(resource)).resourceParameter === resource).toBe(true);
    },
  );

  test('tries the server’s path, then the root, when no challenge names the metadata', async () => {
    const found = await server((origin) => ({
      [`${RESOURCE}/mcp`]: answer(404),
      [RESOURCE]: { resource: origin, authorization_servers: [origin] },
    }));
    await discover(`${found.origin}/mcp`);
    expect(found.requests).toEqual(['POST /mcp', `GET ${RESOURCE}/mcp`, `GET ${RESOURCE}`, `GET ${OAUTH}`]);
  });

  test('tries the well-known URLs when the metadata is not where the challenge says', async () => {
    const found = await server((origin) => ({
      '/mcp': challenge(`Bearer resource_metadata="${origin}/gone"`),
      [`${RESOURCE}/mcp`]: answer(404),
      [RESOURCE]: { resource: origin, authorization_servers: [origin] },
    }));
    await discover(`${found.origin}/mcp`);
    expect(found.requests.slice(1, 4)).toEqual(['GET /gone', `GET ${RESOURCE}/mcp`, `GET ${RESOURCE}`]);
  });

  test('asks each URL once, even when the challenge names one of them', async () => {
    const found = await server((origin) => ({
      '/mcp': challenge(`Bearer resource_metadata="${origin}${RESOURCE}/mcp"`),
      [`${RESOURCE}/mcp`]: answer(404),
    }));
    await discover(`${found.origin}/mcp`);
    expect(found.requests).toEqual(['POST /mcp', `GET ${RESOURCE}/mcp`, `GET ${RESOURCE}`, `GET ${OAUTH}`]);
  });

  test('looks at one URL for a server at the root, and adds the query of its URL', async () => {
    const routes = (origin: string) => ({ '/': challenge(), [OAUTH]: metadata(origin) });
    const root = await hostileServer(routes);
    await discover(root.origin);
    expect(root.requests).toEqual(['POST /', `GET ${RESOURCE}`, `GET ${OAUTH}`]);
    const query = await hostileServer(routes);
    await discover(`${query.origin}/?team=a`);
    expect(query.requests).toEqual([
      'POST /?team=a',
      `GET ${RESOURCE}?team=a`,
      `GET ${RESOURCE}`,
      `GET ${OAUTH}`,
    ]);
  });

  test.each([
    ['/mcp', '/mcp'],
    ['', '/mcp'],
    ['/', '/mcp'],
    ['/a', '/a/b/mcp'],
    ['/a/', '/a/b'],
    ['/mcp/', '/mcp'],
    ['/mcp', '/mcp?team=a'],
    ['/mcp?team=a', '/mcp?team=a'],
  ])('accepts resource %j for a server at %j, and keeps it byte for byte', async (resource, path) => {
    const found = await server((origin) => ({
      [path]: challenge(),
      [`${RESOURCE}${path}`]: { resource: `${origin}${resource}`, authorization_servers: [origin] },
    }));
    const { resourceParameter } = await discover(`${found.origin}${path}`);
    expect(resourceParameter).toBe(`${found.origin}${resource}`);
  });

  test('accepts a resource in capitals, and keeps the capitals', async () => {
    const found = await server((origin) => ({
      [`${RESOURCE}/mcp`]: { resource: origin.replace('http', 'HTTP'), authorization_servers: [origin] },
    }));
    expect((await discover(`${found.origin}/mcp`)).resourceParameter).toBe(
      found.origin.replace('http', 'HTTP'),
    );
  });

  test.each([
    ['https://mcp.example.com/mcp'],
    ['ORIGIN/other'],
    ['ORIGIN/mc'],
    ['ORIGIN/mcp/deeper'],
    ['ORIGIN/mcp?team=other'],
    ['ORIGIN/mcp#part'],
    ['ORIGIN/mcp#'],
    ['ORIGIN/m\ncp'],
    ['ORIGIN/mcp '],
    ['http://user:hunter2@HOST/mcp'],
    ['https://HOST/mcp'],
    ['mcp'],
  ])('refuses the metadata of another resource, %j', async (template) => {
    const found = await server((origin) => ({
      [`${RESOURCE}/mcp`]: {
        resource: template.replace('ORIGIN', origin).replace('HOST', new URL(origin).host),
        authorization_servers: [origin],
      },
    }));
    const error = await failure(found);
    expect(error).toBeInstanceOf(InvalidResponseError);
    expect(error.message).toContain('is that of');
    expect(found.requests).toEqual(['POST /mcp', `GET ${RESOURCE}/mcp`]);
  });

  test.each([
    ['not a URL', 'nonsense'],
    ['javascript:', 'javascript:alert(1)'],
    ['file:', 'file:///etc/passwd'],
    ['plain http elsewhere', 'http://mcp.example.com/meta'],
    ['credentials', 'https://user:hunter2@mcp.example.com/meta'],
  ])('does not fetch metadata from a URL that is %s', async (_what, pointer) => {
    const found = await server(() => ({ '/mcp': challenge(`Bearer resource_metadata="${pointer}"`) }));
    const error = await failure(found);
    expect(error).toBeInstanceOf(UnsafeUrlError);
    expect(error.message).not.toContain('hunter2');
    expect(found.requests).toEqual(['POST /mcp']);
  });
});
