import { createServer } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { expect, onTestFinished, vi } from 'vitest';

/**
 * Puts this process behind a proxy that leads `mcp.example.com` to this machine, until the test ends. A server behind the
 * proxy counts as public, since its address is unknown. A request for any other host fails the test.
 */
export async function behindProxy(): Promise<void> {
  const asked: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer().on('connect', ({ url = '' }, client: Socket) => {
    asked.push(url);
    const [host, port] = url.split(':');
    if (host !== 'mcp.example.com') return void client.end('HTTP/1.1 403 Forbidden\r\n\r\n');
    const upstream = connect(Number(port), '127.0.0.1', () => {
      client.write('HTTP/1.1 200 Connection Established\r\n\r\n');
      upstream.pipe(client).pipe(upstream);
    });
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => {}).on('close', () => [client, upstream].map((end) => end.destroy()));
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  vi.stubEnv('HTTPS_PROXY', `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  for (const name of ['https_proxy', 'NO_PROXY', 'no_proxy', 'ALL_PROXY', 'all_proxy'])
    vi.stubEnv(name, undefined);
  onTestFinished(async () => {
    vi.unstubAllEnvs();
    const closed = new Promise((resolve) => server.close(resolve));
    for (const socket of sockets) socket.destroy();
    await closed;
    expect(asked).not.toEqual([]);
    expect(asked.filter((authority) => !authority.startsWith('mcp.example.com:'))).toEqual([]);
  });
}
