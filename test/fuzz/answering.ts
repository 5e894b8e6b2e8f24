import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer, globalAgent } from 'node:https';
import type { AddressInfo } from 'node:net';
import { selfSigned } from '../support/network/self-signed.ts';

/*
 * A real server for targets, which also run outside of tests; test/support/servers/hostile-server.ts ends with its
 * test.
 */

export interface Answering {
  /** Origin, such as `http://127.0.0.1:43210`. */
  readonly origin: string;
  readonly close: () => Promise<void>;
}

/** @param remote a host name; the server then uses https and looks remote to Holdfast */
export async function answering(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
  remote?: string,
): Promise<Answering> {
  const listener = (request: IncomingMessage, response: ServerResponse) => {
    request.resume().on('end', () => answer(request, response));
  };
  const tls = remote === undefined ? undefined : selfSigned(remote);
  const server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener);
  const before = { ca: globalAgent.options.ca, lookup: globalAgent.options.lookup };
  if (tls !== undefined) {
    globalAgent.options.ca = tls.cert;
    globalAgent.options.lookup = (_name, wanted, callback) => {
      if (wanted.all) callback(null, [{ address: '127.0.0.1', family: 4 }]);
      else callback(null, '127.0.0.1', 4);
    };
  }
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    origin: remote === undefined ? `http://127.0.0.1:${port}` : `https://${remote}:${port}`,
    close: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
      Object.assign(globalAgent.options, before);
    },
  };
}
