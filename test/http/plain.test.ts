import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { networkInterfaces } from 'node:os';
import { afterEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { UnsafeUrlError } from '../../src/errors.ts';
import { isLoopbackAddress } from '../../src/http/addresses.ts';
import { createHttpFetch } from '../../src/http/fetch.ts';
import { send } from '../../src/http/request.ts';
import { failing } from '../support/failing.ts';
import { connectProxy } from '../support/network/connect-proxy.ts';
import { namesLeadTo } from '../support/network/name-lookup.ts';
import { requirement } from '../support/requirement.ts';
import { answer, hostileServer } from '../support/servers/hostile-server.ts';

afterEach(() => void vi.unstubAllEnvs());

/** A non-loopback address of this machine: to an address check, it looks like another machine. */
const elsewhere = Object.values(networkInterfaces())
  .flat()
  .find((one) => one !== undefined && one.family === 'IPv4' && !one.internal)?.address;
const noAddress = requirement('this machine has no address but loopback', elsewhere !== undefined);

function both(url: string): Promise<unknown>[] {
  const http = createHttpFetch({ origin: '', headers: {} });
  onTestFinished(() => http.close());
  return [send(url, { method: 'POST', body: 'secret' }), http.fetch(url, { method: 'POST', body: 'secret' })];
}

describe('plain http to localhost', () => {
  test('sends plain http to localhost by IPv4 and by its form inside IPv6', async () => {
    const server = await hostileServer({ '*': answer(200) });
    for (const address of ['127.0.0.1', '::ffff:127.0.0.1']) {
      namesLeadTo(() => [address]);
      for (const request of both(`http://localhost:${server.port}/`)) {
        expect(await request).toMatchObject({ status: 200 });
      }
    }
  });

  test.each(['192.0.2.1', '10.0.0.1', '0.0.0.0', '8.8.8.8', '2001:db8::1', '64:ff9b::7f00:1'])(
    'sends nothing when localhost resolves to %s',
    async (address) => {
      namesLeadTo(() => [address]);
      for (const request of both('http://localhost:1/')) {
        const error = await failing(request);
        expect(error).toBeInstanceOf(UnsafeUrlError);
        expect(error.message).toContain(`"localhost" leads to "${address}", which is not this machine`);
      }
    },
  );

  test('sends to those of several addresses that are this machine', async () => {
    const server = await hostileServer({ '*': answer(200) });
    namesLeadTo(() => ['192.0.2.1', '127.0.0.1']);
    for (const request of both(`http://localhost:${server.port}/`)) {
      expect(await request).toMatchObject({ status: 200 });
    }
  });

  test.skipIf(noAddress)('sends no byte when the address changes after the check', async () => {
    const server = createServer().listen(0, elsewhere);
    await once(server, 'listening');
    onTestFinished(() => void server.close());
    const received: unknown[] = [];
    const { port } = server.address() as AddressInfo;
    for (let client = 0; client < 2; client += 1) {
      const over = new Promise<void>((resolve) => {
        server.once('connection', (socket) => {
          socket
            .on('data', (bytes) => received.push(bytes))
            .on('error', () => {})
            .on('close', () => resolve());
        });
      });
      let looks = 0;
      const fickle = {
        get address() {
          looks += 1;
          return looks === 1 ? '127.0.0.1' : (elsewhere ?? '');
        },
        family: 4,
      };
      namesLeadTo(() => [fickle]);
      const url = `http://localhost:${port}/`;
      const http = createHttpFetch({ origin: '', headers: {} });
      onTestFinished(() => http.close());
      const error = await failing(
        client === 0
          ? send(url, { method: 'POST', body: 'secret' })
          : http.fetch(url, { method: 'POST', body: 'secret' }),
      );
      expect(error).toBeInstanceOf(UnsafeUrlError);
      await over;
    }
    expect(received).toEqual([]);
  });

  test('sends plain http to localhost through no proxy', async () => {
    const server = await hostileServer({ '*': answer(200) });
    const proxy = await connectProxy();
    for (const name of ['NO_PROXY', 'no_proxy']) vi.stubEnv(name, undefined);
    vi.stubEnv('HTTP_PROXY', `http://127.0.0.1:${proxy.port}`);
    for (const request of both(`http://localhost:${server.port}/`)) {
      expect(await request).toMatchObject({ status: 200 });
    }
    expect([proxy.targets, proxy.others]).toEqual([[], []]);
  });
});

describe('loopback addresses', () => {
  test.each([
    ['127.0.0.1', true],
    ['127.255.1.2', true],
    ['::1', true],
    ['::ffff:127.0.0.1', true],
    ['128.0.0.1', false],
    ['::ffff:8.8.8.8', false],
    ['::127.0.0.1', false],
    ['64:ff9b::7f00:1', false],
    ['2002:7f00:1::', false],
    ['localhost', false],
    ['', false],
  ])('%j is this machine’s own: %s', (address, expected) => {
    expect(isLoopbackAddress(address)).toBe(expected);
  });
});
