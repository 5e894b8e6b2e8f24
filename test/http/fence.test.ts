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
  test.each(['http', 'https'])('keeps every byte of it from leaving, over %s', async (scheme) => {
    const tls = remoteHost('mcp.example.com');
    const received: Buffer[] = [];
    const server: Server = scheme === 'http' ? createServer() : createTlsServer(tls);
    // With TLS, what arrives is what it decrypts, and the end is that of the connection below it.
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

  test('looks when the request is written out, and again when it was sent', async () => {
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
    // It is the write of the bytes that asks, and they are there by then.
    expect(stack).toContain('_flushOutput');
    expect(steps.indexOf('arrived')).toBeGreaterThan(steps.indexOf('before'));
  });

  test('looks before each request of those that a redirect makes', async () => {
    const server = await hostileServer({ '/1': answer(302, '', { location: '/2' }), '/2': answer(200) });
    let looked = 0;
    await send(`${server.origin}/1`, { method: 'GET', beforeSend: () => void (looked += 1) });
    expect(looked).toBe(2);
  });
});
