import { brotliCompressSync, gzipSync } from 'node:zlib';
import { describe, expect, onTestFinished, test } from 'vitest';
import { InvalidResponseError, NetworkError, ResponseTooLargeError } from '../../src/errors.ts';
import { createHttpFetch, type HttpResponse, MAX_ANSWER_BYTES } from '../../src/http/fetch.ts';
import { send } from '../../src/http/request.ts';
import { failing } from '../support/failing.ts';
import { answer, type Handler, hostileServer, raw, stream } from '../support/servers/hostile-server.ts';

/* Bodies as streams; request.test.ts tests bodies that are read whole. */

async function fetched(handler: Handler, init: RequestInit = {}) {
  const server = await hostileServer({ '*': handler });
  const http = createHttpFetch({ origin: '', headers: {} });
  onTestFinished(() => http.close());
  return (await http.fetch(server.origin, init)) as unknown as HttpResponse;
}

const BOMB_MEGABYTES = 900;
const bomb = () => Buffer.concat(Array(BOMB_MEGABYTES).fill(gzipSync(Buffer.alloc(1_000_000), { level: 9 })));

describe('the body of a hostile server', () => {
  test('reads a body to 64 MiB and no further', async () => {
    const endless = stream(Buffer.alloc(1024 * 1024, ' '));
    const response = await fetched(endless.handler);
    const error = await failing(response.text());
    expect(error).toBeInstanceOf(ResponseTooLargeError);
    expect(error.message).toContain('more than 64 MiB');
    await endless.closed;
  });

  test('counts a body after decompression', async () => {
    const response = await fetched(answer(200, bomb(), { 'content-encoding': 'gzip' }));
    const before = process.resourceUsage().maxRSS;
    expect(await failing(response.text())).toBeInstanceOf(ResponseTooLargeError);
    // In KiB: a fraction of the decompressed size.
    expect(process.resourceUsage().maxRSS - before).toBeLessThan((BOMB_MEGABYTES * 1000) / 2);
  });

  test('reads a body of the maximum size whole', async () => {
    const most = gzipSync(Buffer.alloc(MAX_ANSWER_BYTES, 'a'), { level: 1 });
    const response = await fetched(answer(200, most, { 'content-encoding': 'gzip' }));
    expect((await response.text()).length).toBe(MAX_ANSWER_BYTES);
  });

  test('delivers a body piece by piece, decompressed, before it has ended', async () => {
    const response = await fetched((_request, outgoing) => {
      outgoing.writeHead(200, { 'content-encoding': 'br' });
      const whole = brotliCompressSync('data: 1\n\n');
      outgoing.write(whole.subarray(0, 3));
      outgoing.write(whole.subarray(3));
    });
    let text = '';
    const first = new Promise<void>((resolve) => {
      void failing(
        response.chunks((chunk) => {
          text += chunk.toString();
          if (text.length === 9) resolve();
        }),
      );
    });
    await first;
    response.destroy();
    expect(text).toBe('data: 1\n\n');
  });

  test('reads the body of an error to its limit, however it ends', async () => {
    const endless = stream('no ');
    const refused = await fetched((request, outgoing) => {
      outgoing.statusCode = 500;
      return endless.handler(request, outgoing);
    });
    expect((await refused.beginning(1000)).length).toBe(1000);
    await endless.closed;
    const cut = await fetched(raw('HTTP/1.1 500 No\r\ncontent-length: 100\r\n\r\nsorry'));
    expect(await cut.beginning(1000)).toBe('sorry');
  });

  test('discards a body that is large or never ends', async () => {
    const [large, slow] = [stream(Buffer.alloc(65_536)), stream(' ', { everyMs: 20 })];
    for (const { handler, closed } of [large, slow]) {
      (await fetched(handler)).discard();
      await closed;
    }
  });

  test.each(['zstd', 'gzip, gzip', 'constructor', '\u00ff'])(
    'rejects a body in the encoding %j',
    async (coding) => {
      const response = await fetched(answer(200, gzipSync('{}'), { 'content-encoding': coding }));
      const error = await failing(response.text());
      expect(error).toBeInstanceOf(InvalidResponseError);
      expect(error.message).toContain('unknown encoding');
    },
  );

  test.each([
    ['is no gzip at all', Buffer.from('plain')],
    ['is gzip, and cut', gzipSync('a long text that does not come to its end').subarray(0, 30)],
  ])('rejects a body that %s', async (_, bytes) => {
    const handler = answer(200, bytes, { 'content-encoding': 'gzip' });
    expect(await failing((await fetched(handler)).text())).toBeInstanceOf(InvalidResponseError);
    const server = await hostileServer({ '*': handler });
    expect(await failing(send(server.origin, { method: 'GET' }))).toBeInstanceOf(InvalidResponseError);
  });

  test.each(['gzip', 'br', 'zstd'])(
    'accepts an empty body whatever its encoding, such as %s',
    async (coding) => {
      const handler = answer(401, '', { 'content-encoding': coding });
      expect(await (await fetched(handler)).text()).toBe('');
      const server = await hostileServer({ '*': handler });
      expect(await send(server.origin, { method: 'GET' })).toMatchObject({
        status: 401,
        body: new Uint8Array(),
      });
    },
  );

  test('reports a body that breaks off as a network failure, compressed or not', async () => {
    const cut = (coding: string) => raw(`HTTP/1.1 200 OK\r\ncontent-length: 99\r\n${coding}\r\n{"a"`);
    expect(await failing((await fetched(cut(''))).text())).toBeInstanceOf(NetworkError);
    const compressed: Handler = (_request, outgoing) => {
      outgoing.writeHead(200, { 'content-encoding': 'gzip', 'content-length': 1000 });
      outgoing.write(gzipSync('{"a":1}').subarray(0, 12), () => outgoing.socket?.destroy());
    };
    expect(await failing((await fetched(compressed)).text())).toBeInstanceOf(NetworkError);
  });
});
