import { getEventListeners, once } from 'node:events';
import { type IncomingHttpHeaders, request as sendRequest } from 'node:http';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { describe, expect, onTestFinished, test } from 'vitest';
import { InvalidArgumentError, LoginCancelledError, LoginTimeoutError } from '../../../src/errors.ts';
import { type CallbackServer, openCallbackServer } from '../../../src/oauth/authorization/callback-server.ts';
import { NO_IPV6 } from '../../support/network/ipv6.ts';
import { NO_SMALL_INTERNET } from '../../support/network/small-internet.ts';
import { runScript, start, TYPESCRIPT } from '../../support/processes/process.ts';
import { requirement } from '../../support/requirement.ts';

const STATE = 'the-state';
const LOGIN = { resource: 'https://mcp.example/mcp', account: 'default' };
const WAIT = { timeoutMs: 30_000 };

async function opened(port?: number): Promise<CallbackServer> {
  const server = await openCallbackServer({ port, belongs: (query) => query.get('state') === STATE });
  onTestFinished(() => server.close());
  return server;
}

async function canOpen(port: number): Promise<boolean> {
  const server = createServer();
  return new Promise((resolve) => {
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

const NO_PORT_80 = requirement('port 80 cannot be opened here', await canOpen(80));

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** Sends one request with any path and headers; the Host header is the server's unless given. */
function ask(
  server: CallbackServer,
  path: string,
  options: { host?: string; method?: string; headers?: Record<string, string>; body?: string } = {},
): Promise<Answer> {
  const { hostname, port } = new URL(server.redirectUri);
  return new Promise((resolve, reject) => {
    const request = sendRequest(
      {
        host: options.host ?? hostname,
        port,
        path,
        method: options.method ?? 'GET',
        headers: options.headers,
        agent: false,
      },
      (response) => {
        let body = '';
        response.setEncoding('utf8').on('data', (chunk: string) => {
          body += chunk;
        });
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
        );
      },
    );
    request.on('error', reject).end(options.body);
  });
}

/** Returns whether the login can still finish: its redirect arrives, and its browser sees the success page. */
async function finishes(server: CallbackServer): Promise<boolean> {
  const page = ask(server, `/callback?code=good&state=${STATE}`);
  const callback = await server.next(WAIT);
  await callback.succeed(LOGIN);
  return callback.parameters.get('code') === 'good' && (await page).status === 200;
}

async function socketTo(host: string, port: number): Promise<Socket> {
  const socket = connect({ host, port });
  onTestFinished(() => void socket.destroy());
  await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  return socket;
}

/** Returns everything that the server sends on a connection after these bytes. */
async function say(server: CallbackServer, bytes: string): Promise<string> {
  const { hostname, port } = new URL(server.redirectUri);
  const socket = await socketTo(hostname, Number(port));
  let heard = '';
  socket.setEncoding('utf8').on('data', (chunk: string) => {
    heard += chunk;
  });
  socket.on('error', () => {});
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.write(bytes);
  await closed;
  return heard;
}

describe('the address of the callback server', () => {
  test('listens on one free port of 127.0.0.1 and of ::1, and nowhere else', async () => {
    const server = await opened();
    const { hostname, port, pathname } = new URL(server.redirectUri);
    expect([hostname, pathname]).toEqual(['127.0.0.1', '/callback']);
    expect(Number(port)).toBeGreaterThan(0);
    const others = Object.values(networkInterfaces())
      .flatMap((addresses) => addresses ?? [])
      .filter(({ address, scopeid }) => address !== '127.0.0.1' && address !== '::1' && !scopeid)
      .map(({ address }) => address);
    if (process.platform === 'linux') others.push('127.0.0.2');
    expect(others.length).toBeGreaterThan(0);
    for (const other of others) await expect(socketTo(other, Number(port))).rejects.toThrow();
    await socketTo(hostname, Number(port));
    if (!NO_IPV6) await socketTo('::1', Number(port));
  });

  test.skipIf(NO_IPV6)('receives a redirect to localhost at either loopback address', async () => {
    for (const host of ['127.0.0.1', '::1']) {
      const server = await opened();
      const { port } = new URL(server.redirectUri);
      const page = ask(server, `/callback?code=good&state=${STATE}`, {
        host,
        headers: { host: `localhost:${port}` },
      });
      await (await server.next(WAIT)).succeed(LOGIN);
      expect((await page).status, host).toBe(200);
    }
  });

  test.skipIf(NO_IPV6)('names the port and ::1 when another program uses the port there', async () => {
    const squatter = createServer().listen(0, '::1');
    onTestFinished(() => void squatter.close());
    await once(squatter, 'listening');
    const { port } = squatter.address() as AddressInfo;
    const failure = opened(port);
    await expect(failure).rejects.toThrow(InvalidArgumentError);
    await expect(failure).rejects.toThrow(`Port ${port} on ::1 is in use`);
    await expect(failure).rejects.toMatchObject({ hint: expect.stringContaining('--callback-port') });
    // The port is free again on the other address.
    expect(await canOpen(port)).toBe(true);
  });

  test.skipIf(NO_SMALL_INTERNET)('listens on 127.0.0.1 alone on a machine without IPv6', async () => {
    const { out, err } = await start('unshare', [
      '--user',
      '--map-root-user',
      '--net',
      '--fork',
      '--kill-child',
      'sh',
      '-ec',
      'sysctl -qw net.ipv6.conf.lo.disable_ipv6=1 || echo 1 >/proc/sys/net/ipv6/conf/lo/disable_ipv6; ip link set lo up; exec "$@"',
      'sh',
      process.execPath,
      ...TYPESCRIPT,
      new URL('../../support/processes/callback-once.ts', import.meta.url).pathname,
    ]).ended;
    expect(out, err).toBe('closed\n');
  });

  test('uses another port for each login', async () => {
    expect((await opened()).redirectUri).not.toBe((await opened()).redirectUri);
  });

  test('listens on the requested port, which is free again afterwards', async () => {
    const first = await opened();
    const port = Number(new URL(first.redirectUri).port);
    await first.close();
    for (let round = 0; round < 3; round += 1) {
      const again = await opened(port);
      expect(again.redirectUri).toBe(first.redirectUri);
      expect(await finishes(again)).toBe(true);
      await again.close();
    }
  });

  test.skipIf(NO_PORT_80)('accepts port 80, which a browser leaves out of the Host header', async () => {
    const server = await opened(80);
    expect((await ask(server, '/callback', { headers: { host: '127.0.0.1' } })).status).toBe(400);
    expect((await fetch(`${server.redirectUri}?state=other`)).status).toBe(400);
  });

  test('names the port when it is in use', async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void other.close());
    const address = other.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const failure = opened(port);
    await expect(failure).rejects.toThrow(InvalidArgumentError);
    await expect(failure).rejects.toThrow(`Port ${port} on 127.0.0.1 is in use`);
  });
});

