import { once } from 'node:events';
import { connect } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { openCallbackServer } from '../../src/oauth/authorization/callback-server.ts';

test('the callback server still answers a browser while 1,500 connections are half open', async () => {
  const server = await openCallbackServer({ belongs: (parameters) => parameters.get('state') === 'S' });
  onTestFinished(() => server.close());
  const { hostname, port, host } = new URL(server.redirectUri);
  const arrival = server.next({ timeoutMs: 60_000 });
  const settled = Array.from({ length: 1500 }, async () => {
    const socket = connect({ host: hostname, port: Number(port) });
    onTestFinished(() => void socket.destroy());
    socket.on('error', () => {});
    // Accepted or rejected: both are answers.
    await Promise.race([once(socket, 'connect'), once(socket, 'close')]);
    // A header section that never ends.
    socket.write(`GET /callback HTTP/1.1\r\nhost: a`);
  });
  await Promise.all(settled);
  const page = fetch(`http://${host}/callback?code=c&state=S`);
  const callback = await arrival;
  expect(callback.parameters.get('code')).toBe('c');
  await callback.succeed({ resource: 'https://mcp.example/mcp', account: 'default' });
  expect((await page).status).toBe(200);
});
