import { type FileHandle, open } from 'node:fs/promises';
import { isIPv4 } from 'node:net';
import { endianness } from 'node:os';

/*
 * Finds the user at the other end of a TCP connection on this machine, on Linux, from the kernel's tables
 * (proc_net(5)). A loopback address means "this machine", not "this user".
 *
 * The tables have gaps, and this file handles them so:
 * - A closed socket, a socket in TIME_WAIT and one that nobody has accepted yet have no inode. Most kernels print user
 *   0 for them, which does not mean root. A client without an inode is `gone`: it sent something and left before the
 *   lookup. For a server without an inode, the socket that listens on its port decides.
 * - A client that resets its connection leaves no row. So a missing row means `unlisted` only if a second reading still
 *   shows our own end as established.
 * - A peer in another network namespace (a container, the far end of a tunnel) has no row here: `unlisted`.
 * - In a user namespace, every user that is not mapped into it appears as the overflow user (65534), even the host's
 *   root. The overflow user cannot be told from another user, so it is treated like any other user.
 */

/** Both ends of a connection, under the names of `net.Socket`. */
export interface TcpConnection {
  readonly localAddress?: string | undefined;
  readonly localPort?: number | undefined;
  readonly remoteAddress?: string | undefined;
  readonly remotePort?: number | undefined;
}

export type TcpPeer =
  /** The numeric id of the user, as this process's user namespace shows it. */
  | { readonly kind: 'user'; readonly uid: number }
  /** The system lists this machine's connections without the peer, so the peer is in another network namespace. */
  | { readonly kind: 'unlisted' }
  /** The system has no such tables. */
  | { readonly kind: 'unknown' }
  /** The connection ended before the lookup, or the tables are too long to read. */
  | { readonly kind: 'gone' };

/** The rows of the tables for one connection, and for the sockets that listen on the peer's port. */
interface Rows {
  peer: Row | undefined;
  own: Row | undefined;
  /** A listener on the exact address takes precedence over one on all addresses. */
  listener: { readonly row: Row; readonly isExact: boolean } | undefined;
}

interface Row {
  readonly state: string;
  readonly uid: number;
  readonly inode: string;
}

/** From include/net/tcp_states.h. */
const ESTABLISHED = '01';
const LISTEN = '0A';

/** About 400,000 connections; reading stops at this size. */
const MAX_TABLE_BYTES = 64 * 1024 * 1024;
const TABLES = ['/proc/self/net/tcp', '/proc/self/net/tcp6'];

/** Tells whether this system reveals the user of a connection. Never throws. */
export async function tellsUsers(tables: readonly string[] = TABLES): Promise<boolean> {
  for (const path of tables) {
    try {
      await (await open(path, 'r')).close();
      return true;
    } catch {
      // The other table may exist.
    }
  }
  return false;
}

/** Finds the user whose client has connected to us. Never throws. */
export async function tcpClientOf(connection: TcpConnection): Promise<TcpPeer> {
  return lookUp(connection, {
    choose: ({ peer }) => peer,
    isSure: (peer) => peer.inode !== '0',
  });
}

/**
 * Finds the user whose server we are connected to. Never throws.
 *
 * A server that listens as root and accepts as another user counts as root's, since root passed the socket on (nginx,
 * systemd).
 */
export async function tcpServerOf(connection: TcpConnection): Promise<TcpPeer> {
  return lookUp(connection, {
    choose: ({ peer, listener }) => {
      if (peer === undefined || peer.inode === '0') return listener?.row ?? peer;
      return isOtherUsers(peer.uid) && listener?.row.uid === 0 ? listener.row : peer;
    },
    isSure: (peer) => peer.inode !== '0' && !isOtherUsers(peer.uid),
  });
}

/** Tells whether the peer is a listed user other than this process's user and root. */
export function isAnotherUser(peer: TcpPeer): peer is { readonly kind: 'user'; readonly uid: number } {
  return peer.kind === 'user' && isOtherUsers(peer.uid);
}

function isOtherUsers(uid: number): boolean {
  return uid !== 0 && uid !== process.geteuid?.();
}

interface Question {
  readonly choose: (rows: Rows) => Row | undefined;
  /** Tells whether no later row can change the answer, so reading can stop. A busy machine has thousands of rows. */
  readonly isSure: (peer: Row) => boolean;
}

