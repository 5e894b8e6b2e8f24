import { describe, expect, test } from 'vitest';
import { answer, type Handler, hostileServer, type Routes } from '../support/servers/hostile-server.ts';
import { statefulServer } from './sdk1-servers.ts';
import { eventually, program, raw } from './through.ts';

const holdfast = program();

const HELLO = { protocolVersion: '2025-11-25', capabilities: {}, serverInfo: { name: 'bad', version: '1' } };

/** Answers `initialize` well, and every other request by `rest`. */
function after(rest: Handler): Routes {
  return {
    '/mcp': (request, response) => {
      if (request.method === 'GET') return void response.writeHead(405).end();
      const { id, method } = JSON.parse(request.body) as { id?: unknown; method: string };
      if (id === undefined) return void response.writeHead(202).end();
      if (method !== 'initialize') return rest(request, response);
      response
        .setHeader('content-type', 'application/json')
        .end(JSON.stringify({ jsonrpc: '2.0', id, result: HELLO }));
    },
  };
}

async function asked(rest: Handler) {
  const server = await hostileServer(after(rest));
  const proxy = raw(holdfast, [`${server.origin}/mcp`]);
  await proxy.begin();
  return { server, proxy, answer: await proxy.ask('tools/list') };
}

describe('hostile answers', () => {
  test.each<[string, Handler, RegExp]>([
    ['with a page', answer(200, '<h1>hi</h1>', { 'content-type': 'text/html' }), /neither JSON nor a stream/],
    [
      'with JSON that is no message',
      answer(200, '{"a":1}', { 'content-type': 'application/json' }),
      /no JSON-RPC message/,
    ],
    [
      'with an error and a page',
      answer(503, '<b>later</b>', { 'content-type': 'text/html' }),
      /answered HTTP 503/,
    ],
    [
      'with a redirect to elsewhere',
      answer(307, '', { location: 'http://127.0.0.1:1/steal' }),
      /answered HTTP 307/,
    ],
    ['and breaks off', (_, response) => void response.socket?.destroy(), /broke off before an answer/],
    [
      'with a stream that ends at once',
      answer(200, ': nothing\n\n', { 'content-type': 'text/event-stream' }),
      /broke off before the answer/,
    ],
  ])('reports a server that answers %s', async (_, rest, expected) => {
    const { proxy, answer: got } = await asked(rest);
    expect(got.error?.message).toMatch(expected);
    expect(await proxy.end()).toBe(0);
  });

  test('ignores a second answer and messages that nobody asked for', async () => {
    const { proxy, answer: got } = await asked((request, response) => {
      const { id } = JSON.parse(request.body) as { id: string };
      const event = (message: object) => `data: ${JSON.stringify({ jsonrpc: '2.0', ...message })}\n\n`;
      response
        .setHeader('content-type', 'text/event-stream')
        .end(
          `${event({ id: 'other', result: {} })}data: {broken\n\n${event({ id, result: { tools: [] } })}${event({ id, result: { tools: [1] } })}`,
        );
    });
    expect(got.result).toEqual({ tools: [] });
    await proxy.end();
    expect(proxy.received.filter(({ method }) => method === undefined)).toHaveLength(2);
  });

  test('passes on a JSON-RPC error with any HTTP status', async () => {
    const error = { code: -32_020, message: 'HeaderMismatch', data: { header: 'mcp-name' } };
    const { answer: got } = await asked(
      (_, response) =>
        void response
          .writeHead(400, { 'content-type': 'application/json' })
          .end(JSON.stringify({ jsonrpc: '2.0', id: null, error })),
    );
    expect(got.error).toEqual(error);
  });
});

test('sends nothing when a server of the old transport names an endpoint elsewhere', async () => {
  const other = await hostileServer({ '*': answer(202) });
  const server = await hostileServer({
    '/sse': (request, response) => {
      if (request.method !== 'GET') return void response.writeHead(405).end();
      response
        .setHeader('content-type', 'text/event-stream')
        .write(`event: endpoint\ndata: ${other.origin}/steal\n\n`);
    },
  });
  const proxy = raw(holdfast, [
    `${server.origin}/sse`,
    '--transport',
    'sse-only',
    '--header',
    'X-Key: secret',
  ]);
  const { error } = await proxy.begin();
  expect(error?.message).toMatch(/as the URL for messages, which is not its own/);
  expect(other.requests).toEqual([]);
});

test('recognizes that a server of the old transport needs a login', async () => {
  const server = await hostileServer({
    '/sse': (request, response) => {
      if (request.method !== 'GET') return void response.writeHead(405).end();
      response.writeHead(401, { 'www-authenticate': 'Bearer' }).end();
    },
  });
  const proxy = raw(holdfast, [`${server.origin}/sse`]);
  expect((await proxy.begin()).result?.['serverInfo']).toMatchObject({ name: 'holdfast' });
});

test('passes a 401 on when the user supplied a login in a header', async () => {
  const server = await hostileServer({ '/mcp': answer(401, '', { 'www-authenticate': 'Bearer' }) });
  const proxy = raw(holdfast, [`${server.origin}/mcp`, '--header', 'Authorization: Bearer ${KEY}'], {
    KEY: 'mine',
  });
  expect((await proxy.begin()).error?.message).toMatch(/answered HTTP 401/);
  expect(server.log[0]?.headers.authorization).toBe('Bearer mine');
});

test('ends when its client is gone without notice', async () => {
  const server = await statefulServer();
  const proxy = raw(holdfast, [server.url]);
  await proxy.begin();
  proxy.child.stdout?.destroy();
  proxy.write({ jsonrpc: '2.0', id: 'x', method: 'tools/list' });
  await eventually(() => proxy.child.exitCode !== null);
  expect(proxy.errors()).toBe('');
});
