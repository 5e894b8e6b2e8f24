import { createServer, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { onTestFinished } from 'vitest';

/* A real CONNECT proxy (RFC 9110 section 9.3.6) on 127.0.0.1. It ends with the test. */

export interface ConnectProxy {
  readonly port: number;
  /** Targets of the CONNECT requests, such as `mcp.example.com:443`. */
  readonly targets: readonly string[];
  /** Headers of those requests. `others` lists all other requests, as `GET /path`. */
  readonly headers: readonly IncomingHttpHeaders[];
  readonly others: readonly string[];
  /** Resolves when no connection to the proxy is open. */
  idle(): Promise<void>;
}

export interface ConnectProxyOptions {
  /** Demands this login with a 407, as `user:password`. */
  readonly login?: string;
  /** Answers every CONNECT with this status. */
  readonly status?: number;
  /** Makes it an https proxy. */
  readonly tls?: { readonly key: string; readonly cert: string };
}

/** Starts a proxy that connects every outside name and address to this machine, on the requested port. */
export async function connectProxy(options: ConnectProxyOptions = {}): Promise<ConnectProxy> {
  const targets: string[] = [];
  const headers: IncomingHttpHeaders[] = [];
  const others: string[] = [];
  const sockets = new Set<Socket>();
  let wake = () => {};
  const server = options.tls === undefined ? createServer() : createTlsServer(options.tls);
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket
      .on('error', () => {})
      .on('close', () => {
        sockets.delete(socket);
        wake();
      });
  });
  server.on('request', (request, response) => {
    others.push(`${request.method} ${request.url}`);
    response.writeHead(400).end();
  });
  server.on('connect', (request: IncomingMessage, client: Duplex, head: Buffer) => {
    const target = request.url ?? '';
    targets.push(target);
    headers.push(request.headers);
    client.on('error', () => {});
    const refuse = (status: number) =>
      client.end(`HTTP/1.1 ${status} No\r\ncontent-length: 9\r\nx-why: because\r\n\r\nno entry\n`);
    const expected = options.login && `Basic ${Buffer.from(options.login).toString('base64')}`;
    const allowed = expected === undefined || request.headers['proxy-authorization'] === expected;
    if (!allowed || options.status !== undefined) {
      refuse(allowed ? (options.status ?? 0) : 407);
      return;
    }
    const onward = connect(Number(/:(\d+)$/.exec(target)?.[1]), '127.0.0.1', () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n');
      onward.write(head);
      client.pipe(onward).pipe(client);
    });
    onward.on('error', () => client.destroy()).on('close', () => client.destroy());
    client.on('close', () => onward.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    for (const socket of sockets) socket.destroy();
    await closed;
  });
  return {
    port: (server.address() as AddressInfo).port,
    targets,
    headers,
    others,
    idle: async () => {
      while (sockets.size > 0) await new Promise<void>((resolve) => (wake = resolve));
    },
  };
}
