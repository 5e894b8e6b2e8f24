import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
  LoggingMessageNotificationSchema,
  ToolListChangedNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js';
import { describe, expect, test } from 'vitest';
import { hostileServer } from '../support/servers/hostile-server.ts';
import type { RealServer } from './real-server.ts';
import { sseServer, statefulServer } from './sdk1-servers.ts';
import { statelessServer } from './sdk2-servers.ts';
import { client1, client2, eventually, program, raw } from './through.ts';

const holdfast = program();

describe.each([
  ['with sessions, answers as streams', () => statefulServer()],
  ['with sessions, answers as JSON', () => statefulServer({ json: true })],
  ['over HTTP+SSE', sseServer],
] as const)('a server of SDK v1 %s', (name, start: () => Promise<RealServer>) => {
  /** A server that answers only with JSON cannot send messages before its answer. */
  const streaming = (does: string, body: () => Promise<void>) => {
    if (!name.includes('JSON')) test(does, body);
  };

  test('calls a tool and forwards its error unchanged', async () => {
    const server = await start();
    const client = await client1(holdfast, [server.url]);
    expect(client.getServerVersion()).toEqual({ name: 'real', version: '1.0.0' });
    expect(client.getInstructions()).toBe('Be kind.');
    expect((await client.listTools()).tools).toHaveLength(6);
    const result = await client.callTool({ name: 'echo', arguments: { text: 'grüß\u2028Gott \n 🎉' } });
    expect(result.content).toEqual([{ type: 'text', text: 'grüß\u2028Gott \n 🎉' }]);
    await expect(client.callTool({ name: 'fail' })).rejects.toMatchObject({
      code: -32_099,
      message: expect.stringContaining('it broke'),
      data: { why: 'on purpose' },
    });
  });

  streaming('brings progress and logs in their order, before the answer', async () => {
    const server = await start();
    const heard: unknown[] = [];
    const client = await client1(holdfast, [server.url]);
    client.setNotificationHandler(
      LoggingMessageNotificationSchema,
      ({ params }) => void heard.push(`log ${String(params.data)}`),
    );
    const result = await client.callTool({ name: 'count', arguments: { to: 5 } }, undefined, {
      onprogress: ({ progress }) => void heard.push(`progress ${progress}`),
    });
    expect(result.content).toEqual([{ type: 'text', text: 'counted to 5' }]);
    const numbers = [1, 2, 3, 4, 5];
    expect(heard.filter((one) => String(one).startsWith('log'))).toEqual(numbers.map((n) => `log ${n}`));
    expect(heard.filter((one) => String(one).startsWith('progress'))).toEqual(
      numbers.map((n) => `progress ${n}`),
    );
  });

  streaming('hands on sampling, elicitation and roots', async () => {
    const server = await start();
    const client = await client1(
      holdfast,
      [server.url],
      {},
      { capabilities: { sampling: {}, elicitation: { form: {} }, roots: {} } },
      (one) => {
        one.setRequestHandler(CreateMessageRequestSchema, () => ({
          model: 'm',
          role: 'assistant',
          content: { type: 'text', text: 'said' },
        }));
        one.setRequestHandler(ElicitRequestSchema, () => ({ action: 'accept', content: { name: 'Ada' } }));
        one.setRequestHandler(ListRootsRequestSchema, () => ({ roots: [{ uri: 'file:///r' }] }));
      },
    );
    // The server asks for roots over the session's stream, which opens a moment after initialization.
    await eventually(() => server.seen.some(({ method }) => method === 'GET'));
    const [content] = (await client.callTool({ name: 'ask' })).content as { text: string }[];
    expect(JSON.parse(content?.text ?? '')).toEqual({
      sampled: { type: 'text', text: 'said' },
      elicited: { name: 'Ada' },
      roots: [{ uri: 'file:///r' }],
    });
  });

  test('cancels a call at the server', async () => {
    const server = await start();
    const client = await client1(holdfast, [server.url]);
    const stop = new AbortController();
    const call = client.callTool({ name: 'wait' }, undefined, { signal: stop.signal });
    await eventually(() => server.noted.includes('wait began'));
    stop.abort('enough');
    await expect(call).rejects.toThrow('enough');
    await eventually(() => server.noted.includes('wait cancelled'));
    expect((await client.callTool({ name: 'echo', arguments: { text: 'on' } })).content).toHaveLength(1);
  });

  test('forwards notifications of the server', async () => {
    const server = await start();
    let changes = 0;
    const client = await client1(holdfast, [server.url]);
    client.setNotificationHandler(ToolListChangedNotificationSchema, () => void (changes += 1));
    await eventually(() => server.seen.some(({ method }) => method === 'GET'));
    await eventually(() => {
      server.announce();
      return changes > 0;
    });
  });

  test('answers fifty calls at once, each with its own result', async () => {
    const server = await start();
    const client = await client1(holdfast, [server.url]);
    const texts = Array.from({ length: 50 }, (_, index) => `call ${index}`);
    const results = await Promise.all(
      texts.map((text) => client.callTool({ name: 'echo', arguments: { text } })),
    );
    expect(results.map(({ content }) => (content as { text: string }[])[0]?.text)).toEqual(texts);
    expect(server.noted.toSorted()).toEqual(texts.map((text) => `echo ${text}`).toSorted());
  });

  test('carries eight megabytes in both directions', async () => {
    const server = await start();
    const client = await client1(holdfast, [server.url]);
    const text = 'grüße '.repeat(1_200_000);
    const [content] = (await client.callTool({ name: 'echo', arguments: { text } })).content as {
      text: string;
    }[];
    expect(content?.text === text).toBe(true);
  });

  test('negotiates the common revision with a client of SDK v2', async () => {
    const server = await start();
    const client = await client2(holdfast, [server.url], { versionNegotiation: { mode: 'auto' } });
    expect(client.getNegotiatedProtocolVersion()).toBe('2025-11-25');
    expect((await client.callTool({ name: 'echo', arguments: { text: 'hello' } })).content).toEqual([
      { type: 'text', text: 'hello' },
    ]);
  });
});

