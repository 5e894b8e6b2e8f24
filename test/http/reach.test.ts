import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { UnsafeUrlError } from '../../src/errors.ts';
import { type Request, send } from '../../src/http/request.ts';
import { failing } from '../support/failing.ts';
import { namesLeadTo } from '../support/network/name-lookup.ts';
import { remoteHost } from '../support/network/remote-host.ts';
import { answer, hostileServer } from '../support/servers/hostile-server.ts';

/*
 * Tests that need only this machine's own addresses. rebinding.test.ts tests public addresses, and names that a real DNS
 * server rebinds.
 */

function get(url: string, request: Partial<Request> = {}) {
  return send(url, { method: 'GET', ...request });
}

/** Counts connections, however short: a refused request must not even open one. */
async function listener() {
  let connections = 0;
  const server = createServer((socket) => {
    connections += 1;
    socket.end();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo;
  return {
    port,
    connections: async () => {
      // The server accepts this connection after all earlier ones.
      const last = connect(port, '127.0.0.1');
      last.resume().end();
      await once(last, 'close');
      return connections - 1;
    },
  };
}

describe('a request with the reach public', () => {
  test('does not connect to this machine, by address or by name, with a narrower reach', async () => {
    const here = await listener();
    for (const host of ['127.0.0.1', 'localhost']) {
      for (const reach of ['public', 'private'] as const) {
        for (const method of ['GET', 'POST'] as const) {
          const error = await failing(
            send(`http://${host}:${here.port}/`, { method, reach, body: 'secret' }),
          );
          expect(error).toBeInstanceOf(UnsafeUrlError);
          expect(error.retryable).toBe(false);
          expect(error.message).toContain(`"${host}"`);
          expect(error.message).toContain('a loopback address');
          expect(error.hint).toContain('holdfast login URL --lenient private-addresses');
        }
      }
    }
    expect(await here.connections()).toBe(0);
  });

  test.each([
    ['https://10.0.0.1/', 'an address of a private network'],
    ['https://[fd00::1]/', 'an address of a private network'],
    ['https://169.254.169.254/latest/meta-data', 'metadata service'],
    ['https://[::ffff:169.254.169.254]/', 'metadata service'],
    ['https://0xa9fea9fe/', 'metadata service'],
    ['https://[fe80::1]/', 'a link-local address'],
    ['https://[64:ff9b::a00:1]/', 'by the 10.0.0.1 in it'],
    ['https://224.0.0.1/', 'a multicast address'],
    ['https://0.0.0.0/', 'an unspecified address'],
  ])('sends nothing to %s with the reach public', async (url, kind) => {
    const error = await failing(get(url, { reach: 'public' }));
    expect(error).toBeInstanceOf(UnsafeUrlError);
    expect(error.message).toContain(kind);
  });

  test('refuses a name that leads to this machine, and says to which address', async () => {
    const here = await listener();
    namesLeadTo(() => ['127.0.0.1', '::1']);
    const error = await failing(get(`https://as.example.com:${here.port}/`, { reach: 'public' }));
    expect(error).toBeInstanceOf(UnsafeUrlError);
    expect(error.message).toContain('"as.example.com" leads to "127.0.0.1", a loopback address');
    expect(await here.connections()).toBe(0);
  });

  test('sends no byte when the address changes between the check and the connection', async () => {
    const here = createServer().listen(0, '127.0.0.1');
    await once(here, 'listening');
    onTestFinished(() => void here.close());
    const received: unknown[] = [];
    const over = new Promise<void>((resolve) => {
      here.once('connection', (socket) => {
        socket
          .on('data', (bytes) => received.push(bytes))
          .on('error', () => {})
          .on('close', () => resolve());
      });
    });
    // A DNS answer whose address changes when it is read a second time.
    let looks = 0;
    const fickle = {
      get address() {
        looks += 1;
        return looks === 1 ? '8.8.8.8' : '127.0.0.1';
      },
      family: 4,
    };
    namesLeadTo(() => [fickle]);
    const { port } = here.address() as AddressInfo;
    const error = await failing(
      send(`https://as.example.com:${port}/`, { method: 'POST', body: 'secret', reach: 'public' }),
    );
    expect(error).toBeInstanceOf(UnsafeUrlError);
    expect(error.message).toContain('"as.example.com" leads to "127.0.0.1"');
    await over;
    expect(received).toEqual([]);
  });
});

describe('a request with the reach private', () => {
  test('sends nothing to this machine or to a metadata service with the reach private', async () => {
    for (const url of ['https://127.0.0.1/', 'https://169.254.169.254/', 'https://[fd00:ec2::254]/']) {
      expect(await failing(get(url, { reach: 'private' }))).toBeInstanceOf(UnsafeUrlError);
    }
  });
});

describe('a request with the reach anywhere', () => {
  test('reports the reach of the address that answered', async () => {
    const server = await hostileServer({ '*': answer(200) });
    expect((await get(server.origin)).reached).toBe('anywhere');
    expect((await get(server.origin.replace('127.0.0.1', 'localhost'))).reached).toBe('anywhere');
    expect((await send(server.origin, { method: 'POST', headersOnly: true })).reached).toBe('anywhere');
  });

  test('tries the next address when one does not answer', async () => {
    const server = await hostileServer({ '*': answer(200) }, remoteHost('mcp.example.com'));
    const names = namesLeadTo(() => ['::1', '127.0.0.2', '127.0.0.1']);
    expect((await get(server.origin)).status).toBe(200);
    expect(names).toEqual(['mcp.example.com']);
  });

  test('looks the name up again for each request, and never looks up an address', async () => {
    const server = await hostileServer({ '*': answer(200) }, remoteHost('mcp.example.com'));
    const names = namesLeadTo(() => ['127.0.0.1']);
    await get(server.origin);
    await get(server.origin);
    await failing(get(`https://127.0.0.1:${server.port}`));
    expect(names).toEqual(['mcp.example.com', 'mcp.example.com']);
  });
});

describe('headers for one origin', () => {
  test('sends a server’s own headers to its origin, but not after a redirect to another', async () => {
    const other = await hostileServer({ '*': answer(200) });
    const server = await hostileServer({
      '/1': answer(302, '', { location: '/2' }),
      '/2': answer(302, '', { location: `${other.origin}/3` }),
    });
    const ownHeaders = {
      origin: server.origin,
      headers: { 'X-Api-Key': 'k', Accept: 'text/plain', 'User-Agent': 'x' },
    };
    await get(`${server.origin}/1`, { ownHeaders, headers: { accept: 'application/json' } });
    for (const { headers } of server.log) {
      expect(headers).toMatchObject({ 'x-api-key': 'k', accept: 'application/json' });
      expect(headers['user-agent']).toMatch(/^holdfast/);
    }
    expect(server.log).toHaveLength(2);
    expect(other.log).toHaveLength(1);
    expect(other.log[0]?.headers).not.toHaveProperty('x-api-key');
    expect(other.log[0]?.headers).toMatchObject({ accept: 'application/json' });
  });
});