describe('the redirect', () => {
  test('yields the parameters of a redirect that arrives before or during the wait', async () => {
    const server = await opened();
    const page = ask(server, `/callback?code=a%2Fb+c&state=${STATE}&iss=https%3A%2F%2Fas.example`);
    const { signal } = new AbortController();
    const callback = await server.next({ ...WAIT, signal });
    expect(getEventListeners(signal, 'abort')).toEqual([]);
    expect(Object.fromEntries(callback.parameters)).toEqual({
      code: 'a/b c',
      state: STATE,
      iss: 'https://as.example',
    });
    expect(await server.next(WAIT)).toBe(callback);
    await callback.succeed(LOGIN);
    await page;
  });

  test('answers the browser only once the login is done, and names the server', async () => {
    const server = await opened();
    let shown = false;
    const page = ask(server, `/callback?code=x&state=${STATE}`).then((answer) => {
      shown = true;
      return answer;
    });
    const callback = await server.next(WAIT);
    // Another request completes first, so the page would have arrived if it had been sent.
    await ask(server, '/elsewhere');
    expect(shown).toBe(false);
    await callback.succeed({ resource: 'https://mcp.example/mcp', account: 'work' });
    const { status, body } = await page;
    expect(status).toBe(200);
    expect(body).toContain('You are logged in');
    expect(body).toContain('https://mcp.example/mcp');
    expect(body).toContain('work');
  });

  test('tells the browser that the login failed', async () => {
    const server = await opened();
    const page = ask(server, `/callback?code=x&state=${STATE}`);
    const callback = await server.next(WAIT);
    await callback.fail({ title: 'It did not work', text: ['Here is why.'], login: LOGIN });
    const { status, body } = await page;
    expect(status).toBe(400);
    for (const text of ['It did not work', 'Here is why.', LOGIN.resource]) expect(body).toContain(text);
    expect(body).not.toContain('logged in');
  });

  test('answers the browser once and ignores later outcomes', async () => {
    const server = await opened();
    const page = ask(server, `/callback?code=x&state=${STATE}`);
    const callback = await server.next(WAIT);
    await Promise.all([callback.succeed(LOGIN), callback.fail({ title: 'No', text: [] })]);
    await callback.fail({ title: 'No', text: [] });
    expect((await page).status).toBe(200);
  });

  test('accepts one redirect and answers 410 to later ones', async () => {
    const server = await opened();
    const page = ask(server, `/callback?code=first&state=${STATE}`);
    const callback = await server.next(WAIT);
    for (const query of [`code=second&state=${STATE}`, 'code=second&state=other', '']) {
      expect((await ask(server, `/callback?${query}`)).status).toBe(410);
    }
    expect((await server.next(WAIT)).parameters.get('code')).toBe('first');
    await callback.succeed(LOGIN);
    expect((await page).status).toBe(200);
    expect((await ask(server, `/callback?code=third&state=${STATE}`)).status).toBe(410);
  });

  test('answers 400 to a redirect with another state, and the login goes on', async () => {
    const server = await opened();
    for (const query of ['code=x&state=other', 'code=x', '', 'error=access_denied&state=other']) {
      expect((await ask(server, `/callback?${query}`)).status).toBe(400);
    }
    expect(await finishes(server)).toBe(true);
  });

  test('completes when the browser has closed the connection', async () => {
    const server = await opened();
    const { hostname, port, host } = new URL(server.redirectUri);
    const socket = await socketTo(hostname, Number(port));
    socket.write(`GET /callback?code=x&state=${STATE} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
    const callback = await server.next(WAIT);
    socket.destroy();
    await callback.succeed(LOGIN);
  });
});

describe('requests that do not belong to the login', () => {
  const good = `/callback?code=stolen&state=${STATE}`;

  test.each([
    'evil.example',
    'evil.example:PORT',
    '127.0.0.1',
    '127.0.0.1:1',
    '127.0.0.1.evil.example:PORT',
    '[::1]:PORT',
  ])('refuses a request for the host %j (DNS rebinding)', async (host) => {
    const server = await opened();
    const { port } = new URL(server.redirectUri);
    const { status } = await ask(server, good, { headers: { host: host.replace('PORT', port) } });
    expect(status).toBe(421);
    expect(await finishes(server)).toBe(true);
  });

  test('refuses a request without a host or with another host in its target', async () => {
    const server = await opened();
    const { host } = new URL(server.redirectUri);
    expect(await say(server, `GET ${good} HTTP/1.0\r\n\r\n`)).toMatch(/^HTTP\/1.1 421 /);
    expect(await say(server, `GET ${good} HTTP/1.1\r\nConnection: close\r\n\r\n`)).toMatch(/^HTTP\/1.1 400 /);
    expect(await say(server, `GET ${good} HTTP/1.1\r\nHost:\r\n\r\n`)).toMatch(/^HTTP\/1.1 421 /);
    for (const target of [`http://evil.example${good}`, `//evil.example${good}`]) {
      const said = await say(server, `GET ${target} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
      expect(said).toMatch(/^HTTP\/1.1 404 /);
    }
    expect(await finishes(server)).toBe(true);
  });

  test.each(['POST', 'PUT', 'OPTIONS', 'DELETE', 'HEAD'])('refuses the method %s', async (method) => {
    const server = await opened();
    const { status, headers } = await ask(server, good, { method, body: method === 'POST' ? 'code=x' : '' });
    expect(status).toBe(405);
    expect(headers.allow).toBe('GET');
    expect(await finishes(server)).toBe(true);
  });

  test.each([
    { 'sec-purpose': 'prefetch' },
    { 'sec-purpose': 'prefetch;prerender' },
    { purpose: 'prefetch' },
    { 'x-moz': 'prefetch' },
  ] as Record<string, string>[])('ignores a browser that prefetches (%j)', async (headers) => {
    const server = await opened();
    expect((await ask(server, good, { headers })).status).toBe(503);
    expect(await finishes(server)).toBe(true);
  });

  test.each([
    '/',
    '/favicon.ico',
    '/robots.txt',
    '/callback/',
    '/callbacks',
    '/Callback',
    '/x/../callback',
    '/%63allback',
    '/.well-known/appspecific/com.chrome.devtools.json',
  ])('answers 404 to a request for %s', async (path) => {
    const server = await opened();
    expect((await ask(server, `${path}?code=stolen&state=${STATE}`)).status).toBe(404);
    expect(await finishes(server)).toBe(true);
  });

  test('survives bytes that are not HTTP and requests that are too large', async () => {
    const server = await opened();
    const { host } = new URL(server.redirectUri);
    expect(await say(server, '\u0016\u0003\u0001\u0002\u0000 hello\r\n\r\n')).not.toContain('200');
    const long = `GET ${good}&x=${'x'.repeat(20_000)} HTTP/1.1\r\nHost: ${host}\r\n\r\n`;
    expect(await say(server, long)).toMatch(/^HTTP\/1.1 431 /);
    expect(await finishes(server)).toBe(true);
  });
});

describe('the callback pages', () => {
  test('serves pages that reflect no parameter, header or path of the request', async () => {
    const server = await opened();
    const mark = 'M4RK';
    const query = ['code', 'iss', 'error', 'error_description', 'error_uri', 'x'].map(
      (name) => `${name}=${mark}`,
    );
    const parameters = `${query.join('&')}&${mark}=1`;
    const headers = Object.fromEntries(
      ['user-agent', 'referer', 'origin', 'cookie', 'accept-language', 'x-forwarded-host', 'x-mark'].map(
        (name) => [name, `https://${mark}/<script>`],
      ),
    );
    const page = ask(server, `/callback?${parameters}&state=${STATE}`, { headers });
    const callback = await server.next(WAIT);
    const answers = [
      await ask(server, `/callback?${parameters}&state=${mark}`, { headers }),
      await ask(server, `/${mark}?${parameters}`, { headers }),
      await ask(server, `/callback?${parameters}`, { headers: { ...headers, host: mark } }),
      await ask(server, `/callback?${parameters}`, { headers, method: 'POST', body: mark }),
    ];
    await callback.fail({ title: 'It failed', text: ['Somehow.'] });
    answers.push(await page);
    const other = await opened();
    answers.push(await ask(other, `/callback?${parameters}&state=${mark}`, { headers }));
    expect(answers.map(({ status }) => status)).toEqual([410, 404, 421, 405, 400, 400]);
    for (const answer of answers) expect(JSON.stringify(answer)).not.toMatch(/M4RK/i);
    expect(await say(other, `${mark} ${mark}\r\n${mark}\r\n\r\n`)).not.toContain(mark);
  });

  test('serves pages that forbid scripts, frames, caching and referrers', async () => {
    const server = await opened();
    const page = ask(server, `/callback?code=x&state=${STATE}`);
    await (await server.next(WAIT)).succeed(LOGIN);
    for (const { headers } of [
      await page,
      await ask(server, '/callback'),
      await ask(server, '/other'),
      await ask(server, '/callback', { method: 'POST' }),
      await ask(server, '/callback', { headers: { host: 'evil.example' } }),
    ]) {
      const policy = headers['content-security-policy'] ?? '';
      expect(policy).toContain("default-src 'none'");
      expect(policy).toContain("frame-ancestors 'none'");
      expect(policy).not.toContain('unsafe');
      expect(policy).not.toContain('script-src');
      expect(headers).toMatchObject({
        'content-type': 'text/html; charset=utf-8',
        'cache-control': 'no-store',
        'referrer-policy': 'no-referrer',
        'x-content-type-options': 'nosniff',
        connection: 'close',
      });
      expect(headers).not.toHaveProperty('access-control-allow-origin');
    }
  });
});