async function lookUp(connection: TcpConnection, { choose, isSure }: Question): Promise<TcpPeer> {
  const ends = endsOf(connection);
  if (ends === undefined) return { kind: 'gone' };
  try {
    let row = choose(await readRows(ends, isSure));
    if (row === undefined) {
      const again = await readRows(ends, isSure);
      row = choose(again);
      if (row === undefined) return { kind: again.own?.state === ESTABLISHED ? 'unlisted' : 'gone' };
    }
    return row.inode === '0' ? { kind: 'gone' } : { kind: 'user', uid: row.uid };
  } catch (error) {
    return { kind: error instanceof TableTooLong ? 'gone' : 'unknown' };
  }
}

interface Ends {
  readonly local: readonly string[];
  readonly remote: readonly string[];
  readonly everywhere: readonly string[];
  /** The peer's port, which every relevant row contains. */
  readonly port: string;
}

function endsOf({ localAddress, localPort, remoteAddress, remotePort }: TcpConnection): Ends | undefined {
  if (localAddress === undefined || remoteAddress === undefined) return undefined;
  if (localPort === undefined || remotePort === undefined) return undefined;
  const port = portText(remotePort);
  return {
    local: spellings(localAddress).map((address) => `${address}:${portText(localPort)}`),
    remote: spellings(remoteAddress).map((address) => `${address}:${port}`),
    everywhere: [`${'0'.repeat(8)}:${port}`, `${'0'.repeat(32)}:${port}`],
    port,
  };
}

async function readRows(
  { local, remote, everywhere, port }: Ends,
  isSure: Question['isSure'],
): Promise<Rows> {
  const rows: Rows = { peer: undefined, own: undefined, listener: undefined };
  let listed = 0;
  for (const path of TABLES) {
    let table: FileHandle;
    try {
      table = await open(path, 'r');
    } catch {
      continue;
    }
    listed += 1;
    try {
      for await (const line of linesWith(port, table)) {
        const [, from = '', to = '', state = '', , , , uid = '', , inode = ''] = line.trim().split(/\s+/);
        const row = { state, uid: Number(uid), inode };
        if (state === LISTEN) {
          const isExact = remote.includes(from);
          if (isExact || (everywhere.includes(from) && rows.listener?.isExact !== true)) {
            rows.listener = { row, isExact };
          }
        } else if (remote.includes(from) && local.includes(to)) {
          rows.peer = row;
          if (isSure(row)) return rows;
        }
        if (local.includes(from) && remote.includes(to)) rows.own = row;
      }
    } finally {
      await table.close();
    }
  }
  if (listed === 0) throw new Error('This system has no table of TCP connections.');
  return rows;
}

class TableTooLong extends Error {}

async function* linesWith(text: string, table: FileHandle): AsyncGenerator<string> {
  const buffer = Buffer.alloc(64 * 1024);
  let rest = '';
  for (let size = 0; size < MAX_TABLE_BYTES; ) {
    const { bytesRead } = await table.read(buffer, 0, buffer.length, null);
    if (bytesRead === 0) return;
    size += bytesRead;
    const lines = (rest + buffer.toString('latin1', 0, bytesRead)).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) if (line.includes(text)) yield line;
  }
  throw new TableTooLong();
}

/**
 * Returns the spellings of an address in the tables: 32-bit words of hex digits in the machine's byte order. The IPv6
 * table lists an IPv4 connection of an IPv6 socket as a mapped address (RFC 4291 section 2.5.5.2).
 */
function spellings(address: string): string[] {
  const bare = address.replace(/%.*$/s, '');
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(bare)?.[1];
  const ipv4 = mapped ?? bare;
  if (isIPv4(ipv4)) {
    const bytes = ipv4.split('.').map(Number);
    return [words(bytes), words([...Array<number>(10).fill(0), 0xff, 0xff, ...bytes])];
  }
  const written = new URL(`http://[${bare}]`).hostname.slice(1, -1);
  const [head = [], tail = []] = written
    .split('::')
    .map((half) => (half === '' ? [] : half.split(':').map((group) => Number.parseInt(group, 16))));
  const groups = [...head, ...Array<number>(8 - head.length - tail.length).fill(0), ...tail];
  return [words(groups.flatMap((group) => [group >> 8, group & 255]))];
}

function words(bytes: readonly number[]): string {
  const hex = bytes.map((byte) => byte.toString(16).padStart(2, '0').toUpperCase());
  let text = '';
  for (let at = 0; at < hex.length; at += 4) {
    const word = hex.slice(at, at + 4);
    text += (endianness() === 'LE' ? word.toReversed() : word).join('');
  }
  return text;
}

function portText(port: number): string {
  return port.toString(16).padStart(4, '0').toUpperCase();
}
