import { createServer } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { HoldfastError } from '../../src/errors.ts';
import { createHttpFetch, type HttpResponse } from '../../src/http/fetch.ts';
import { send } from '../../src/http/request.ts';
import { postJson } from '../../src/keyring/kms/request.ts';
import { refreshTokens } from '../../src/oauth/tokens/token.ts';
import { Secret } from '../../src/secret.ts';
import { failing } from '../support/failing.ts';
import { secretsSeen } from '../support/leaks.ts';
import { hostileServer, raw } from '../support/servers/hostile-server.ts';

/* No error may lead to any part of an answer: not by a cause at any depth, and not by a hidden property. */

const ACCESS = 'AT-9sK2mQ7xLw';
const REFRESH = 'RT-4vB8nZ1cYd';
const COOKIE = 'CK-6hJ3pT5rGf';
const SENT = 'RT-old-0uE7iA2o';
const SECRETS = [ACCESS, REFRESH, COOKIE, SENT];

const BODY = JSON.stringify({ access_token: ACCESS, refresh_token: REFRESH, token_type: 'Bearer' });
const HEAD = 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n';
const CHUNK = `${BODY.length.toString(16)}\r\n${BODY}\r\n`;

const BROKEN: Record<string, string> = {
  'a chunk size that is no number': `${HEAD}transfer-encoding: chunked\r\n\r\n${CHUNK}ZZ\r\n`,
  'a chunk that is longer than it says': `${HEAD}transfer-encoding: chunked\r\n\r\n5\r\n${BODY}`,
  'a chunk extension without end': `${HEAD}transfer-encoding: chunked\r\n\r\n${CHUNK}1;${'x'.repeat(99_999)}`,
  'a trailer without a name': `${HEAD}transfer-encoding: chunked\r\n\r\n${CHUNK}0\r\n: ${COOKIE}\r\n\r\n`,
  'two kinds of length': `${HEAD}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n${BODY}`,
  'a length that is no number': `${HEAD}content-length: ${ACCESS}\r\n\r\n${BODY}`,
  'a header without a colon': `${HEAD}x y z\r\nset-cookie: ${COOKIE}\r\n\r\n${BODY}`,
  'a header with a NUL': `${HEAD}set-cookie: ${COOKIE}\0\r\n\r\n${BODY}`,
  'headers without end': `${HEAD}set-cookie: ${COOKIE}${'x'.repeat(99_999)}\r\n\r\n${BODY}`,
  'a status line that is the answer': `HTTP/1.1 ${ACCESS}\r\n\r\n${BODY}`,
  'no HTTP': `${BODY}\r\n\r\n`,
  'more than its length': `${HEAD}content-length: 3\r\n\r\n${BODY}`,
  'less than its length': `${HEAD}content-length: 9999\r\n\r\n${BODY}`,
  'an encoding that it is not in': `${HEAD}content-encoding: gzip\r\n\r\n${BODY}`,
  'an encoding that is a token': `${HEAD}content-encoding: br\r\n\r\n${BODY}`,
};

/** Every client of a server over HTTP, each as a function of the server's origin. */
const CLIENTS: Record<string, (origin: string) => Promise<unknown>> = {
  'a request of OAuth': (origin) => send(origin, { method: 'POST', body: `refresh_token=${SENT}` }),
  'a refresh': (origin) =>
    refreshTokens(
      { issuer: 'https://as.example.com', tokenEndpoint: `${origin}/token`, reach: 'anywhere' },
      { clientId: 'c', authMethod: 'none', redirectUris: [], source: 'dynamic' },
      { refreshToken: new Secret(SENT), resourceParameter: undefined },
    ),
  'a request of the proxy': async (origin) => {
    const http = createHttpFetch({ origin, headers: { authorization: `Bearer ${SENT}` } });
    onTestFinished(() => http.close());
    return ((await http.fetch(origin)) as unknown as HttpResponse).text();
  },
  'a request to a KMS': (origin) =>
    postJson(new URL(origin), { plaintext: SENT }, { headers: { 'x-vault-token': SENT } }),
};

describe.each(Object.entries(CLIENTS))('errors of %s', (_, ask) => {
  test.each(Object.entries(BROKEN))(
    'hides the answer from the error when the answer has %s',
    async (__, bytes) => {
      const server = await hostileServer({ '*': raw(bytes) });
      const failed: unknown = await ask(server.origin).then(
        () => undefined,
        (error: unknown) => error,
      );
      expect(failed === undefined || failed instanceof HoldfastError).toBe(true);
      expect(secretsSeen(failed, SECRETS)).toBe(0);
    },
  );

  test('hides the answer from the error when the connection is reset', async () => {
    const server = createServer((socket) => {
      socket
        .on('error', () => {})
        .once('data', () => socket.write(HEAD + BODY, () => socket.resetAndDestroy()));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const error = await failing(ask(`http://127.0.0.1:${port}`));
    expect(secretsSeen(error, SECRETS)).toBe(0);
    expect(error.cause ?? error).toHaveProperty('code');
  });
});
