import { createServer as createPlainServer } from 'node:http';
import { createServer, type ServerOptions } from 'node:https';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { createHttpFetch } from '../../src/http/fetch.ts';
import { send } from '../../src/http/request.ts';
import { remoteHost } from '../support/network/remote-host.ts';
import { requirement } from '../support/requirement.ts';

/*
 * RFC 9110 section 7.2: `Host` names the port unless it is the scheme's default. The MCP SDKs' `allowedHosts` and Envoy's
 * virtual hosts compare it literally.
 */

async function canListen(port: number): Promise<boolean> {
  const server = createTcpServer();
  const bound = await new Promise<boolean>((resolve) => {
    server.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true));
  });
  if (bound) await new Promise((resolve) => server.close(resolve));
  return bound;
}

const no443 = requirement('port 443 of 127.0.0.1 cannot be listened on', await canListen(443));
const no80 = requirement('port 80 of 127.0.0.1 cannot be listened on', await canListen(80));

/** Answers 421 to any wrong `Host`. Returns the port and the received `Host` headers. */
async function strictServer(port: number, right: (port: number) => string, tls?: ServerOptions) {
  const hosts: (string | undefined)[] = [];
  const server = tls === undefined ? createPlainServer() : createServer(tls);
  server.on('request', ({ headers }, response) => {
    hosts.push(headers.host);
    response.writeHead(headers.host === right(at.port) ? 200 : 421).end();
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  const at = { port: (server.address() as AddressInfo).port, hosts };
  return at;
}

/** Returns the status that each client gets. */
async function statuses(url: string): Promise<number[]> {
  const http = createHttpFetch({ origin: '', headers: {} });
  onTestFinished(() => http.close());
  const { status } = await send(url, { method: 'GET' });
  const posted = await send(url, {
    method: 'POST',
    body: 'a=b',
    ownHeaders: { origin: new URL(url).origin, headers: { Host: 'other.example' } },
  });
  const fetched = await http.fetch(url);
  await fetched.body?.cancel();
  return [status, posted.status, fetched.status];
}

describe('the Host header', () => {
  test.skipIf(no443)('names no port for https on port 443', async () => {
    const tls = remoteHost('mcp.example.com');
    const { hosts } = await strictServer(443, () => 'mcp.example.com', tls);
    expect(await statuses('https://mcp.example.com/')).toEqual([200, 200, 200]);
    expect(await statuses('https://mcp.example.com:443/')).toEqual([200, 200, 200]);
    expect(new Set(hosts)).toEqual(new Set(['mcp.example.com']));
  });

  test.skipIf(no80)('names no port for http on port 80', async () => {
    const { hosts } = await strictServer(80, () => '127.0.0.1');
    expect(await statuses('http://127.0.0.1/')).toEqual([200, 200, 200]);
    expect(new Set(hosts)).toEqual(new Set(['127.0.0.1']));
  });

  test('names any other port, over https and over http', async () => {
    const tls = remoteHost('mcp.example.com');
    const secure = await strictServer(0, (port) => `mcp.example.com:${port}`, tls);
    expect(await statuses(`https://mcp.example.com:${secure.port}/`)).toEqual([200, 200, 200]);
    const plain = await strictServer(0, (port) => `localhost:${port}`);
    expect(await statuses(`http://localhost:${plain.port}/`)).toEqual([200, 200, 200]);
  });
});
