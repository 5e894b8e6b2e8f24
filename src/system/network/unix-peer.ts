import { lstatSync, realpathSync, statSync } from 'node:fs';
import type { Socket } from 'node:net';
import { dirname } from 'node:path';

/*
 * Identifies the user at the other end of a Unix socket. A socket's name proves nothing: the address of an ended
 * session stays in the environment. Another user can then listen at a name in /tmp, or at an abstract name.
 */

/** Returns the user id at the other end of a connected Unix socket; `undefined` if the system does not reveal it. */
export type PeerUser = (socket: Socket) => number | undefined;

/** From <sys/socket.h> on Linux: SOL_SOCKET, and SO_PEERCRED, which has another number on powerpc. */
const SOL_SOCKET = 1;
const SO_PEERCRED = process.arch === 'ppc64' ? 21 : 17;

/** `struct ucred` of unix(7): the ids of process, user and group, 32 bits each. */
const UCRED_BYTES = 12;
const UID_AT = 4;

/**
 * Loads the system call that returns the peer's user: SO_PEERCRED (unix(7)) on Linux, getpeereid(3) on macOS and the
 * BSDs. Costs about 10 ms.
 *
 * @throws the loader's error, if koffi is missing
 */
export async function loadPeerUser(): Promise<PeerUser> {
  const { default: koffi } = await import('koffi');
  const program = koffi.load(null);
  if (process.platform !== 'linux') {
    const getpeereid = program.func('int getpeereid(int, void *, void *)');
    return (socket) => {
      const [user, group] = [new Uint32Array(1), new Uint32Array(1)];
      const descriptor = descriptorOf(socket);
      if (descriptor === undefined || getpeereid(descriptor, user, group) !== 0) return undefined;
      return user[0];
    };
  }
  const getsockopt = program.func('int getsockopt(int, int, int, void *, void *)');
  return (socket) => {
    const credentials = new Uint32Array(UCRED_BYTES / 4);
    const length = new Uint32Array([UCRED_BYTES]);
    const descriptor = descriptorOf(socket);
    if (descriptor === undefined) return undefined;
    const failed = getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, credentials, length) !== 0;
    return failed || length[0] !== UCRED_BYTES ? undefined : credentials[UID_AT / 4];
  };
}

/**
 * Loads getpwuid(3), which looks a user id up in every user database of the system.
 *
 * @throws the loader's error, if koffi is missing
 */
export async function loadUserName(): Promise<(uid: number) => string | undefined> {
  const { default: koffi } = await import('koffi');
  const getpwuid = koffi.load(null).func('void *getpwuid(uint32_t)');
  return (uid) => {
    const entry: unknown = getpwuid(uid);
    // The name is the first member of `struct passwd` on Linux, macOS and the BSDs.
    return entry === null ? undefined : String(koffi.decode(entry, 'char *'));
  };
}

/** Node has no public API for the descriptor. Without it the peer is unknown, so the caller refuses the connection. */
function descriptorOf(socket: Socket): number | undefined {
  const { _handle: handle } = socket as { _handle?: { fd?: unknown } | null };
  return typeof handle?.fd === 'number' && handle.fd >= 0 ? handle.fd : undefined;
}

/**
 * Tells whether only this user and root can have created the file at `path`: one of them owns each directory above it,
 * and nobody else may write to those directories. True for `/run/user/UID/bus`, where it saves the system call; never
 * in /tmp.
 *
 * @param path a path without symbolic links
 */
export function isGuarded(path: string, uid: number): boolean {
  if (!isOwn(statSync(path).uid, uid)) return false;
  for (let above = dirname(path); ; above = dirname(above)) {
    const { uid: owner, mode } = lstatSync(above);
    if (!isOwn(owner, uid) || (mode & 0o022) !== 0) return false;
    if (dirname(above) === above) return true;
  }
}

/**
 * Resolves the symbolic links in the path.
 *
 * @throws OtherUsersSocketError when another user owns the socket, or a symbolic link at `path`
 * @throws the file system's error
 */
export function ownSocketPath(path: string, uid: number): string {
  const real = realpathSync(path);
  for (const { uid: owner } of [lstatSync(path), lstatSync(real)]) {
    if (!isOwn(owner, uid)) throw new OtherUsersSocketError(path, owner, uid);
  }
  return real;
}

/** @throws OtherUsersSocketError when another user listens, or the system does not reveal the listener */
export function insistOnPeer(name: string, peer: number | undefined, uid: number): void {
  if (peer === undefined || !isOwn(peer, uid)) throw new OtherUsersSocketError(name, peer, uid);
}

/** Root counts as own: it can read everything that this user can, so it gains nothing. */
function isOwn(owner: number, uid: number): boolean {
  return owner === uid || owner === 0;
}

export class OtherUsersSocketError extends Error {
  constructor(name: string, owner: number | undefined, uid: number) {
    super(
      owner === undefined
        ? `the system does not tell which user listens at the socket ${name}`
        : `the socket ${name} belongs to user ${owner}, not to you (${uid})`,
    );
    this.name = 'OtherUsersSocketError';
  }
}
