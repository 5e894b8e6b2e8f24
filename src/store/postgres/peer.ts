import { Socket } from 'node:net';
import { StoreDeniedError } from '../../errors.ts';
import { quote } from '../../quote.ts';
import { loadPeerUser, loadUserName } from '../../system/network/unix-peer.ts';

/*
 * libpq's `requirepeer`. Anyone with write access to the directory of a Unix socket can listen in the server's place,
 * and would get the password. The kernel tells which user listens before anything is sent.
 */

/**
 * Returns a function that makes the sockets of `pg`. A socket is destroyed as soon as it connects to another user's
 * server.
 *
 * @param user the name of the user that must run the server
 * @param where the engine, as it is shown to people
 * @returns for the option `stream` of `pg`; the error of such a socket is a StoreDeniedError
 * @throws StoreDeniedError where this platform does not tell who listens
 */
export async function socketsToServerOf(user: string, where: string): Promise<() => Socket> {
  const [peerUser, userName] = await Promise.all([loadPeerUser(), loadUserName()]).catch((cause: unknown) => {
    throw new StoreDeniedError(
      `requirepeer asks that user ${quote(user, 60)} runs ${where}, and this platform cannot tell which user does.`,
      { cause, hint: 'Connect over TCP with sslmode=verify-full, or leave requirepeer out.' },
    );
  });
  return () => {
    const socket = new Socket();
    // This listener runs first: `pg` adds its own afterwards, and then writes to a destroyed socket, which sends
    // nothing.
    socket.once('connect', () => {
      const uid = peerUser(socket);
      const name = uid === undefined ? undefined : userName(uid);
      if (name === user) return;
      socket.destroy(
        new StoreDeniedError(
          `Nothing was sent to ${where}: requirepeer asks that user ${quote(user, 60)} runs it, but ${described(uid, name)}.`,
          {
            hint: 'Find out whose socket it is. If that user is right, name it in requirepeer.',
          },
        ),
      );
    });
    return socket;
  };
}

function described(uid: number | undefined, name: string | undefined): string {
  if (uid === undefined) return 'the system does not tell which user listens at its socket';
  return `user ${name === undefined ? uid : `${quote(name, 60)} (${uid})`} listens at its socket`;
}
