import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { describe, expect, onTestFinished, test } from 'vitest';
import { LeaseLostError } from '../../src/errors.ts';
import { send } from '../../src/http/request.ts';
import { failing } from '../support/failing.ts';
import { remoteHost } from '../support/network/remote-host.ts';
import { answer, hostileServer } from '../support/servers/hostile-server.ts';

describe('the fence before a request', () => {
  test.each(['http', 'https'])('sends no byte of a request that the fence stops, over %s', async (scheme) => {
    const tls = remoteHost('mcp.example.com');
    const received: Buffer[] = [];
    const server: Server = scheme === 'http' ? createServer() : createTlsServer(tls);
    // With TLS, the server records the decrypted bytes; the end is that of the TCP connection.
    server
      .on(scheme === 'http' ? 'connection' : 'secureConnection', (socket: Socket) =>
        socket.on('error', () => {}).on('data', (bytes: Buffer) => received.push(bytes)),
      )
      .on('tlsClientError', () => {});
    const over = new Promise<void>((resolve) => {
      server.once('connection', (socket: Socket) =>
        socket.on('error', () => {}).on('close', () => resolve()),
      );
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(() => void server.close());
    const { port } = server.address() as AddressInfo;
    const host = scheme === 'http' ? '127.0.0.1' : 'mcp.example.com';
    const lost = new LeaseLostError('The lease has lapsed.');
    const looked: string[] = [];
    const error = await failing(
      send(`${scheme}://${host}:${port}/token`, {
        method: 'POST',
        body: 'refresh_token=secret',
        beforeSend: () => {
          looked.push('before');
          throw lost;
        },
        afterSend: () => void looked.push('after'),
      }),
    );
    expect(error).toBe(lost);
    await over;
    expect([received, looked]).toEqual([[], ['before']]);
  });

  test('checks the fence before the request is written and again after it was sent', async () => {
    const steps: string[] = [];
    let stack = '';
    const server = await hostileServer({
      '*': (request, response) => {
        steps.push('arrived');
        return answer(200)(request, response);
      },
    });
    await send(server.origin, {
      method: 'POST',
      body: 'refresh_token=secret',
      beforeSend: () => {
        steps.push('before');
        stack = new Error().stack ?? '';
      },
      afterSend: () => void steps.push('after'),
    });
    expect(steps.filter((step) => step !== 'arrived')).toEqual(['before', 'after']);
    // The write of the bytes calls the fence, and by then the bytes exist.
    expect(stack).toContain('_flushOutput');
    expect(steps.indexOf('arrived')).toBeGreaterThan(steps.indexOf('before'));
  });

  test('checks the fence before each request of a redirect chain', async () => {
    const server = await hostileServer({ '/1': answer(302, '', { location: '/2' }), '/2': answer(200) });
    let looked = 0;
    await send(`${server.origin}/1`, { method: 'GET', beforeSend: () => void (looked += 1) });
    expect(looked).toBe(2);
  });
});
