import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { AbortedError, InvalidResponseError, ResponseTooLargeError, TimeoutError } from '../../src/errors.ts';
import { MAX_RESPONSE_BYTES, type Request, retryAfterMs, send } from '../../src/http/request.ts';
import { failing } from '../support/failing.ts';
import { answer, hostileServer, raw, stream } from '../support/servers/hostile-server.ts';

function get(url: string, request: Partial<Request> = {}) {
  return send(url, { method: 'GET', ...request });
}

describe('a request', () => {
  test('sends what it is given, names itself, and asks for no compression', async () => {
    const server = await hostileServer({ '/a': answer(201, 'made', { 'x-one': ['1', '2'] }) });
    const response = await send(`${server.origin}/a?b=c`, {
      method: 'POST',
      headers: { 'content-type': 'text/plain' },
      body: 'grüße',
    });
    expect(response.status).toBe(201);
    expect(response.headers.get('x-one')).toBe('1, 2');
    expect(Buffer.from(response.body).toString()).toBe('made');
    expect(server.log).toMatchObject([{ method: 'POST', url: '/a?b=c', body: 'grüße' }]);
    expect(server.log[0]?.headers).toMatchObject({
      'content-type': 'text/plain',
      'accept-encoding': 'identity',
      'user-agent': expect.stringMatching(/^holdfast\/\d/),
    });
  });

  test('closes the connection after the headers when no body is wanted', async () => {
    const endless = stream('data: x\n\n');
    const server = await hostileServer({ '/sse': endless.handler });
    const response = await send(`${server.origin}/sse`, { method: 'POST', headersOnly: true });
    expect([response.status, response.body.byteLength]).toEqual([200, 0]);
    await endless.closed;
  });

  test.each([
    ['gzip', gzipSync('{"a":1}')],
    ['X-GZIP', gzipSync('{"a":1}')],
    ['deflate', deflateSync('{"a":1}')],
    ['br', brotliCompressSync('{"a":1}')],
    ['identity', '{"a":1}'],
  ])('reads an answer in %s although it did not ask for it', async (coding, body) => {
    const server = await hostileServer({ '/': answer(200, body, { 'content-encoding': coding }) });
    expect(Buffer.from((await get(server.origin)).body).toString()).toBe('{"a":1}');
  });
});

