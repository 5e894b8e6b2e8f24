import { once } from 'node:events';
import { connect, Socket } from 'node:net';
import { insistOnPeer, isGuarded, loadPeerUser, ownSocketPath, type PeerUser } from './unix-peer.ts';

/*
 * Connects to Unix sockets by path or by abstract name. Node 20 pads an abstract name (unix(7)) with zero bytes to the
 * maximum length, which makes it the name of another socket. So the C library connects to abstract names.
 */

/** From <sys/socket.h>, on Linux. */
const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;

/** A Unix socket's address: a path or, only on Linux, an abstract name without its leading zero byte. */
export interface SocketAddress {
  readonly path?: string;
  readonly abstract?: string;
}

/**
 * Connects to a socket that belongs to this user or to root. Sends nothing.
 *
 * @throws OtherUsersSocketError when the socket belongs to another user
 * @throws Error when no process answers
 */
export async function connectOwnSocket({ path = '', abstract }: SocketAddress): Promise<Socket> {
  const uid = process.geteuid?.();
  if (uid === undefined) return connected(path);
  if (abstract !== undefined) return checked(await loadPeerUser(), connectAbstract(abstract), abstract, uid);
  const real = socketPath(path, uid);
  if (isGuarded(real, uid)) return connected(real);
  return checked(await loadPeerUser(), connected(real), path, uid);
}

/** Reports a missing path as a failed connection, whichever call finds out. */
function socketPath(path: string, uid: number): string {
  try {
    return ownSocketPath(path, uid);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    throw typeof code === 'string' ? new Error(`connect ${code} ${path}`) : error;
  }
}

async function connected(path: string): Promise<Socket> {
  const socket = connect(path);
  await once(socket, 'connect');
  return socket;
}

async function checked(
  peerUser: PeerUser,
  connecting: Promise<Socket>,
  name: string,
  uid: number,
): Promise<Socket> {
  const socket = await connecting;
  try {
    insistOnPeer(name, peerUser(socket), uid);
    return socket;
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

async function connectAbstract(name: string): Promise<Socket> {
  const { default: koffi } = await import('koffi');
  const program = koffi.load(null);
  const socket = program.func('int socket(int, int, int)');
  const connectTo = program.func('int connect(int, const void *, uint32_t)');
  const family = Buffer.alloc(2);
  new Uint16Array(family.buffer, family.byteOffset, 1)[0] = AF_UNIX;
  const address = Buffer.concat([family, Buffer.alloc(1), Buffer.from(name, 'utf8')]);
  const descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (descriptor === -1) throw new Error(`socket: errno ${koffi.errno()}`);
  const reached = connectTo(descriptor, address, address.length) === 0;
  const errno = koffi.errno();
  const stream = new Socket({ fd: descriptor });
  if (reached) return stream;
  stream.destroy();
  throw new Error(`connect to the abstract socket ${name}: errno ${errno}`);
}
