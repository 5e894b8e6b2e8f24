import { describe, expect, test } from 'vitest';
import { sseServer, statefulServer } from './sdk1-servers.ts';
import { statelessServer } from './sdk2-servers.ts';
import { client1, client2, eventually, program, raw } from './through.ts';

const holdfast = program();

const echo = (text: string) => ({ name: 'echo', arguments: { text } });

describe('a server that ends the session', () => {
  test.each([404, 400])(
    'begins a new session when the server answers %i, unnoticed by the client',
    async (unknownSession) => {
      const server = await statefulServer({ unknownSession });
      const proxy = raw(holdfast, [server.url]);
      await proxy.begin();
      await proxy.ask('resources/subscribe', { uri: 'file:///a' });
      const before = proxy.received.length;
      server.forget();
      const answers = await Promise.all([1, 2, 3].map((n) => proxy.ask('tools/call', echo(`call ${n}`))));
      expect(answers.map(({ result }) => result?.['content'])).toEqual(
        [1, 2, 3].map((n) => [{ type: 'text', text: `call ${n}` }]),
      );
      // Three answers and nothing else: the proxy hides the new `initialize` from the client.
      expect(proxy.received).toHaveLength(before + 3);
      const begins = server.seen.filter(({ body }) => body.includes('"initialize"'));
      expect(begins).toHaveLength(2);
      expect(server.noted.filter((one) => one.startsWith('resources/subscribe'))).toHaveLength(2);
      expect(server.noted.filter((one) => one.startsWith('echo'))).toHaveLength(3);
    },
  );
});

describe('a server that restarts', () => {
  test.each([
    ['with sessions', statefulServer],
    ['without sessions', statelessServer],
    ['over HTTP+SSE', sseServer],
  ] as const)('reaches a server %s again with a request made while it was down', async (_, start) => {
    const server = await start();
    const client = await client1(holdfast, [server.url]);
    await client.callTool(echo('before'));
    await server.down();
    const call = client.callTool(echo('meanwhile'));
    await new Promise((resolve) => setTimeout(resolve, 300));
    await server.up();
    expect((await call).content).toEqual([{ type: 'text', text: 'meanwhile' }]);
    expect(server.noted).toEqual(['echo before', 'echo meanwhile']);
  });

  test('fails only the call that a restart interrupted', async () => {
    const server = await statefulServer({ json: true });
    const client = await client1(holdfast, [server.url]);
    const call = client.callTool({ name: 'wait' });
    await eventually(() => server.noted.includes('wait began'));
    await server.restart();
    await expect(call).rejects.toThrow('broke off before an answer came');
    expect((await client.callTool(echo('after'))).content).toEqual([{ type: 'text', text: 'after' }]);
    expect(server.noted.filter((one) => one === 'wait began')).toHaveLength(1);
  });

  test('forwards change notifications again after a restart', async () => {
    const server = await statefulServer();
    const proxy = raw(holdfast, [server.url]);
    await proxy.begin();
    await eventually(() => server.seen.some(({ method }) => method === 'GET'));
    await server.restart();
    const changed = proxy.next(({ method }) => method === 'notifications/tools/list_changed');
    let told = false;
    void changed.then(() => (told = true));
    await eventually(() => {
      server.announce();
      return told;
    });
  });
});

test('resumes an answer from its last event when the stream breaks off', async () => {
  const server = await statefulServer();
  const client = await client1(holdfast, [server.url]);
  expect((await client.callTool({ name: 'cut' })).content).toEqual([{ type: 'text', text: 'after the cut' }]);
  const resumed = server.seen.filter(
    ({ method, headers }) => method === 'GET' && headers['last-event-id'] !== undefined,
  );
  expect(resumed.length).toBeGreaterThan(0);
});

test('reports a server that cannot be reached', async () => {
  const server = await statefulServer();
  await server.down();
  const proxy = raw(holdfast, [server.url]);
  const { error } = await proxy.begin();
  expect(error?.message).toMatch(/cannot be reached \(ECONNREFUSED\)/);
  await server.up();
});

describe('the end of the proxy', () => {
  test('ends the session and exits with 0 and no output when its input ends', async () => {
    const server = await statefulServer();
    const proxy = raw(holdfast, [server.url]);
    await proxy.begin();
    expect(await proxy.end()).toBe(0);
    expect(server.noted).toContain('session ended');
    expect(proxy.errors()).toBe('');
  });

  test('still delivers the answer to a request that came right before the end of input', async () => {
    const server = await statefulServer();
    const proxy = raw(holdfast, [server.url]);
    await proxy.begin();
    const answer = proxy.ask('tools/call', echo('last words'));
    expect(await proxy.end()).toBe(0);
    expect((await answer).result?.['content']).toEqual([{ type: 'text', text: 'last words' }]);
  });

  test.each(['SIGTERM', 'SIGINT'] as const)('exits cleanly on %s', async (signal) => {
    const server = await statefulServer();
    const proxy = raw(holdfast, [server.url]);
    await proxy.begin();
    const ended = new Promise((resolve) => proxy.child.once('exit', (code) => resolve(code)));
    proxy.child.kill(signal);
    expect(await ended).toBe(0);
    expect(server.noted).toContain('session ended');
  });
});

test('serves a client that asks for the old transport first from both kinds of server', async () => {
  const [old, young] = [await sseServer(), await statelessServer()];
  for (const { url } of [old, young]) {
    const client = await client1(holdfast, [url, '--transport', 'sse-first']);
    expect((await client.callTool(echo('here'))).content).toEqual([{ type: 'text', text: 'here' }]);
  }
  const only = raw(holdfast, [old.url, '--transport', 'http-only']);
  expect((await only.begin()).error?.message).toMatch(/answered HTTP 404/);
  const sse = raw(holdfast, [young.url, '--transport', 'sse-only']);
  expect((await sse.begin()).error?.message).toBe('Method not allowed.');
});

test('survives a restart for a client of revision 2026-07-28', async () => {
  const server = await statelessServer({ modernOnly: true });
  const client = await client2(holdfast, [server.url]);
  await client.callTool(echo('before'));
  await server.restart();
  await client.callTool(echo('after'));
  expect(server.noted).toEqual(['echo before', 'echo after']);
});