describe('the end of the wait for a redirect', () => {
  test('stops waiting at the deadline', async () => {
    const server = await opened();
    const wait = server.next({ timeoutMs: 20 });
    await expect(wait).rejects.toThrow(LoginTimeoutError);
    await expect(wait).rejects.not.toThrow(/wrong state/);
  });

  test('counts only redirects with the wrong state when it times out', async () => {
    const server = await opened();
    await ask(server, '/callback?state=other', { headers: { host: 'evil.example' } });
    await ask(server, '/favicon.ico');
    await ask(server, '/callback?state=other', { method: 'POST' });
    await ask(server, '/callback?state=other');
    await expect(server.next({ timeoutMs: 20 })).rejects.toThrow('1 redirect with the wrong state');
    await ask(server, '/callback');
    await expect(server.next({ timeoutMs: 20 })).rejects.toThrow('2 redirects with the wrong state');
    expect(await finishes(server)).toBe(true);
  });

  test('stops waiting at the signal, whether aborted before or during the wait', async () => {
    const server = await opened();
    await expect(server.next({ ...WAIT, signal: AbortSignal.abort() })).rejects.toThrow(LoginCancelledError);
    const given = new AbortController();
    const wait = server.next({ ...WAIT, signal: given.signal });
    given.abort();
    await expect(wait).rejects.toThrow(LoginCancelledError);
    expect(getEventListeners(given.signal, 'abort')).toEqual([]);
    expect(await finishes(server)).toBe(true);
  });
});

describe('closing the callback server', () => {
  test('ends every connection, half-open ones and waiting browsers too, and lets the process end', async () => {
    expect((await runScript('callback-once.ts', [])).out).toBe('closed\n');
  });

  test('can be closed twice, and nobody is listening afterwards', async () => {
    const server = await opened();
    await Promise.all([server.close(), server.close()]);
    await server.close();
    await expect(ask(server, '/callback')).rejects.toThrow('ECONNREFUSED');
  });

  test('still delivers the page when closed right after success', async () => {
    for (let round = 0; round < 20; round += 1) {
      const server = await opened();
      const page = ask(server, `/callback?code=x&state=${STATE}`);
      await (await server.next(WAIT)).succeed(LOGIN);
      await server.close();
      expect((await page).body).toContain('</html>');
    }
  });
});
