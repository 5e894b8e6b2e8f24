import type { Socket } from 'node:net';
import type { Reach } from '../credential.ts';
import { checkServerUser } from './server-user.ts';
import { checkHost, openSocket } from './socket.ts';
import { openTunnel, type Proxy } from './tunnel.ts';

/** TCP keep-alive delay in milliseconds. It detects a peer that vanished, as a stream may be silent for long. */
const PROBE_AFTER_MS = 30_000;

export interface Connecting {
  readonly reach: Reach;
  /** The result of `proxyFor` for the URL. */
  readonly proxy: Proxy | undefined;
  /** Aborts the connection attempt. Any error may be thrown then, as the caller knows the reason. */
  readonly signal: AbortSignal;
}

/**
 * Opens a connection to the host of a URL, ready for the first byte of a request: through the proxy if there is one,
 * and with TLS. When this fails, no byte of the request was sent.
 *
 * @throws UnsafeUrlError for an address beyond the reach, or for another user's server on this machine
 * @throws NetworkError, `unsent`, when the proxy failed; otherwise the errors of Node
 */
export async function connect(url: URL, { reach, proxy, signal }: Connecting): Promise<Socket> {
  checkHost(url, reach);
  signal.throwIfAborted();
  const tunnel = proxy && (await openTunnel(proxy, url, signal));
  if (signal.aborted) tunnel?.destroy();
  signal.throwIfAborted();
  const socket = openSocket(url, reach, tunnel);
  // This listener stays for the socket's whole life. Between two other listeners, an unhandled error would end the
  // process.
  socket.on('error', () => {});
  if (socket !== tunnel) await ready(socket, url.protocol === 'https:' ? 'secureConnect' : 'connect', signal);
  // Nothing was sent yet. Behind a proxy, the server is on another machine; with TLS, the certificate identifies it.
  if (tunnel === undefined && url.protocol === 'http:' && reach !== 'anyone')
    await checkServerUser(url, socket);
  socket.setNoDelay(true);
  socket.setKeepAlive(true, PROBE_AFTER_MS);
  return socket;
}

async function ready(socket: Socket, event: 'connect' | 'secureConnect', signal: AbortSignal): Promise<void> {
  const giveUp = () => socket.destroy(new Error('The connection was given up.'));
  signal.addEventListener('abort', giveUp, { once: true });
  try {
    await new Promise<void>((resolve, reject) => {
      socket
        .once(event, () => {
          // If the check of the address failed, its error comes next.
          if (!socket.destroyed) resolve();
        })
        .once('error', reject)
        .once('close', () => reject(new Error('The connection was closed.')));
    });
  } finally {
    signal.removeEventListener('abort', giveUp);
  }
}
