import { once } from 'node:events';
import { createServer } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { InvalidResponseError, NetworkError, TimeoutError } from '../../src/errors.ts';
import { type Request, send } from '../../src/http/request.ts';
import { failing } from '../support/failing.ts';
import { remoteHost } from '../support/network/remote-host.ts';
import { answer, hang, hostileServer, raw } from '../support/servers/hostile-server.ts';

/** Returns a port on which nothing listens. */
async function closedPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return typeof address === 'object' && address !== null ? address.port : 0;
}

function get(url: string, request: Partial<Request> = {}) {
  return send(url, { method: 'GET', ...request });
}

describe('an unusable answer', () => {
  test.each([
    ['another protocol', 'SSH-2.0-OpenSSH_9.6\r\n', 'invalid-response'],
    ['a broken status line', 'HTTP/1.1 abc\r\n\r\n', 'invalid-response'],
    ['a header without a name', 'HTTP/1.1 200 OK\r\n: a\r\n\r\n', 'invalid-response'],
    [
      'two lengths',
      'HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab',
      'invalid-response',
    ],
    ['nothing', '', 'network'],
    ['half a head', 'HTTP/1.1 200 OK\r\ncontent-', 'network'],
    ['half a body', 'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{"a"', 'network'],
    ['half a chunk', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\n{"a"', 'network'],
    ['an upgrade', 'HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n', 'network'],
  ])('reports %s as an error of its own kind', async (_what, bytes, code) => {
    const server = await hostileServer({ '/': raw(bytes) });
    const error = await failing(get(server.origin, { timeoutMs: 5000 }));
    expect(error.code).toBe(code);
    expect(error.message).toContain(`"127.0.0.1:${server.port}"`);
    // The request was already on its way.
    expect(error instanceof NetworkError && error.unsent).toBe(false);
  });

  test('reports an answer that cannot be decompressed as an invalid response', async () => {
    const server = await hostileServer({ '/': answer(200, 'plain', { 'content-encoding': 'gzip' }) });
    expect(await failing(get(server.origin))).toBeInstanceOf(InvalidResponseError);
  });

  test('raises no unhandled error after a request has failed', async () => {
    const later: unknown[] = [];
    const hear = (error: unknown) => void later.push(error);
    process.on('uncaughtException', hear).on('unhandledRejection', hear);
    onTestFinished(() => void process.off('uncaughtException', hear).off('unhandledRejection', hear));
    const codings = Array.from({ length: 200 }, () => 'gzip').join(',');
    const connections: Promise<unknown>[] = [];
    const server = await hostileServer({
      '/coded': (_request, response) => {
        connections.push(once(response, 'close'));
        response.writeHead(200, { 'content-encoding': codings }).write('x');
        setTimeout(() => response.destroy(), 50);
      },
      '/cut': (_request, response) => {
        connections.push(once(response, 'close'));
        response.writeHead(200, { 'content-length': '100' }).write('x');
        setTimeout(() => response.socket?.resetAndDestroy(), 20);
      },
    });
    const caller = new AbortController();
    const options = { timeoutMs: 200, signal: caller.signal };
    await failing(get(`${server.origin}/coded`, options));
    await failing(get(`${server.origin}/cut`, options));
    await send(`${server.origin}/cut`, { method: 'POST', headersOnly: true, ...options });
    caller.abort();
    // Node fires timers of one duration in the order in which they were set: the requests' own timers would fire first.
    await new Promise((resolve) => setTimeout(resolve, options.timeoutMs));
    await Promise.all(connections);
    await new Promise(setImmediate);
    expect(later).toEqual([]);
  });
});

describe('a failed request', () => {
  test('reports a closed port as retryable and unsent', async () => {
    const port = await closedPort();
    for (const host of ['127.0.0.1', 'localhost']) {
      const error = await failing(get(`http://${host}:${port}/`));
      expect(error).toBeInstanceOf(NetworkError);
      expect(error).toMatchObject({ unsent: true, retryable: true });
      expect(error.message).toContain(`"${host}:${port}" cannot be reached (ECONNREFUSED)`);
    }
  });

  test('reports an unknown name as unsent', async () => {
    expect(await failing(get('https://nowhere.invalid/'))).toMatchObject({ code: 'network', unsent: true });
  });

  test('reports an untrusted certificate as unsent, and the hint says how to trust it', async () => {
    remoteHost('mcp.example.com');
    const server = await hostileServer({}, remoteHost('mcp.example.com', { trusted: false }));
    const error = await failing(get(server.origin));
    expect(error).toMatchObject({ code: 'network', unsent: true });
    expect(error.message).toContain('its certificate is not trusted here');
    expect(error.hint).toContain('NODE_EXTRA_CA_CERTS');
    expect(server.log).toEqual([]);
  });

  test('reports a certificate for another name as unsent', async () => {
    remoteHost('mcp.example.com');
    const server = await hostileServer({}, { ...remoteHost('other.example.com') });
    const error = await failing(get(`https://mcp.example.com:${server.port}`));
    expect(error.message).toContain('ERR_TLS_CERT_ALTNAME_INVALID');
    expect(error).toMatchObject({ code: 'network', unsent: true });
  });

  test('reports a failed TLS handshake as unsent', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(() => void server.close());
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    server.once('connection', (socket) => socket.once('data', () => socket.destroy()));
    const reset = await failing(get(`https://127.0.0.1:${port}`));
    expect(reset).toMatchObject({ code: 'network', unsent: true });
    server.on('connection', (socket) => socket.on('error', () => {}));
    const silent = await failing(get(`https://127.0.0.1:${port}`, { timeoutMs: 200 }));
    expect(silent).toMatchObject({ code: 'network', unsent: true });
  });

  test('does not report a connection that broke after sending as unsent', async () => {
    const server = await hostileServer({ '/': (_request, { socket }) => void socket?.resetAndDestroy() });
    const error = await failing(send(server.origin, { method: 'POST', body: 'x' }));
    expect(error).toMatchObject({ code: 'network', unsent: false, retryable: true });
    expect(error.message).toContain('broke off');
    expect(server.requests).toEqual(['POST /']);
  });

  test('reports a timeout', async () => {
    const server = await hostileServer({ '/': hang() });
    expect(await failing(get(server.origin, { timeoutMs: 1000 }))).toBeInstanceOf(TimeoutError);
  });
});