describe('a server of SDK v2 without sessions', () => {
  test('sends the required headers for a client of revision 2026-07-28', async () => {
    const server = await statelessServer({ modernOnly: true });
    const client = await client2(holdfast, [server.url]);
    expect(client.getNegotiatedProtocolVersion()).toBe('2026-07-28');
    await client.listTools();
    expect((await client.callTool({ name: 'echo', arguments: { text: 'hi' } })).content).toEqual([
      { type: 'text', text: 'hi' },
    ]);
    expect((await client.callTool({ name: 'routed', arguments: { region: 'Köln' } })).content).toEqual([
      { type: 'text', text: 'Köln' },
    ]);
    const { headers } = server.seen.at(-1) ?? { headers: {} };
    expect(headers).toMatchObject({
      'mcp-method': 'tools/call',
      'mcp-name': 'routed',
      'mcp-protocol-version': '2026-07-28',
      'mcp-param-region': '=?base64?S8O2bG4=?=',
    });
  });

  test('forwards progress, and questions to the client during a call', async () => {
    const server = await statelessServer();
    const progress: number[] = [];
    const client = await client2(
      holdfast,
      [server.url],
      { capabilities: { elicitation: { form: {} } } },
      {},
      (one) =>
        one.setRequestHandler('elicitation/create', () => ({ action: 'accept', content: { name: 'Ada' } })),
    );
    await client.callTool(
      { name: 'count', arguments: { to: 3 } },
      { onprogress: (one) => void progress.push(one.progress) },
    );
    expect(progress).toEqual([1, 2, 3]);
    const [content] = (await client.callTool({ name: 'name' })).content as { text: string }[];
    expect(content?.text).toContain('Ada');
  });

  test('ends the request when its call is cancelled', async () => {
    const server = await statelessServer();
    const client = await client2(holdfast, [server.url]);
    const stop = new AbortController();
    const call = client.callTool({ name: 'wait' }, { signal: stop.signal });
    await eventually(() => server.noted.includes('wait began'));
    stop.abort('enough');
    await expect(call).rejects.toThrow();
    await eventually(() => server.noted.includes('wait cancelled'));
  });

  test('keeps a subscription over a restart of the server', async () => {
    const server = await statelessServer();
    let changes = 0;
    const client = await client2(holdfast, [server.url]);
    client.setNotificationHandler('notifications/tools/list_changed', () => void (changes += 1));
    await client.listen({ toolsListChanged: true });
    server.announce();
    await eventually(() => changes === 1);
    await server.restart();
    await eventually(() => {
      server.announce();
      return changes > 1;
    });
  });

  test('connects a client of SDK v1 to a server of SDK v2', async () => {
    const server = await statelessServer();
    const client = await client1(holdfast, [server.url]);
    expect((await client.callTool({ name: 'echo', arguments: { text: 'old' } })).content).toEqual([
      { type: 'text', text: 'old' },
    ]);
  });
});

