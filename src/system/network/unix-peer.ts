import { lstatSync, realpathSync, statSync } from 'node:fs';
import type { Socket } from 'node:net';
import { dirname } from 'node:path';

/*
 * Who is at the other end of a Unix socket. A socket's name proves nothing: the address of a session that is over stays in
 * the environment, and another user can then listen at a name in /tmp, or at an abstract name.
 */

/** The user id at the other end of a connected Unix socket; `undefined` where the system does not tell. */
export type PeerUser = (socket: Socket) => number | undefined;

/** From <sys/socket.h> on Linux: SOL_SOCKET, and SO_PEERCRED, which powerpc numbers differently. */
const SOL_SOCKET = 1;
const SO_PEERCRED = process.arch === 'ppc64' ? 21 : 17;

/** `struct ucred` of unix(7): the ids of process, user and group, 32 bits each. */
const UCRED_BYTES = 12;
const UID_AT = 4;

/**
 * Loads the call that asks the kernel: SO_PEERCRED (unix(7)) on Linux, getpeereid(3) on macOS and the BSDs. Costs about
 * 10 ms.
 *
 * @throws what the loader says, where koffi is missing
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
 * Loads the call that knows a user by the user id: getpwuid(3), which asks every directory of users that the system has.
 *
 * @throws what the loader says, where koffi is missing
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

/** Node has no public name for it. Without one the peer is not known, and so refused. */
function descriptorOf(socket: Socket): number | undefined {
  const { _handle: handle } = socket as { _handle?: { fd?: unknown } | null };
  return typeof handle?.fd === 'number' && handle.fd >= 0 ? handle.fd : undefined;
}

/**
 * Whether only this user and root can have put there what is at that path: each directory above belongs to one of them, and
 * nobody else may write to it. True of `/run/user/UID/bus`, where it saves the call; of nothing in /tmp.
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
 * The path without symbolic links.
 *
 * @throws ForeignSocketError when the socket, or the link in its place, belongs to another user; what the file system says
 */
export function ownSocketPath(path: string, uid: number): string {
  const real = realpathSync(path);
  for (const { uid: owner } of [lstatSync(path), lstatSync(real)]) {
    if (!isOwn(owner, uid)) throw new OtherUsersSocketError(path, owner, uid);
  }
  return real;
}

/** @throws ForeignSocketError when another user listens, or the system does not tell which */
export function insistOnPeer(name: string, peer: number | undefined, uid: number): void {
  if (peer === undefined || !isOwn(peer, uid)) throw new OtherUsersSocketError(name, peer, uid);
}

/** Root can read all that this user can, so it gains nothing. */
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
    this.name = 'ForeignSocketError';
  }
}