describe('an oversized or endless answer', () => {
  test('reads an answer of 50 MB to the limit and no further', async () => {
    const large = stream(Buffer.alloc(65_536, ' '), { limit: 50_000_000 });
    const server = await hostileServer({ '/': large.handler });
    const error = await failing(get(server.origin));
    expect(error).toBeInstanceOf(ResponseTooLargeError);
    expect(error.message).toContain('1024 KiB');
    // The bytes in the kernel's buffers count too.
    expect(await large.closed).toBeLessThan(25_000_000);
  });

  test('reads an answer of the maximum size whole', async () => {
    const server = await hostileServer({ '/': answer(200, Buffer.alloc(MAX_RESPONSE_BYTES, 'a')) });
    expect((await get(server.origin)).body.byteLength).toBe(MAX_RESPONSE_BYTES);
    server.routes['/'] = answer(200, Buffer.alloc(MAX_RESPONSE_BYTES + 1, 'a'));
    expect(await failing(get(server.origin))).toBeInstanceOf(ResponseTooLargeError);
  });

  test('closes an endless answer at the limit', async () => {
    const endless = stream(Buffer.alloc(65_536, 'a'));
    const server = await hostileServer({ '/': endless.handler });
    expect(await failing(get(server.origin))).toBeInstanceOf(ResponseTooLargeError);
    await endless.closed;
  });

  test('closes an answer that trickles at the timeout', async () => {
    const trickle = stream(' ', { everyMs: 20 });
    const server = await hostileServer({ '/': trickle.handler });
    const error = await failing(get(server.origin, { timeoutMs: 1000 }));
    expect(error).toBeInstanceOf(TimeoutError);
    expect(error).toMatchObject({ retryable: true, message: expect.stringContaining('within 1 s') });
    await trickle.closed;
  });

  test('decompresses a gzip bomb to the limit and no further', async () => {
    const megabytes = 900;
    const bomb = Buffer.concat(Array(megabytes).fill(gzipSync(Buffer.alloc(1_000_000), { level: 9 })));
    expect(bomb.byteLength).toBeLessThan(MAX_RESPONSE_BYTES);
    const server = await hostileServer({ '/': answer(200, bomb, { 'content-encoding': 'gzip' }) });
    const before = process.resourceUsage().maxRSS;
    expect(await failing(get(server.origin))).toBeInstanceOf(ResponseTooLargeError);
    // In KiB: a fraction of the decompressed size.
    expect(process.resourceUsage().maxRSS - before).toBeLessThan((megabytes * 1000) / 4);
  });

  test.each(['gzip, gzip', 'zstd', 'constructor'])(
    'does not decompress an answer in the encoding %j',
    async (coding) => {
      const server = await hostileServer({
        '/': answer(200, gzipSync(gzipSync('{}')), { 'content-encoding': coding }),
      });
      const error = await failing(get(server.origin));
      expect(error).toBeInstanceOf(InvalidResponseError);
      expect(error.message).toContain(`"${coding}"`);
    },
  );

  test('closes an answer with endless headers, in the head and after the body', async () => {
    const line = `x-a: ${'b'.repeat(1000)}\r\n`;
    const server = await hostileServer({
      '/head': raw(`HTTP/1.1 200 OK\r\n${line.repeat(100)}`, true),
      '/trailer': raw(`HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n${line.repeat(100)}`, true),
    });
    const error = await failing(get(`${server.origin}/head`));
    expect(error).toBeInstanceOf(ResponseTooLargeError);
    expect(error.message).toContain('headers');
    expect((await failing(get(`${server.origin}/trailer`))).code).toMatch(/^(response-too-large|network)$/);
  });

  test('closes an answer of informational responses at the timeout', async () => {
    const server = await hostileServer({
      '/': (_request, { socket }) => {
        const timer = setInterval(() => socket?.write('HTTP/1.1 103 Early Hints\r\n\r\n'), 5);
        socket?.once('close', () => clearInterval(timer));
      },
    });
    expect(await failing(get(server.origin, { timeoutMs: 1000 }))).toBeInstanceOf(TimeoutError);
  });
});

describe('the caller’s signal', () => {
  test('sends nothing when the caller’s signal is already aborted', async () => {
    const server = await hostileServer({ '*': answer(200) });
    const error = await failing(get(server.origin, { signal: AbortSignal.abort() }));
    expect(error).toBeInstanceOf(AbortedError);
    expect(error.retryable).toBe(false);
    expect(server.log).toEqual([]);
  });

  test('stops waiting for the head and reading the body at the caller’s signal', async () => {
    const caller = new AbortController();
    const trickle = stream(' ', { everyMs: 10 });
    const server = await hostileServer({
      '/hang': () => caller.abort(),
      '/trickle': (request, response) => {
        setTimeout(() => other.abort(), 100);
        return trickle.handler(request, response);
      },
    });
    const other = new AbortController();
    expect(await failing(get(`${server.origin}/hang`, { signal: caller.signal }))).toBeInstanceOf(
      AbortedError,
    );
    expect(await failing(get(`${server.origin}/trickle`, { signal: other.signal }))).toBeInstanceOf(
      AbortedError,
    );
    await trickle.closed;
  });
});

describe('Retry-After', () => {
  const asked = (value?: string) =>
    retryAfterMs(new Headers(value === undefined ? {} : { 'retry-after': value }));

  test('reads Retry-After in seconds and as a date, an hour at most', () => {
    expect(asked('0')).toBe(0);
    expect(asked('120')).toBe(120_000);
    expect(asked('86400')).toBe(3_600_000);
    expect(asked(new Date(Date.now() + 86_400_000).toUTCString())).toBe(3_600_000);
    expect(asked('Sun, 06 Nov 1994 08:49:37 GMT')).toBe(0);
    const soon = asked(new Date(Date.now() + 600_000).toUTCString()) ?? 0;
    expect(soon > 0 && soon <= 600_000).toBe(true);
  });

  test.each([undefined, '', 'soon', '-1', '1.5', '1e3', '99999999999', '2030-01-01', 'Sun, whenever GMT'])(
    'ignores the Retry-After value %j',
    (value) => {
      expect(asked(value)).toBeUndefined();
    },
  );
});
