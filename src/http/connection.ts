import type { Socket } from 'node:net';
import type { Reach } from '../credential.ts';
import { checkServerUser } from './server-user.ts';
import { checkHost, openSocket } from './socket.ts';
import { openTunnel, type Proxy } from './tunnel.ts';

/** A peer that is gone without a word is noticed by TCP, as a stream may be silent for long. */
const PROBE_AFTER_MS = 30_000;

export interface Connecting {
  readonly reach: Reach;
  /** What `proxyFor` says of the URL. */
  readonly proxy: Proxy | undefined;
  /** Gives up; what is thrown then is any error, as the caller knows the reason. */
  readonly signal: AbortSignal;
}

/**
 * A connection to the host of a URL that is ready for the first byte of a request: through the proxy, if there is one, and with
 * TLS. Nothing of the request has left when it fails.
 *
 * @throws UnsafeUrlError for an address beyond the reach, or another user's server on this machine; NetworkError, `unsent`, for what the proxy did; else what Node throws
 */
export async function connect(url: URL, { reach, proxy, signal }: Connecting): Promise<Socket> {
  checkHost(url, reach);
  signal.throwIfAborted();
  const tunnel = proxy && (await openTunnel(proxy, url, signal));
  if (signal.aborted) tunnel?.destroy();
  signal.throwIfAborted();
  const socket = openSocket(url, reach, tunnel);
  // For as long as it lasts: between two listeners of others, an error would be nobody's, and end the process.
  socket.on('error', () => {});
  if (socket !== tunnel) await ready(socket, url.protocol === 'https:' ? 'secureConnect' : 'connect', signal);
  // Nothing was sent yet. Behind a proxy, the server is on another machine; with TLS, its certificate says whose it is.
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
          // Where the address turned out to be wrong, that error comes next.
          if (!socket.destroyed) resolve();
        })
        .once('error', reject)
        .once('close', () => reject(new Error('The connection was closed.')));
    });
  } finally {
    signal.removeEventListener('abort', giveUp);
  }
}
