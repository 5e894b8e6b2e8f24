import { connect } from 'node:net';
import fc from 'fast-check';
import { describe, expect, onTestFinished, test } from 'vitest';
import { belongsTo } from '../../../src/oauth/authorization.ts';
import { type CallbackServer, openCallbackServer } from '../../../src/oauth/callback-server.ts';
import { damaged } from './mutation.ts';

describe('the callback server', () => {
  const STATE = 'St4te-0123456789';

  async function opened(): Promise<{ server: CallbackServer; asked: () => number }> {
    let asked = 0;
    const request = {
      url: '',
      state: STATE,
      codeVerifier: '',
      issuer: '',
      issParameterSupported: false,
      requestedScope: undefined,
    };
    const server = await openCallbackServer({
      belongs: (parameters) => {
        asked += 1;
        return belongsTo(request, parameters);
      },
    });
    return { server, asked: () => asked };
  }

  /** Sends the bytes in pieces and answers all that comes back, once either side has ended. */
  async function say(server: CallbackServer, bytes: Buffer, cuts: readonly number[] = []): Promise<string> {
    const { hostname, port } = new URL(server.redirectUri);
    const socket = connect({ host: hostname, port: Number(port) });
    let heard = '';
    socket.setEncoding('latin1').on('data', (text: string) => {
      heard += text;
    });
    socket.on('error', () => {});
    const closed = new Promise((resolve) => socket.once('close', resolve));
    await new Promise((resolve) => socket.once('connect', resolve));
    let from = 0;
    for (const cut of [...cuts].map((at) => at % bytes.length).toSorted((a, b) => a - b)) {
      socket.write(bytes.subarray(from, cut));
      from = cut;
      await new Promise(setImmediate);
    }
    socket.end(bytes.subarray(from));
    await closed;
    return heard;
  }

  const wrongState = fc
    .oneof(
      fc
        .record({ at: fc.nat(STATE.length), length: fc.nat(2), by: fc.string({ maxLength: 2 }) })
        .map((one) => damaged(STATE, one)),
      fc.constantFrom('', STATE.toLowerCase(), `${STATE}\0`, ` ${STATE}`, STATE.slice(1)),
      fc.string({ unit: 'binary', maxLength: 30 }),
    )
    .filter((state) => state !== STATE);
  const query = fc.oneof(
    wrongState.map((state) => new URLSearchParams({ code: 'x', state }).toString()),
    // The first state is the one that counts, and it is wrong.
    wrongState.map((state) => `${new URLSearchParams({ state }).toString()}&state=${STATE}`),
    fc.constantFrom(
      `State=${STATE}`,
      `state[]=${STATE}`,
      `state;=${STATE}`,
      `%00state=${STATE}`,
      `x=?state=${STATE}`,
    ),
    fc.webQueryParameters(),
  );
  const rightQuery = `code=x&state=${STATE}`;
  const words = (text: string) => fc.constantFrom(...text.split(' '));
  const header = fc.oneof(
    fc
      .tuple(
        words('Content-Length Transfer-Encoding Expect Upgrade Connection Purpose'),
        words('0 5 -1 chunked 100-continue websocket Upgrade close keep-alive prefetch'),
      )
      .map(([name, text]) => `${name}: ${text}\r\n`),
    { weight: 2, arbitrary: fc.webSegment().map((text) => `X-Mark: ${text}\r\n`) },
    fc.string({ maxLength: 20 }).map((text) => `${text}\r\n`),
  );

  /** Requests of which each lacks one thing at least: the state, the path, the method, or the host. */
  const request = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        method: words('GET GET GET HEAD POST'),
        target: query.map((text) => `/callback?${text}`),
      }),
    },
    fc.record({
      method: fc.constantFrom('GET', 'CONNECT'),
      target: fc
        .constantFrom('/', '/Callback', '/callback/', '/callback;', '//callback', '*', 'http://x/callback')
        .map((path) => `${path}?${rightQuery}`),
    }),
    fc.record({
      method: fc.constantFrom('POST', 'PUT', 'HEAD', 'OPTIONS', 'get', 'GET\t', 'TRACE', ''),
      target: fc.constant(`/callback?${rightQuery}`),
    }),
    fc.record({
      method: fc.constant('GET'),
      target: fc.constant(`/callback?${rightQuery}`),
      host: fc.constantFrom('evil.invalid', '', '127.0.0.1', '127.0.0.1:1', '[::1]'),
    }),
  );

  test('takes nothing but the right state, whatever bytes come, and still takes that afterwards', async () => {
    const { server, asked } = await opened();
    onTestFinished(() => server.close());
    const { host } = new URL(server.redirectUri);
    let arrived = false;
    const arrival = server.next({ timeoutMs: 60_000 }).then((callback) => {
      arrived = true;
      return callback;
    });
    const bytes = fc.oneof(
      {
        weight: 6,
        arbitrary: fc
          .tuple(request, fc.array(header, { maxLength: 2 }), words('1.1 1.1 1.1 1.0 2.0 0.9'))
          .map(([one, headers, version]) => {
            const named = 'host' in one ? one.host : host;
            return `${one.method} ${one.target} HTTP/${version}\r\nHost: ${named}\r\n${headers.join('')}\r\n`;
          }),
      },
      { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 200 }) },
    );
    await fc.assert(
      fc.asyncProperty(bytes, fc.array(fc.nat(500), { maxLength: 2 }), async (text, cuts) => {
        const heard = await say(server, Buffer.from(text), cuts);
        // Nothing good is answered, if anything.
        expect(heard.replace(/^HTTP\/1\.1 100 Continue\r\n\r\n/, '')).toMatch(/^(HTTP\/1\.1 [45]\d\d |$)/);
        expect(arrived).toBe(false);
      }),
      { numRuns: 400 },
    );
    // Many came as far as the check of the state.
    expect(asked()).toBeGreaterThan(40);
    const page = say(server, Buffer.from(`GET /callback?${rightQuery} HTTP/1.1\r\nHost: ${host}\r\n\r\n`));
    await (await arrival).succeed({ resource: 'https://mcp.example/mcp', account: 'default' });
    expect(await page).toMatch(/^HTTP\/1\.1 200 /);
  });

  test('yields of a good redirect every parameter as it was sent, in however many pieces it comes', async () => {
    const parameters = fc.record({
      code: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 60 }),
      iss: fc.webUrl(),
      extra: fc.string({ maxLength: 60 }),
    });
    await fc.assert(
      fc.asyncProperty(parameters, fc.array(fc.nat(500), { maxLength: 4 }), async (sent, cuts) => {
        const { server } = await opened();
        try {
          const { host } = new URL(server.redirectUri);
          const text = new URLSearchParams({ ...sent, state: STATE }).toString();
          const page = say(
            server,
            Buffer.from(`GET /callback?${text} HTTP/1.1\r\nHost: ${host}\r\n\r\n`),
            cuts,
          );
          const callback = await server.next({ timeoutMs: 30_000 });
          expect(Object.fromEntries(callback.parameters)).toEqual({ ...sent, state: STATE });
          await callback.succeed({ resource: 'https://mcp.example/mcp', account: 'default' });
          expect(await page).toMatch(/^HTTP\/1\.1 200 /);
        } finally {
          await server.close();
        }
      }),
      { numRuns: 60 },
    );
  });
});
