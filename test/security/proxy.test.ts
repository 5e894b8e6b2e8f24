import { describe, expect, test } from 'vitest';
import { program, raw } from '../proxy/through.ts';
import { seededHome } from '../support/homes/seeded-home.ts';
import { answer, type Handler, hostileServer, type Routes } from '../support/servers/hostile-server.ts';

/* Where `holdfast proxy` sends the token and the user's headers, and what a server can do to the client's channel. */

const holdfast = program();
const HELLO = { protocolVersion: '2025-11-25', capabilities: {}, serverInfo: { name: 'bad', version: '1' } };
const JSON_TYPE = { 'content-type': 'application/json' };
const EVENTS = { 'content-type': 'text/event-stream' };

function result(id: unknown, value: object): string {
  return JSON.stringify({ jsonrpc: '2.0', id, result: value });
}

/** A proxy with a login, to a server that answers `initialize` as the test says. */
async function proxied(routes: Routes, ...more: string[]) {
  const server = await hostileServer(routes);
  const url = `${server.origin}/mcp`;
  const home = await seededHome(url);
  const variables = { HOLDFAST_HOME: home.path, HOLDFAST_KEYRING: 'file' };
  const proxy = raw(holdfast, [url, '--header', 'X-Team: blue', ...more], variables);
  return { server, proxy, token: home.token };
}

/** Routes that answer a POST with a request in it, and refuse everything else. */
function toRequests(
  handler: (id: unknown, response: Parameters<Handler>[1], method: string) => void,
): Routes {
  return {
    '/mcp': (request, response) => {
      if (request.method !== 'POST') return void response.writeHead(405).end();
      const { id, method } = JSON.parse(request.body) as { id?: unknown; method: string };
      if (id === undefined) return void response.writeHead(202).end();
      handler(id, response, method);
    },
  };
}

const hello = toRequests((id, response) => {
  response.writeHead(200, { ...JSON_TYPE, 'set-cookie': 'session=1' }).end(result(id, HELLO));
});

