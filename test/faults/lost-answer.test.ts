import type { ServerResponse } from 'node:http';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Home, temporaryHome } from '../support/homes/home.ts';
import { expire, loggedIn, stored, vaultAt } from '../support/homes/vault.ts';
import { type Handler, json } from '../support/servers/hostile-server.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { useTokenEndpoint } from '../support/servers/token-endpoint.ts';

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

const GOOD = { access_token: 'new', token_type: 'Bearer', expires_in: 3600, refresh_token: 'next' };

/**
 * A server with a replay window, which repeats its answer to the same refresh token. `lose` spoils the first answer.
 */
function losingTheFirst(lose: (response: ServerResponse) => void): Handler {
  let first = true;
  return (request, response) => {
    if (!first) return json(GOOD)(request, response);
    first = false;
    lose(response);
  };
}

async function refreshedBy(handler: Handler): Promise<{ home: Home; requests: number; token: string }> {
  const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
  const { log } = await useTokenEndpoint(home, servers.resource, handler);
  await expire(home, servers.resource);
  const { token } = await vault.token(servers.resource);
  return { home, requests: log.length, token: token.reveal() };
}

describe('an answer that is lost on the wire, at a server with a replay window', () => {
  test.each<[string, (response: ServerResponse) => void]>([
    ['closed before a byte of it', (response) => response.destroy()],
    [
      'half of it',
      (response) => {
        const text = JSON.stringify(GOOD);
        response.writeHead(200, { 'content-type': 'application/json', 'content-length': text.length });
        response.write(text.slice(0, 20), () => response.destroy());
      },
    ],
    [
      'only its head',
      (response) => {
        response.writeHead(200, { 'content-type': 'application/json', 'content-length': 1000 });
        response.flushHeaders();
        setTimeout(() => response.destroy(), 20);
      },
    ],
    ['a 502 of a proxy in between', (response) => void response.writeHead(502).end('bad gateway')],
  ])('gets the answer again with the same refresh token: %s', async (_what, lose) => {
    const { home, requests, token } = await refreshedBy(losingTheFirst(lose));
    expect({ requests, isNew: token === GOOD.access_token }).toEqual({ requests: 2, isNew: true });
    const { credential } = await stored(home, servers.resource);
    expect(credential.tokens.refreshToken?.reveal() === GOOD.refresh_token).toBe(true);
  });
});

describe('an answer that makes no sense, at a server with a replay window', () => {
  test.each<[string, string, string, string?]>([
    ['garbage', '\u0000\u0001 not JSON {{{', 'application/json'],
    ['a page of a proxy', '<html>Welcome to the hotel</html>', 'text/html'],
    [
      'a token of another type',
      JSON.stringify({ ...GOOD, token_type: 'mac' }),
      'application/json',
      GOOD.refresh_token,
    ],
    ['no access token', JSON.stringify({ refresh_token: 'next' }), 'application/json', 'next'],
    [
      'a token with a line break in it',
      JSON.stringify({ ...GOOD, access_token: 'a\r\nb' }),
      'application/json',
      GOOD.refresh_token,
    ],
  ])(
    'reports %s, stores only its refresh token, and gets good tokens at the next call',
    async (_what, body, type, next) => {
      const { home, vault, first } = await loggedIn(await temporaryHome(), servers.resource);
      const { log } = await useTokenEndpoint(
        home,
        servers.resource,
        losingTheFirst((response) => void response.writeHead(200, { 'content-type': type }).end(body)),
      );
      await expire(home, servers.resource);
      await expect(vault.token(servers.resource)).rejects.toMatchObject({ code: 'invalid-response' });
      const { credential } = await stored(home, servers.resource);
      const expected = next ?? first.tokens.refreshToken?.reveal();
      expect(credential.tokens.refreshToken?.reveal() === expected).toBe(true);
      expect(credential.tokens.accessToken.equals(first.tokens.accessToken)).toBe(true);
      expect(credential.loginRequired).toBeUndefined();
      expect((await vault.token(servers.resource)).token.reveal() === GOOD.access_token).toBe(true);
      expect(log).toHaveLength(2);
    },
  );
});

/** `HOLDFAST_TEST_SLOW_MS=40000` makes the slow servers as slow as real ones. */
const SLOW_MS = Number(process.env['HOLDFAST_TEST_SLOW_MS'] ?? 1_500);

describe('a server that answers twice or slowly', () => {
  test('accepts only one of two answers on one connection', async () => {
    const text = JSON.stringify(GOOD);
    const one = `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${text.length}\r\n\r\n${text}`;
    const { requests, token } = await refreshedBy((_request, response) => {
      response.socket?.end(one + one.replace('"new"', '"two"'));
    });
    expect({ requests, isFirst: token === GOOD.access_token }).toEqual({ requests: 1, isFirst: true });
  });

  test('a caller with enough time waits for a slow server, and asks it once', async () => {
    const { requests, token } = await refreshedBy((request, response) => {
      setTimeout(() => void json(GOOD)(request, response), SLOW_MS);
    });
    expect({ requests, isNew: token === GOOD.access_token }).toEqual({ requests: 1, isNew: true });
  });

  test('asks a server once that is slower than one caller, and the next caller gets the answer', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    const { log } = await useTokenEndpoint(home, servers.resource, (request, response) => {
      setTimeout(() => void json(GOOD)(request, response), SLOW_MS);
    });
    await expire(home, servers.resource);
    await expect(vault.token(servers.resource, { timeoutMs: 200 })).rejects.toMatchObject({
      code: 'timeout',
      retryable: true,
    });
    expect((await vault.token(servers.resource)).token.reveal() === GOOD.access_token).toBe(true);
    expect(log).toHaveLength(1);
  });

  test('a process without time gets an error from a slow server, and one with time the answer', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    const { log } = await useTokenEndpoint(home, servers.resource, (request, response) => {
      setTimeout(() => void json(GOOD)(request, response), SLOW_MS);
    });
    await expire(home, servers.resource);
    const run = (timeoutMs: number) =>
      vaultAt(home)
        .vault.token(servers.resource, { timeoutMs })
        .then(
          ({ token }) => token.reveal() === GOOD.access_token,
          (error: unknown) => (error as { code: string }).code,
        );
    const first = vault.token(servers.resource);
    await expect.poll(() => log.length).toBe(1);
    const answers = await Promise.all([
      run(SLOW_MS / 10),
      run(SLOW_MS + 15_000),
      run(SLOW_MS / 5),
      run(SLOW_MS + 15_000),
    ]);
    expect([answers[1], answers[3]]).toEqual([true, true]);
    for (const code of [answers[0], answers[2]]) expect(code).toMatch(/^(lock-timeout|timeout)$/);
    expect((await first).token.reveal() === GOOD.access_token).toBe(true);
    expect(log).toHaveLength(1);
  });
});
