import assert from 'node:assert/strict';
import { connect } from 'node:net';
import fc from 'fast-check';
import { belongsTo } from '../../../src/oauth/authorization/authorization.ts';
import { type CallbackServer, openCallbackServer } from '../../../src/oauth/authorization/callback-server.ts';
import { readPasted } from '../../../src/oauth/authorization/pasted-redirect.ts';
import { damaged, hostileTexts, pieces } from '../inputs.ts';
import { checkFailure, checkShown, feed, type Target } from '../target.ts';

/* The redirect at the end of a login, over a raw socket or pasted by a person. */

const STATE = 'St4te-0123456789';
const REQUEST = {
  url: '',
  state: STATE,
  codeVerifier: '',
  issuer: 'https://as.example',
  issParameterSupported: false,
  requestedScope: undefined,
};

/**
 * Sends the bytes in pieces. Closes its side after them unless `stays`. @returns all answers, once the connection is
 * closed
 */
async function say(
  server: CallbackServer,
  bytes: Buffer,
  cuts: readonly number[] = [],
  stays = false,
): Promise<string> {
  const { hostname, port } = new URL(server.redirectUri);
  const socket = connect({ host: hostname, port: Number(port) });
  let heard = '';
  socket.setEncoding('latin1').on('data', (text: string) => {
    heard += text;
  });
  socket.on('error', () => {});
  const closed = new Promise((resolve) => socket.once('close', resolve));
  await new Promise((resolve) => socket.once('connect', resolve));
  for (const piece of pieces(bytes, cuts)) {
    socket.write(piece);
    await new Promise(setImmediate);
  }
  // The user of a closed connection is unknown, so a good redirect must come from a browser that waits for its page.
  if (!stays) socket.end();
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
  // The first state counts, and it is wrong.
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

/** Requests that lack at least one of state, path, method and host. */
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
const wrongBytes = (host: string) =>
  fc.oneof(
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

const PASTED = [
  `http://127.0.0.1:4321/callback?code=abc&state=${STATE}&iss=https%3A%2F%2Fas.example`,
  `code=abc&state=${STATE}`,
  `?error=access_denied&state=${STATE}&error_description=no`,
  'the-code-alone',
  `https://as.example/authorize?response_type=code&state=${STATE}`,
];

export const REDIRECTS: readonly Target[] = [
  {
    name: 'callback',
    title: 'accepts only the right state at the callback server, also after arbitrary bytes',
    runs: 400,
    async open() {
      let asked = 0;
      const server = await openCallbackServer({
        belongs: (parameters) => {
          asked += 1;
          return belongsTo(REQUEST, parameters);
        },
      });
      const { host } = new URL(server.redirectUri);
      let arrived = false;
      // Waits as long as the fuzzer runs.
      const arrival = server.next({ timeoutMs: 86_400_000 }).then((callback) => {
        arrived = true;
        return callback;
      });
      arrival.catch(() => {});
      const inputs = fc.tuple(wrongBytes(host), fc.array(fc.nat(500), { maxLength: 2 }));
      return {
        property: feed(inputs, async ([text, cuts]) => {
          const heard = await say(server, Buffer.from(text), cuts);
          // The answer is an error, or nothing.
          assert.match(heard.replace(/^HTTP\/1\.1 100 Continue\r\n\r\n/, ''), /^(HTTP\/1\.1 [45]\d\d |$)/);
          assert.equal(arrived, false);
        }),
        // Many inputs reached the check of the state.
        reached: () => assert.ok(asked > 40),
        async close() {
          try {
            const page = say(
              server,
              Buffer.from(`GET /callback?${rightQuery} HTTP/1.1\r\nHost: ${host}\r\n\r\n`),
              [],
              true,
            );
            await (await arrival).succeed({ resource: 'https://mcp.example/mcp', account: 'default' });
            assert.match(await page, /^HTTP\/1\.1 200 /);
          } finally {
            await server.close();
          }
        },
      };
    },
  },
  {
    name: 'callback-good',
    title: 'reads every parameter of a good redirect, in however many pieces it arrives',
    runs: 60,
    open() {
      const parameters = fc.record({
        code: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 60 }),
        iss: fc.webUrl(),
        extra: fc.string({ maxLength: 60 }),
      });
      const inputs = fc.tuple(parameters, fc.array(fc.nat(500), { maxLength: 4 }));
      return {
        property: feed(inputs, async ([sent, cuts]) => {
          const server = await openCallbackServer({
            belongs: (found) => belongsTo(REQUEST, found),
          });
          try {
            const { host } = new URL(server.redirectUri);
            const text = new URLSearchParams({ ...sent, state: STATE }).toString();
            const page = say(
              server,
              Buffer.from(`GET /callback?${text} HTTP/1.1\r\nHost: ${host}\r\n\r\n`),
              cuts,
              true,
            );
            const callback = await server.next({ timeoutMs: 30_000 });
            assert.deepEqual(Object.fromEntries(callback.parameters), { ...sent, state: STATE });
            await callback.succeed({ resource: 'https://mcp.example/mcp', account: 'default' });
            assert.match(await page, /^HTTP\/1\.1 200 /);
          } finally {
            await server.close();
          }
        }),
      };
    },
  },
  {
    name: 'pasted-redirect',
    title: 'reads the code from a pasted text, or says what is wrong, or reports the server’s refusal',
    runs: 1000,
    open: () => ({
      property: feed(
        fc.tuple(
          hostileTexts(
            PASTED,
            ['code=', 'state=', STATE, '&', '?', '=', '%', '%00', 'iss=', 'error=', '#', 'http://', '[', '@'],
            32_768,
          ),
          fc.boolean(),
        ),
        ([text, issParameterSupported]) => {
          try {
            const read = readPasted(text, { ...REQUEST, issParameterSupported });
            if ('problem' in read) checkShown(read.problem);
            else assert.ok(read.code !== '' && read.code.length <= text.length);
          } catch (error) {
            checkFailure(error, [
              'login-denied',
              'oauth-error',
              'invalid-response',
              'network',
              'callback-rejected',
            ]);
          }
        },
      ),
    }),
  },
];
