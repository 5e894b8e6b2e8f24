import { randomBytes } from 'node:crypto';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { eventually, program, raw } from '../proxy/through.ts';
import { command, userHome } from './command.ts';

/* A server that breaks every rule of HTTP and MCP. Nothing may crash, hang, or print its text unescaped. */

const holdfast = command();
const proxyProgram = program();

function answer(body: string, type = 'application/json', more = ''): string {
  const head = `HTTP/1.1 200 OK\r\ncontent-type: ${type}\r\n${more}content-length: ${Buffer.byteLength(body)}`;
  return `${head}\r\n\r\n${body}`;
}
function empty(status: string, header = 'x: y'): string {
  return `HTTP/1.1 ${status}\r\n${header}\r\ncontent-length: 0\r\n\r\n`;
}
const EVENTS = 'text/event-stream';
const deep = (open: string, close: string) => `${open.repeat(20_000)}1${close.repeat(20_000)}`;

/** After this answer to a request, the real one may still come on the stream, so the test does not wait for it. */
const NO_ANSWER = '204 with a body';

/** Answers, as latin1 bytes. */
const ANSWERS: readonly [string, string][] = [
  ['nothing', ''],
  ['no HTTP', 'garbage\r\n\r\n'],
  [
    '101 Switching Protocols',
    'HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nxx',
  ],
  [NO_ANSWER, 'HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello'],
  ['gzip that is none', answer('notgzip', 'application/json', 'content-encoding: gzip\r\n')],
  ['brotli that is none', answer('x', EVENTS, 'content-encoding: br\r\n')],
  [
    'a broken chunk',
    `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-type: ${EVENTS}\r\n\r\n5\r\ndata:\r\nZZ\r\n`,
  ],
  [
    'half of a body',
    'HTTP/1.1 200 OK\r\ncontent-length: 100\r\ncontent-type: application/json\r\n\r\n{"jsonrpc"',
  ],
  ['a redirect to half an address', empty('302 Found', 'location: http://[::1')],
  ['a redirect to itself', empty('307 x', 'location: /mcp')],
  ['a challenge that points to colons', empty('401 x', 'www-authenticate: Bearer resource_metadata="::::"')],
  [
    'a scope in bytes beyond ASCII',
    empty('401 x', 'www-authenticate: Bearer error="insufficient_scope", scope="\u00ff\u00fe"'),
  ],
  [
    '403 that asks for more scopes',
    empty('403 x', 'www-authenticate: Bearer error="insufficient_scope", scope="a b c"'),
  ],
  ['50,000 open brackets', answer('['.repeat(50_000))],
  ['a deep object', answer(`{"jsonrpc":"2.0","id":"request-1","result":${deep('{"a":', '}')}}`)],
  [
    'an event with a deep list',
    answer(`data: {"jsonrpc":"2.0","id":"request-1","result":${deep('[', ']')}}\n\n`, EVENTS),
  ],
  ['an endpoint without a host', answer('event: endpoint\ndata: http://\n\n', EVENTS)],
  ['an event id of 9,000 characters', answer(`id: ${'x'.repeat(9000)}\nretry: 0\n\n`, EVENTS)],
  ['3,000 headers', `HTTP/1.1 200 OK\r\n${'a: b\r\n'.repeat(3000)}\r\n`],
  ['a control character in its reason', 'HTTP/1.1 999 \u0001\r\ncontent-length: 0\r\n\r\n'],
  ['a session id beyond ASCII', answer('[]', 'application/json', 'mcp-session-id: \u00e9\r\n')],
  ['random bytes', randomBytes(300).toString('latin1')],
  [
    'a version with control characters',
    answer('{"jsonrpc":"2.0","id":"request-1","result":{"protocolVersion":"x\\u0000\\n"}}'),
  ],
  [
    'an error that would clear the screen',
    answer('{"jsonrpc":"2.0","id":"request-1","error":{"code":-32001,"message":"\\u001b[2J"}}'),
  ],
  [
    'a page of 300 KB with HTTP 500',
    `HTTP/1.1 500 x\r\ncontent-length: 300000\r\n\r\n${'e'.repeat(300_000)}`,
  ],
  ['HTTP 429 for 3,000 years', empty('429 x', 'retry-after: 99999999999')],
  ['a question with one of our ids', answer('{"jsonrpc":"2.0","method":"ping","id":"holdfast-1"}')],
];

/** Sends these bytes to every client, and ends the connection in one way or the other. */
async function saying(bytes: string) {
  let hits = 0;
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {}).on('close', () => sockets.delete(socket));
    socket.on('data', () => {
      hits += 1;
      if (bytes === '') socket.destroy();
      else
        socket.write(Buffer.from(bytes, 'latin1'), () =>
          hits % 2 === 0 ? socket.end() : socket.destroySoon(),
        );
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`, hits: () => hits };
}

/** The output is a message without a stack trace, and without control characters. */
function checkSaid(text: string): void {
  expect(text).not.toMatch(/\bat .*\(node:|uncaught|\b(defect|bug) (of|in) Holdfast/i);
  expect(text).not.toMatch(/[^\P{Cc}\n\t]/u);
}

test.each(ANSWERS)(
  'the proxy survives %s and ends well, and a login ends with a message and its exit code',
  async (name, bytes) => {
    await Promise.all([
      proxied(name, bytes, 'http-first'),
      proxied(name, bytes, 'sse-first'),
      loggedIn(bytes),
    ]);
  },
);

async function proxied(name: string, bytes: string, transport: string): Promise<void> {
  const server = await saying(bytes);
  const proxy = raw(proxyProgram, [server.url, '--transport', transport]);
  let over = false;
  const params = {
    protocolVersion: '2025-11-25',
    capabilities: {},
    clientInfo: { name: 'test', version: '1.0.0' },
  };
  proxy.ask('initialize', params).then(
    () => (over = true),
    () => (over = true),
  );
  const enough = name === NO_ANSWER ? 1 : 3;
  await eventually(() => over || server.hits() >= enough);
  expect(await proxy.end()).toBe(0);
  checkSaid(proxy.errors());
}

async function loggedIn(bytes: string): Promise<void> {
  const server = await saying(bytes);
  const { code, out, err } = await holdfast.run(['login', server.url, '--no-browser', '--timeout', '1'], {
    home: await userHome(),
  });
  // The exit codes of failures in the help's table.
  expect([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]).toContain(code);
  checkSaid(out + err);
  expect(err).not.toBe('');
}
