import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { NetworkError } from '../../src/errors.ts';
import { createHttpFetch, type HttpResponse } from '../../src/http/fetch.ts';
import { failing } from '../support/failing.ts';
import { connectProxy } from '../support/network/connect-proxy.ts';
import { remoteHost } from '../support/network/remote-host.ts';
import { answer, hostileServer, type Routes } from '../support/servers/hostile-server.ts';

afterEach(() => void vi.unstubAllEnvs());

function client(own: { origin: string; headers: Record<string, string> } = { origin: '', headers: {} }) {
  const http = createHttpFetch(own);
  onTestFinished(() => http.close());
  return async (url: string, init: Parameters<typeof http.fetch>[1] = {}) =>
    (await http.fetch(url, init)) as unknown as HttpResponse;
}

async function networkError(work: Promise<unknown>): Promise<NetworkError> {
  const error = await failing(work);
  if (error instanceof NetworkError) return error;
  throw error;
}

test('sends what it is given, and keeps the connection for the next request', async () => {
  const ports = new Set<number | undefined>();
  const server = await hostileServer({
    '/mcp': (request, response) => {
      ports.add(response.socket?.remotePort);
      response.setHeader('x-method', request.method).end(`got ${request.body}`);
    },
  });
  const send = client();
  for (const body of ['one', 'two', 'three']) {
    const response = await send(`${server.origin}/mcp`, { method: 'POST', body, headers: { 'x-a': 'b' } });
    expect([response.status, response.header('x-method')]).toEqual([200, 'POST']);
    expect(await response.text()).toBe(`got ${body}`);
  }
  expect(server.log[0]?.headers).toMatchObject({ 'x-a': 'b', 'content-length': '3' });
  expect(ports.size).toBe(1);
});

test('sends the user’s headers to their origin and to no other', async () => {
  const routes: Routes = { '*': answer(200, 'ok') };
  const [own, other] = [await hostileServer(routes), await hostileServer(routes)];
  const send = client({ origin: own.origin, headers: { 'x-key': 'secret' } });
  for (const { origin } of [own, other]) (await send(`${origin}/`)).discard();
  expect(own.log[0]?.headers['x-key']).toBe('secret');
  expect(other.log[0]?.headers).not.toHaveProperty('x-key');
});

test('decompresses an answer although it asked for no compression', async () => {
  const server = await hostileServer({
    '*': (_, response) => void response.setHeader('content-encoding', 'gzip').end(gzipSync('plain')),
  });
  expect(await (await client()(`${server.origin}/`)).text()).toBe('plain');
});

test('ends the request at the signal, before the answer and within it', async () => {
  const server = await hostileServer({
    '/never': () => {},
    '/half': (_, response) => void response.write('half'),
  });
  const send = client();
  const before = new AbortController();
  const never = send(`${server.origin}/never`, { signal: before.signal });
  before.abort(new Error('enough'));
  await expect(never).rejects.toThrow('enough');
  const within = new AbortController();
  const half = (await send(`${server.origin}/half`, { signal: within.signal })).text();
  within.abort();
  await expect(half).rejects.toThrow();
});

test('says whether a failed request was sent', async () => {
  const server = await hostileServer({ '*': (_, response) => void response.socket?.destroy() });
  const send = client();
  const cut = await networkError(send(`${server.origin}/`, { method: 'POST', body: 'x' }));
  expect(cut.unsent).toBe(false);
  const refused = await networkError(send('http://127.0.0.1:1/'));
  expect(refused.unsent).toBe(true);
  expect(refused.message).toContain('ECONNREFUSED');
});

describe('fetch through a proxy', () => {
  test('sends https over a tunnel, and keeps the tunnel', async () => {
    const server = await hostileServer({ '*': answer(200, 'here') }, remoteHost('mcp.example.com'));
    const proxy = await connectProxy();
    vi.stubEnv('NO_PROXY', undefined);
    vi.stubEnv('no_proxy', undefined);
    vi.stubEnv('HTTPS_PROXY', `http://127.0.0.1:${proxy.port}`);
    const send = client();
    for (const path of ['/1', '/2'])
      expect(await (await send(`${server.origin}${path}`)).text()).toBe('here');
    expect(proxy.targets).toEqual([`mcp.example.com:${server.port}`]);
    expect(server.requests).toEqual(['GET /1', 'GET /2']);
  });

  test('names the proxy that refuses to connect', async () => {
    const server = await hostileServer({ '*': answer(200, 'here') }, remoteHost('mcp.example.com'));
    const proxy = await connectProxy({ status: 403 });
    vi.stubEnv('NO_PROXY', undefined);
    vi.stubEnv('no_proxy', undefined);
    vi.stubEnv('HTTPS_PROXY', `http://127.0.0.1:${proxy.port}`);
    const error = await networkError(client()(`${server.origin}/`));
    expect(error.message).toMatch(/^The proxy .* does not connect/);
    expect(error.unsent).toBe(true);
  });
});
