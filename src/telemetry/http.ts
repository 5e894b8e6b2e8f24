import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { InvalidArgumentError } from '../errors.ts';
import { PROMETHEUS_CONTENT_TYPE, PrometheusMetrics } from './prometheus.ts';

export interface MetricsServer {
  readonly url: string;
  close(): Promise<void>;
}

/**
 * A connection without a complete request is closed after a timeout. Their number has no limit: with a limit, idle
 * connections could lock out the scraper.
 */
const TIMES = {
  headersTimeout: 5_000,
  requestTimeout: 10_000,
  keepAliveTimeout: 5_000,
  connectionsCheckingInterval: 1_000,
  maxHeaderSize: 8 * 1024,
};

/**
 * Whether the request names this server. A web page whose name was rebound to this address names another host. The
 * browser would treat the answer as that page's own origin, and the page could read it.
 */
function isAskedForHere({ headers, socket }: IncomingMessage): boolean {
  // The URL parser omits port 80, as a client does.
  return ['127.0.0.1', 'localhost'].some(
    (name) => headers.host === new URL(`http://${name}:${socket.localPort}`).host,
  );
}

/**
 * Serves the metrics of this process at `/metrics` on 127.0.0.1; no other machine can reach it.
 *
 * @param port 0 for any free port
 * @throws InvalidArgumentError when the port is taken, or this user may not use it
 */
export async function serveMetrics(port: number): Promise<MetricsServer> {
  const metrics = new PrometheusMetrics();
  const server = createServer(TIMES, (request, response) => {
    const { method, url } = request;
    response.setHeader('X-Content-Type-Options', 'nosniff');
    if (!isAskedForHere(request)) response.writeHead(421).end();
    else if (url?.split('?')[0] !== '/metrics') response.writeHead(404).end();
    else if (method !== 'GET' && method !== 'HEAD') response.writeHead(405, { Allow: 'GET, HEAD' }).end();
    else
      response
        .writeHead(200, { 'Content-Type': PROMETHEUS_CONTENT_TYPE })
        .end(method === 'HEAD' ? undefined : metrics.text());
  });
  server.listen(port, '127.0.0.1');
  try {
    await once(server, 'listening');
  } catch (cause) {
    metrics.close();
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown reason';
    throw new InvalidArgumentError(`No metrics can be served on port ${port} of 127.0.0.1 (${code}).`, {
      cause,
      hint: 'Choose another port with --metrics-port; 0 takes any free one.',
    });
  }
  const { port: actual } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${actual}/metrics`,
    close: async () => {
      metrics.close();
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}
