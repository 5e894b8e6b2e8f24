import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { inspect } from 'node:util';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { AbortedError, InvalidArgumentError, NetworkError, UnsafeUrlError } from '../../src/errors.ts';
import { type Request, send } from '../../src/http/request.ts';
import { failing } from '../support/failing.ts';
import { type ConnectProxyOptions, connectProxy } from '../support/network/connect-proxy.ts';
import { namesLeadTo } from '../support/network/name-lookup.ts';
import { remoteHost } from '../support/network/remote-host.ts';
import { answer, hostileServer, type Routes } from '../support/servers/hostile-server.ts';
import '../support/network/no-proxy-variables.ts';

function get(url: string, request: Partial<Request> = {}) {
  return send(url, { method: 'GET', ...request });
}

/** Starts a server that counts as another machine, and a proxy that leads to it. */
async function behindProxy(routes: Routes = { '*': answer(200, 'here') }, options: ConnectProxyOptions = {}) {
  const server = await hostileServer(routes, remoteHost('mcp.example.com'));
  const proxy = await connectProxy(options);
  const target = `mcp.example.com:${server.port}`;
  return { server, proxy, target, url: `http://127.0.0.1:${proxy.port}` };
}

/** Accepts connections and passes each socket to `onSocket`. */
async function rawServer(onSocket: (socket: Socket) => void) {
  let closed = () => {};
  const gone = new Promise<void>((resolve) => (closed = resolve));
  const server = createServer((socket) => {
    socket
      .on('error', () => {})
      .on('close', closed)
      .resume();
    onSocket(socket);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server, gone };
}

describe('the proxy from the environment', () => {
  test.each(['HTTPS_PROXY', 'https_proxy', 'ALL_PROXY', 'all_proxy'])(
    'connects through the proxy in %s',
    async (name) => {
      const { server, proxy, target, url } = await behindProxy();
      vi.stubEnv(name, url);
      const response = await send(`${server.origin}/token`, { method: 'POST', body: 'secret' });
      expect(Buffer.from(response.body).toString()).toBe('here');
      expect(response.reached).toBeUndefined();
      expect(server.log).toMatchObject([{ method: 'POST', url: '/token', body: 'secret' }]);
      expect([proxy.targets, proxy.others]).toEqual([[target], []]);
      await proxy.idle();
    },
  );

  test('tells the proxy the host and nothing else', async () => {
    const { server, proxy, target, url } = await behindProxy();
    vi.stubEnv('HTTPS_PROXY', url);
    await get(`${server.origin}/path`, { headers: { authorization: 'Bearer secret' } });
    expect(server.log[0]?.headers).toMatchObject({ authorization: 'Bearer secret' });
    expect(server.log[0]?.headers).not.toHaveProperty('proxy-authorization');
    const { host, 'user-agent': agent, connection: _, ...others } = proxy.headers[0] ?? {};
    expect([host, others]).toEqual([target, {}]);
    expect(agent).toMatch(/^holdfast\/\d/);
  });

  test('accepts a proxy without a scheme', async () => {
    const { server, proxy, target, url } = await behindProxy();
    vi.stubEnv('HTTPS_PROXY', url.replace('http://', ''));
    expect((await get(server.origin)).status).toBe(200);
    expect(proxy.targets).toEqual([target]);
  });

  test('prefers HTTPS_PROXY to ALL_PROXY, and ignores HTTP_PROXY for https', async () => {
    const { server, proxy, target, url } = await behindProxy();
    const other = await connectProxy();
    vi.stubEnv('HTTPS_PROXY', url);
    vi.stubEnv('ALL_PROXY', `http://127.0.0.1:${other.port}`);
    vi.stubEnv('HTTP_PROXY', `http://127.0.0.1:${other.port}`);
    await get(server.origin);
    expect([proxy.targets, other.targets]).toEqual([[target], []]);
  });

  test.each([
    ['mcp.example.com'],
    ['.example.com'],
    ['*'],
    ['other.example.com, MCP.EXAMPLE.COM'],
    ['mcp.example.com:PORT'],
  ])('does not use the proxy for a host in NO_PROXY: %s', async (list) => {
    const { server, proxy, url } = await behindProxy();
    vi.stubEnv('HTTPS_PROXY', url);
    for (const name of ['NO_PROXY', 'no_proxy']) {
      vi.stubEnv(name, list.replace('PORT', String(server.port)));
      expect((await get(server.origin)).reached).toBe('anywhere');
      expect(proxy.targets).toEqual([]);
      vi.stubEnv(name, undefined);
    }
  });

  test.each(['example.com', 'cp.example.com', 'mcp.example.com:1', 'other.example.com'])(
    'uses the proxy for a host that NO_PROXY does not list: %s',
    async (list) => {
      const { server, proxy, target, url } = await behindProxy();
      vi.stubEnv('HTTPS_PROXY', url);
      vi.stubEnv('NO_PROXY', list);
      await get(server.origin);
      expect(proxy.targets).toEqual([target]);
    },
  );

  test('never uses the proxy for this machine', async () => {
    const proxy = await connectProxy();
    for (const name of ['HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY']) {
      vi.stubEnv(name, `http://127.0.0.1:${proxy.port}`);
    }
    const plain = await hostileServer({ '*': answer(200) });
    const secure = await hostileServer({ '*': answer(200) }, remoteHost('localhost'));
    for (const origin of [plain.origin, plain.origin.replace('127.0.0.1', 'localhost'), secure.origin]) {
      expect((await get(origin)).reached).toBe('anywhere');
    }
    expect([proxy.targets, proxy.others]).toEqual([[], []]);
  });

  test('chooses the proxy again for the target of a redirect, by NO_PROXY too', async () => {
    const other = await hostileServer({ '*': answer(200, 'there') }, remoteHost('as.example.com'));
    const { server, proxy, target, url } = await behindProxy({
      '/': answer(302, '', { location: `${other.origin}/x` }),
    });
    vi.stubEnv('HTTPS_PROXY', url);
    expect(await get(server.origin)).toMatchObject({ url: `${other.origin}/x`, reached: undefined });
    expect(proxy.targets).toEqual([target, `as.example.com:${other.port}`]);
    vi.stubEnv('NO_PROXY', 'as.example.com');
    expect(await get(server.origin)).toMatchObject({ url: `${other.origin}/x`, reached: 'anywhere' });
    expect(proxy.targets).toHaveLength(3);
    await proxy.idle();
  });

  test('connects to a proxy over https', async () => {
    const host = remoteHost('proxy.example.com');
    const { server, proxy, target } = await behindProxy(undefined, { tls: host });
    vi.stubEnv('HTTPS_PROXY', `https://proxy.example.com:${proxy.port}`);
    expect((await get(server.origin)).status).toBe(200);
    expect(proxy.targets).toEqual([target]);
    await proxy.idle();
  });

  test('checks the server’s own certificate through a proxy, for an IP address too', async () => {
    // The proxy leads to a server that sends the proxy's own certificate.
    const server = await hostileServer({ '*': answer(200) }, remoteHost('proxy.example.com'));
    const proxy = await connectProxy();
    vi.stubEnv('HTTPS_PROXY', `http://proxy.example.com:${proxy.port}`);
    for (const host of ['8.8.8.8', 'mcp.example.com']) {
      const error = await failing(get(`https://${host}:${server.port}/`));
      expect(error).toMatchObject({ code: 'network', unsent: true });
      expect(error.message).toContain('ERR_TLS_CERT_ALTNAME_INVALID');
    }
    expect(server.log).toEqual([]);
  });
});

describe('the user name and password of a proxy', () => {
  test('sends the user name and password to the proxy', async () => {
    const { server, proxy } = await behindProxy(undefined, { login: 'me:p@ss:w%rd' });
    vi.stubEnv('HTTPS_PROXY', `http://me:p%40ss:w%25rd@127.0.0.1:${proxy.port}`);
    expect((await get(server.origin)).status).toBe(200);
    // Users write a bare %.
    const lax = await connectProxy({ login: 'me:100%' });
    vi.stubEnv('HTTPS_PROXY', `http://me:100%@127.0.0.1:${lax.port}`);
    expect((await get(server.origin)).status).toBe(200);
    expect([proxy.targets.length, lax.targets.length]).toEqual([1, 1]);
  });

  test('shows the user name and password of the proxy in no error', async () => {
    const { server, proxy } = await behindProxy(undefined, { login: 'other:other' });
    const { url: silent } = await rawServer((socket) => socket.destroy());
    const errors = [];
    for (const place of [
      `127.0.0.1:${proxy.port}`,
      silent.replace('http://', ''),
      'proxy.invalid',
      '[',
      'a b',
    ]) {
      vi.stubEnv('HTTPS_PROXY', `http://me:hunter2@${place}`);
      errors.push(await failing(get(server.origin)));
    }
    vi.stubEnv('HTTPS_PROXY', 'socks5://me:hunter2@127.0.0.1');
    errors.push(await failing(get(server.origin)));
    expect(errors.map(({ code }) => code)).toEqual([
      'network',
      'network',
      'network',
      'invalid-argument',
      'invalid-argument',
      'invalid-argument',
    ]);
    const basic = Buffer.from('me:hunter2').toString('base64');
    for (const error of errors) {
      const text = `${inspect(error, { depth: 10, showHidden: true })}${error.hint}${JSON.stringify(error)}`;
      expect(text).not.toContain('hunter2');
      expect(text).not.toContain(basic);
    }
    expect(server.log).toEqual([]);
  });
});

describe('a proxy that fails', () => {
  test.each([
    [407, 'It asks for a user name and a password. Set HTTPS_PROXY=http://user:password@127.0.0.1:'],
    [403, 'Ask who runs the proxy to allow that host'],
    [502, 'does not reach that host itself'],
    [504, 'does not reach that host itself'],
    [302, 'Ask who runs the proxy'],
  ])('names a proxy that answers with status %d, and says that nothing was sent', async (status, hint) => {
    const { server, proxy, target, url } = await behindProxy(undefined, { status });
    vi.stubEnv('HTTPS_PROXY', url);
    const error = await failing(send(server.origin, { method: 'POST', body: 'secret' }));
    expect(error).toBeInstanceOf(NetworkError);
    expect(error).toMatchObject({ unsent: true, retryable: true });
    expect(error.message).toBe(
      `The proxy "127.0.0.1:${proxy.port}" does not connect to "${target}": it answered with status ${status}.`,
    );
    expect(error.hint).toContain(hint);
    expect(server.log).toEqual([]);
    await proxy.idle();
  });

  test('names the variable to fix when the proxy password is wrong', async () => {
    const { server, proxy } = await behindProxy(undefined, { login: 'me:right' });
    vi.stubEnv('all_proxy', `http://me:wrong@127.0.0.1:${proxy.port}`);
    const { message, hint } = await failing(get(server.origin));
    expect(message).toContain('status 407');
    expect(hint).toContain('does not take the user name and password in all_proxy');
  });

  test('names a proxy that is down, and its variable', async () => {
    const { server, target } = await behindProxy();
    const { url, server: away } = await rawServer(() => {});
    away.close();
    await once(away, 'close');
    vi.stubEnv('HTTPS_PROXY', url);
    const error = await failing(send(server.origin, { method: 'POST', body: 'secret' }));
    expect(error).toBeInstanceOf(NetworkError);
    expect(error).toMatchObject({ unsent: true, retryable: true });
    expect(error.message).toBe(
      `The proxy "${new URL(url).host}", which leads to "${target}", cannot be reached (ECONNREFUSED).`,
    );
    expect(error.hint).toContain('HTTPS_PROXY');
  });

  test('names a proxy whose name is unknown', async () => {
    // Does not use the test's name lookup, since `remoteHost` makes every name lead here.
    vi.stubEnv('HTTPS_PROXY', 'http://proxy.invalid:3128');
    const error = await failing(get('https://mcp.example.com/'));
    expect(error).toMatchObject({ code: 'network', unsent: true });
    expect(error.message).toContain('The proxy "proxy.invalid:3128"');
  });

  test('says how to trust the certificate of a proxy', async () => {
    const { server, proxy } = await behindProxy(undefined, {
      tls: remoteHost('proxy.example.com', { trusted: false }),
    });
    vi.stubEnv('HTTPS_PROXY', `https://proxy.example.com:${proxy.port}`);
    const error = await failing(get(server.origin));
    expect(error).toMatchObject({ code: 'network', unsent: true });
    expect(error.message).toContain('The proxy "proxy.example.com');
    expect(error.message).toContain('its certificate is not trusted here');
    expect(error.hint).toContain('NODE_EXTRA_CA_CERTS');
    expect(proxy.targets).toEqual([]);
  });

  test.each([
    ['closes the connection', (socket: Socket) => void socket.end()],
    ['speaks another protocol', (socket: Socket) => void socket.end('SSH-2.0-OpenSSH_9.6\r\n')],
    [
      'answers without end',
      (socket: Socket) => {
        const more = () => {
          while (!socket.destroyed && socket.write(`x: ${'y'.repeat(60_000)}\r\n`));
        };
        socket.write('HTTP/1.1 200 OK\r\n');
        socket.on('drain', more);
        more();
      },
    ],
  ])('reports a network error when the proxy %s', async (_what, onSocket) => {
    const { server } = await behindProxy();
    const { url, gone } = await rawServer(onSocket);
    vi.stubEnv('HTTPS_PROXY', url);
    const error = await failing(get(server.origin));
    expect(error).toMatchObject({ code: 'network', unsent: true });
    expect(error.message).toContain(`The proxy "${new URL(url).host}"`);
    await gone;
  });

  test('gives up on a silent proxy at the timeout or the caller’s signal', async () => {
    const { server } = await behindProxy();
    const silent = await rawServer(() => {});
    vi.stubEnv('HTTPS_PROXY', silent.url);
    const error = await failing(get(server.origin, { timeoutMs: 200 }));
    expect(error).toMatchObject({ code: 'network', unsent: true });
    expect(error.message).toContain(`through the proxy "${new URL(silent.url).host}"`);
    await silent.gone;
    const caller = new AbortController();
    const second = await rawServer(() => caller.abort());
    vi.stubEnv('HTTPS_PROXY', second.url);
    expect(await failing(get(server.origin, { signal: caller.signal }))).toBeInstanceOf(AbortedError);
    await second.gone;
  });
});

describe('a server behind a proxy', () => {
  test('sends nothing to an untrusted server behind a proxy, and the hint says how to trust it', async () => {
    remoteHost('mcp.example.com');
    const server = await hostileServer({}, remoteHost('mcp.example.com', { trusted: false }));
    const proxy = await connectProxy();
    vi.stubEnv('HTTPS_PROXY', `http://127.0.0.1:${proxy.port}`);
    const error = await failing(get(server.origin));
    expect(error).toMatchObject({ code: 'network', unsent: true });
    expect(error.message).toContain(`through the proxy "127.0.0.1:${proxy.port}"`);
    expect(error.message).toContain('its certificate is not trusted here');
    expect(error.hint).toContain('NODE_EXTRA_CA_CERTS');
    expect(server.log).toEqual([]);
    await proxy.idle();
  });

  test('does not report a connection that broke after sending through a proxy as unsent', async () => {
    const { server, proxy, url } = await behindProxy({
      '/': (_request, { socket }) => void socket?.destroy(),
    });
    vi.stubEnv('HTTPS_PROXY', url);
    const error = await failing(send(server.origin, { method: 'POST', body: 'x' }));
    expect(error).toMatchObject({ code: 'network', unsent: false });
    expect(server.requests).toEqual(['POST /']);
    await proxy.idle();
  });

  test('times out without an answer through a proxy, and closes the connection', async () => {
    const { server, proxy, url } = await behindProxy({ '/': () => {} });
    vi.stubEnv('HTTPS_PROXY', url);
    expect(await failing(get(server.origin, { timeoutMs: 1000 }))).toMatchObject({ code: 'timeout' });
    await proxy.idle();
  });

  test('refuses an IP address beyond the reach behind a proxy too', async () => {
    const proxy = await connectProxy();
    vi.stubEnv('HTTPS_PROXY', `http://127.0.0.1:${proxy.port}`);
    for (const url of ['https://10.0.0.1/', 'https://169.254.169.254/', 'https://[::ffff:10.0.0.1]/']) {
      expect(await failing(get(url, { reach: 'public' }))).toBeInstanceOf(UnsafeUrlError);
    }
    expect(proxy.targets).toEqual([]);
  });

  test('lets only the proxy look up the name', async () => {
    const { server, proxy, target, url } = await behindProxy();
    const names = namesLeadTo(() => ['127.0.0.1']);
    vi.stubEnv('HTTPS_PROXY', url);
    expect((await get(server.origin, { reach: 'public' })).status).toBe(200);
    expect([names, proxy.targets]).toEqual([[], [target]]);
  });
});

describe('an invalid proxy variable', () => {
  test.each(['http://[', 'http://', ':::', 'socks5://127.0.0.1:1080', 'file:///etc/passwd'])(
    'names the variable whose value %j is no proxy, and sends nothing',
    async (value) => {
      const { server } = await behindProxy();
      vi.stubEnv('HTTPS_PROXY', value);
      const error = await failing(get(server.origin));
      expect(error).toBeInstanceOf(InvalidArgumentError);
      expect(error.message).toContain('HTTPS_PROXY');
      expect(error.hint).toContain('http://proxy.example.com:3128');
      expect(server.log).toEqual([]);
    },
  );

  test('treats an empty proxy variable as unset', async () => {
    const { server } = await behindProxy();
    vi.stubEnv('HTTPS_PROXY', '');
    expect((await get(server.origin)).status).toBe(200);
  });
});