describe('the proxy', () => {
  test('the proxy sends the token and the user’s headers, asks for no compression, and keeps no cookie', async () => {
    const { server, proxy, token } = await proxied(hello);
    await proxy.begin();
    await proxy.ask('tools/list');
    await proxy.end();
    expect(server.log.length).toBeGreaterThan(1);
    for (const { headers } of server.log) {
      expect(headers).toMatchObject({
        authorization: `Bearer ${token}`,
        'x-team': 'blue',
        'accept-encoding': 'identity',
      });
      expect(headers).not.toHaveProperty('cookie');
    }
  });

  test.each([301, 302, 303, 307, 308])('does not follow a redirect %i to another origin', async (status) => {
    const other = await hostileServer({ '*': answer(200, result('request-1', HELLO), JSON_TYPE) });
    const { proxy } = await proxied({ '/mcp': answer(status, '', { location: `${other.origin}/stolen` }) });
    expect((await proxy.begin()).error?.message).toContain(`HTTP ${status}`);
    await proxy.end();
    expect(other.log).toEqual([]);
  });

  test('does not follow a redirect that puts another host behind the server’s as a user name', async () => {
    const other = await hostileServer({ '*': answer(200, result('request-1', HELLO), JSON_TYPE) });
    const { proxy } = await proxied({
      '/mcp': (request, response) => {
        const host = request.headers.host ?? '';
        response.writeHead(307, { location: `http://${host}@127.0.0.1:${other.port}/stolen` }).end();
      },
    });
    expect((await proxy.begin()).error?.message).toContain('HTTP 307');
    await proxy.end();
    expect(other.log).toEqual([]);
  });

  test('sends nothing to an endpoint of the old transport at another origin', async () => {
    const other = await hostileServer({ '*': answer(202) });
    const { proxy } = await proxied(
      {
        '/mcp': (request, response) => {
          if (request.method !== 'GET') return void response.writeHead(405).end();
          response.writeHead(200, EVENTS).write(`event: endpoint\ndata: ${other.origin}/messages\n\n`);
        },
      },
      '--transport',
      'sse-first',
    );
    expect((await proxy.begin()).error).toBeDefined();
    await proxy.end();
    expect(other.log).toEqual([]);
  });

  test('drops answers without a request, answers with another type of id, and second answers', async () => {
    const { proxy } = await proxied(
      toRequests((id, response) => {
        const number = Number(String(id).replace('request-', ''));
        const events = [
          result(999, { forged: true }),
          result(number, { forged: true }),
          'not json',
          result(id, HELLO),
          result(id, { forged: true }),
        ];
        response.writeHead(200, EVENTS).end(events.map((one) => `data: ${one}\n\n`).join(''));
      }),
    );
    expect((await proxy.begin()).result).toEqual(HELLO);
    await proxy.end();
    expect(proxy.lines.filter((line) => line.includes('forged'))).toEqual([]);
  });

  test.each([202, 204])(
    'answers a request, initialize included, that the server answers with %i and no body',
    async (status) => {
      let isLater = false;
      const { server, proxy } = await proxied(
        toRequests((id, response) => {
          if (isLater) response.writeHead(200, JSON_TYPE).end(result(id, HELLO));
          else response.writeHead(status).end();
        }),
      );
      const said = `"127.0.0.1:${server.port}" answered a request with HTTP ${status} and no response.`;
      expect((await proxy.begin()).error?.message).toContain(said);
      isLater = true;
      expect((await proxy.begin()).result).toEqual(HELLO);
      isLater = false;
      expect((await proxy.ask('tools/list')).error?.message).toContain(said);
      await proxy.end();
    },
  );

  test('makes no header of a line break in the server’s protocol version', async () => {
    const { server, proxy } = await proxied(
      toRequests((id, response) => {
        const protocolVersion = '2025-11-25\r\nx-injected: 1';
        response.writeHead(200, JSON_TYPE).end(result(id, { ...HELLO, protocolVersion }));
      }),
    );
    await proxy.begin();
    await proxy.ask('tools/list');
    await proxy.end();
    for (const { headers } of server.log) expect(headers).not.toHaveProperty('x-injected');
  });

  test('makes no header of a line break in a client’s method or protocol version', async () => {
    const { server, proxy } = await proxied(hello);
    const version = '2026-07-28\r\nx-injected: 1';
    const meta = { 'io.modelcontextprotocol/protocolVersion': version };
    proxy.write({
      jsonrpc: '2.0',
      id: 7,
      method: 'x\r\nx-injected: 2',
      params: { name: 'n\r\nx-injected: 3', _meta: meta },
    });
    await proxy.next(({ id }) => id === 7);
    // The proxy still runs.
    expect((await proxy.begin()).result).toBeDefined();
    await proxy.end();
    for (const { headers } of server.log) expect(headers).not.toHaveProperty('x-injected');
  });

  test.each(['not json', '[]', '{"jsonrpc":"2.0","id":{"a":1},"method":"x"}', 'null'])(
    'answers %s, which is no message, and continues',
    async (line) => {
      const { proxy } = await proxied(hello);
      proxy.write(line);
      expect((await proxy.next(({ id }) => id === null)).error?.code).toBe(-32_700);
      expect((await proxy.begin()).result).toBeDefined();
      expect(await proxy.end()).toBe(0);
    },
  );

  test('ends an endless event, and forwards nothing of it', async () => {
    const { proxy } = await proxied(
      toRequests((_id, response) => {
        response.writeHead(200, EVENTS).on('error', () => {});
        const more = () => {
          while (response.write(`data: ${'x'.repeat(1 << 20)}`));
          response.once('drain', more);
        };
        more();
      }),
    );
    expect((await proxy.begin()).error?.message).toMatch(/more than \d+ MiB/);
    await proxy.end();
    expect(proxy.lines.every((line) => line.length < 10_000)).toBe(true);
  });
});
