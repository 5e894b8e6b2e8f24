import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { onTestFinished } from 'vitest';

/*
 * A real HTTP server that answers whatever a test wants, the impossible included. It ends with the test.
 *
 *   const server = await hostileServer((origin) => ({
 *     '/mcp': answer(401, '', { 'www-authenticate': 'Bearer' }),
 *     '/.well-known/oauth-authorization-server': { issuer: origin, token_endpoint: `${origin}/token` },
 *     '/token': (request, response) => void response.writeHead(400).end('{"error":"invalid_grant"}'),
 *   }));
 *   server.requests    // ['POST /mcp', 'GET /.well-known/oauth-authorization-server']
 */

export interface LoggedRequest {
  readonly method: string;
  /** Path and query, as sent. */
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** Answers a request whose body has been read. `response.socket` allows answers that are not HTTP. */
export type Handler = (request: LoggedRequest, response: ServerResponse) => void | Promise<void>;

/**
 * Looked up by path with query, then by path, then by `*`; otherwise 404. A value that is no function is sent as JSON
 * with 200.
 */
export type Routes = Record<string, Handler | object>;

export interface HostileServer {
  /** Origin, such as `http://127.0.0.1:43210`. */
  readonly origin: string;
  readonly port: number;
  /** Routes, which may be changed at any time. */
  readonly routes: Routes;
  /** Every request in full, in order of arrival. */
  readonly log: readonly LoggedRequest[];
  /** The same requests as `GET /path?query`. */
  readonly requests: readonly string[];
}

/**
 * Starts a server on 127.0.0.1.
 *
 * @param routes the routes, or a function of the server's origin that returns them
 * @param tls key and certificate, for https at the given host name
 */
export async function hostileServer(
  routes: Routes | ((origin: string) => Routes),
  tls?: { readonly host: string; readonly key: string; readonly cert: string },
): Promise<HostileServer> {
  const log: LoggedRequest[] = [];
  const sockets = new Set<Socket>();
  const listener = (request: IncomingMessage, response: ServerResponse) => {
    // The client may close the connection at any time, which does not fail the test.
    serve(request, response).catch(() => response.destroy());
  };
  const server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener);
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('error', () => {}).on('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    for (const socket of sockets) socket.destroy();
    await closed;
  });
  const { port } = server.address() as AddressInfo;
  const origin = tls === undefined ? `http://127.0.0.1:${port}` : `https://${tls.host}:${port}`;
  const table = typeof routes === 'function' ? routes(origin) : routes;
  return {
    origin,
    port,
    routes: table,
    log,
    get requests() {
      return log.map(({ method, url }) => `${method} ${url}`);
    },
  };

  async function serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    let body = '';
    for await (const chunk of incoming) body += chunk;
    const { method = '', url = '', headers } = incoming;
    const request: LoggedRequest = { method, url, headers, body };
    log.push(request);
    const route = table[url] ?? table[url.replace(/\?.*$/s, '')] ?? table['*'] ?? answer(404);
    await (typeof route === 'function' ? route : json(route))(request, response);
  }
}

/** Answers with a JSON document. */
export function json(document: unknown, status = 200, headers: Record<string, string> = {}): Handler {
  return answer(status, JSON.stringify(document), { 'content-type': 'application/json', ...headers });
}

/** Answers with one whole body. */
export function answer(
  status: number,
  body: string | Uint8Array = '',
  headers: Record<string, string | string[]> = {},
): Handler {
  return (_request, response) => void response.writeHead(status, headers).end(body);
}

/** Sends raw bytes in place of an HTTP response, then closes the connection unless `keep` is true. */
export function raw(bytes: string, keep = false): Handler {
  return (_request, { socket }) => {
    socket?.write(bytes);
    if (!keep) socket?.end();
  };
}

/** Takes the request and never answers. */
export function hang(): Handler {
  return () => {};
}

/** Sends a body until the client closes the connection. `closed` then yields the number of bytes sent. */
export function stream(
  chunk: string | Uint8Array,
  options: { everyMs?: number; limit?: number; headers?: Record<string, string> } = {},
): { readonly handler: Handler; readonly closed: Promise<number> } {
  const {
    everyMs,
    limit = Number.POSITIVE_INFINITY,
    headers = { 'content-type': 'application/json' },
  } = options;
  let close: (sent: number) => void = () => {};
  const closed = new Promise<number>((resolve) => {
    close = resolve;
  });
  const handler: Handler = async (_request, response) => {
    let sent = 0;
    let gone = false;
    let wake = () => {};
    response
      .on('drain', () => wake())
      .on('close', () => {
        gone = true;
        wake();
        close(sent);
      });
    response.writeHead(200, headers);
    while (!gone && sent < limit) {
      sent += chunk.length;
      const ready = new Promise<void>((resolve) => {
        wake = resolve;
        if (everyMs !== undefined) setTimeout(resolve, everyMs);
      });
      if (!response.write(chunk)) await ready;
      else if (everyMs === undefined) await new Promise(setImmediate);
      else await ready;
    }
    response.end();
  };
  return { handler, closed };
}