describe('raw messages', () => {
  test('forwards a message byte for byte, with large numbers and unknown members', async () => {
    const server = await statefulServer();
    const proxy = raw(holdfast, [server.url]);
    await proxy.begin();
    const line = `{"method":"tools/call","zzz":1, "params":{"name":"echo","arguments":{"text":"x","big":12345678901234567890}},"id":7,"jsonrpc":"2.0"}`;
    proxy.write(line);
    await proxy.next(({ id }) => id === 7);
    expect(server.seen.map(({ body }) => body)).toContain(line);
  });

  test('forwards a batch as one message, and answers it', async () => {
    const server = await statefulServer();
    const proxy = raw(holdfast, [server.url]);
    const params = {
      protocolVersion: '2025-03-26',
      capabilities: {},
      clientInfo: { name: 't', version: '1' },
    };
    await proxy.ask('initialize', params);
    proxy.write({ jsonrpc: '2.0', method: 'notifications/initialized' });
    const call = (id: number) => ({
      jsonrpc: '2.0',
      id,
      method: 'tools/call',
      params: { name: 'echo', arguments: { text: `${id}` } },
    });
    proxy.write([call(1), call(2)]);
    await eventually(() => [1, 2].every((id) => proxy.received.flat().some((message) => message.id === id)));
  });

  test('answers nonsense with a parse error, and goes on', async () => {
    const server = await statefulServer();
    const proxy = raw(holdfast, [server.url]);
    proxy.write('this is no JSON');
    expect((await proxy.next(({ id }) => id === null)).error?.code).toBe(-32_700);
    expect((await proxy.begin()).result).toBeDefined();
    expect(await proxy.end()).toBe(0);
    expect(proxy.errors()).toBe('');
  });

  test('passes the error of the server on as it is', async () => {
    const server = await statefulServer();
    const proxy = raw(holdfast, [server.url.replace('/mcp', '/sse'), '--transport', 'http-only']);
    server.forget();
    const answer = await proxy.ask('tools/list');
    expect(answer.error).toEqual({ code: -32_000, message: 'Bad Request: Server not initialized' });
  });

  test('reports an HTTP error without a JSON-RPC error with its status and its text', async () => {
    const server = await hostileServer({
      '/mcp': (_request, response) => void response.writeHead(422).end('Not on a Tuesday.'),
    });
    const proxy = raw(holdfast, [`${server.origin}/mcp`, '--transport', 'http-only']);
    const answer = await proxy.ask('initialize');
    expect(answer.error).toMatchObject({ data: { status: 422, body: 'Not on a Tuesday.' } });
  });
});
