import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { InvalidArgumentError } from '../errors.ts';
import { PROMETHEUS_CONTENT_TYPE, PrometheusMetrics } from './prometheus.ts';

export interface MetricsServer {
  readonly url: string;
  close(): Promise<void>;
}

/**
 * Serves the metrics of this process at `/metrics` on 127.0.0.1, to nobody on another machine.
 *
 * @param port 0 for any free one
 * @throws InvalidArgumentError when the port is taken, or not for this user
 */
export async function serveMetrics(port: number): Promise<MetricsServer> {
  const metrics = new PrometheusMetrics();
  const server = createServer({ requestTimeout: 10_000 }, ({ method, url }, response) => {
    // A web page that rebinds its name to this address learns nothing: what is here is counts, and no browser may read them.
    response.setHeader('X-Content-Type-Options', 'nosniff');
    if (url?.split('?')[0] !== '/metrics') response.writeHead(404).end();
    else if (method !== 'GET' && method !== 'HEAD') response.writeHead(405, { Allow: 'GET, HEAD' }).end();
    else
      response
        .writeHead(200, { 'Content-Type': PROMETHEUS_CONTENT_TYPE })
        .end(method === 'HEAD' ? undefined : metrics.text());
  });
  server.maxConnections = 32;
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
