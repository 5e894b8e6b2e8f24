import type { Socket } from 'node:net';
import { UnsafeUrlError } from '../errors.ts';
import { quote } from '../quote.ts';
import { isLoopbackAddress } from './addresses.ts';

/**
 * Refuses a server on this machine that another user runs. Over plain http, a loopback address proves nothing. While
 * the right server is down, any user can take its port and would receive the tokens.
 *
 * It accepts a server of root, and one that the system does not list: behind a tunnel, in a container, or on a system
 * without such a list.
 *
 * @throws UnsafeUrlError; an Error when the connection ended in the meantime
 */
export async function checkServerUser(url: URL, socket: Socket): Promise<void> {
  const { remoteAddress = '', localAddress } = socket;
  if (!isLoopbackAddress(remoteAddress) && remoteAddress !== localAddress) return;
  const { isAnotherUser, tcpServerOf } = await import('../system/network/tcp-peer.ts');
  const peer = await tcpServerOf(socket);
  if (peer.kind === 'gone') {
    socket.destroy();
    throw new Error('The connection was closed.');
  }
  if (!isAnotherUser(peer)) return;
  socket.destroy();
  throw new UnsafeUrlError(
    `Another user of this machine (user ${peer.uid}) runs the server at ${quote(url.host)}; nothing was sent there.`,
    {
      hint: 'Any user can take a free port, so this may not be your server. If you trust that user with this login: holdfast login URL --lenient other-local-users (for holdfast proxy, "otherLocalUsers" in config.json)',
    },
  );
}
