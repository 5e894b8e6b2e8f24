import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type Server, Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { afterEach, describe, expect, test } from 'vitest';
import { isAnotherUser, tcpClientOf, tcpServerOf } from '../../src/system/tcp-peer.ts';
import { start, TYPESCRIPT } from '../support/process.ts';
import { requirement } from '../support/requirement.ts';
import { NO_SMALL_INTERNET } from '../support/small-internet.ts';

const OTHER = 65_534;
const notLinux = requirement(
  'the tables of TCP connections are those of Linux',
  process.platform === 'linux',
);
const noOther = notLinux ?? requirement('only root can be two users', process.geteuid?.() === 0);

const cleanUps: (() => void)[] = [];
afterEach(() => {
  for (const cleanUp of cleanUps.splice(0)) cleanUp();
});

type Child = ChildProcessByStdio<Writable, Readable, null>;
const script = new URL('../support/tcp-end.mjs', import.meta.url);

/** A process of that user. It is given the script's text, because the checkout may be closed to that user. */
async function end(args: readonly string[], uid?: number): Promise<Child> {
  const code = await readFile(script, 'utf8');
  const child = spawn(process.execPath, ['--input-type=module', '-e', code, '-', ...args], {
    ...(uid === undefined ? {} : { uid, gid: uid }),
    cwd: '/',
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  cleanUps.push(() => child.kill());
  return child;
}

async function said(child: Child): Promise<string> {
  const [chunk] = (await once(child.stdout, 'data')) as [Buffer];
  return chunk.toString().trim();
}

async function listening(host: string): Promise<{ server: Server; port: number }> {
  const server = createServer({ pauseOnConnect: true }).listen(0, host);
  cleanUps.push(() => server.close());
  await once(server, 'listening');
  return { server, port: (server.address() as AddressInfo).port };
}

async function connected(port: number, host: string): Promise<Socket> {
  const socket = connect(port, host);
  cleanUps.push(() => socket.destroy());
  await once(socket, 'connect');
  return socket;
}

const HOSTS = [
  ['127.0.0.1', '127.0.0.1'],
  ['::1', '::1'],
  // A server of IPv6 that takes IPv4 as well, and a client of IPv6 that reaches IPv4: mapped addresses.
  ['::', '127.0.0.1'],
  ['127.0.0.1', '::ffff:127.0.0.1'],
] as const;

describe.skipIf(notLinux)('the user at the other end of a TCP connection', () => {
  test.each(HOSTS)('is found for both ends: server at %s, client to %s', async (at, to) => {
    const { server, port } = await listening(at);
    const arrival = once(server, 'connection') as Promise<[Socket]>;
    const client = await connected(port, to);
    const [accepted] = await arrival;
    cleanUps.push(() => accepted.destroy());
    const own = { kind: 'user', uid: process.geteuid?.() };
    expect(await tcpClientOf(accepted)).toEqual(own);
    expect(await tcpServerOf(client)).toEqual(own);
    expect(isAnotherUser(await tcpServerOf(client))).toBe(false);
  });

  test('is not known for a client that left before anybody looked', async () => {
    for (const how of ['fin', 'rst']) {
      const { server, port } = await listening('127.0.0.1');
      const arrival = once(server, 'connection') as Promise<[Socket]>;
      const child = await end(['leave', String(port), '127.0.0.1', how]);
      const [accepted] = await arrival;
      cleanUps.push(() => accepted.destroy());
      await said(child);
      // A reset reaches our end within the same moment; the kernel is asked only after the other process has said so.
      expect(await tcpClientOf(accepted), how).toEqual({ kind: 'gone' });
    }
  });

  test('is not known for a socket that was never connected', async () => {
    expect(await tcpClientOf(new Socket())).toEqual({ kind: 'gone' });
  });
});

describe.skipIf(noOther)('another user of this machine', () => {
  test.each(HOSTS)('is told from ours as a client: server at %s, client to %s', async (at, to) => {
    const { server, port } = await listening(at);
    const arrival = once(server, 'connection') as Promise<[Socket]>;
    await end(['client', String(port), to], OTHER);
    const [accepted] = await arrival;
    cleanUps.push(() => accepted.destroy());
    const peer = await tcpClientOf(accepted);
    expect(peer).toEqual({ kind: 'user', uid: OTHER });
    expect(isAnotherUser(peer)).toBe(true);
  });

  test.each(HOSTS)('is told from ours as a server: server at %s, client to %s', async (at, to) => {
    const child = await end(['listen', at], OTHER);
    const port = Number(await said(child));
    const socket = await connected(port, to);
    expect(await tcpServerOf(socket)).toEqual({ kind: 'user', uid: OTHER });
  });

  test('is told from ours as a server that has not accepted the connection yet', async () => {
    const child = await end(['listen', '127.0.0.1'], OTHER);
    const port = Number(await said(child));
    // A stopped process accepts nothing, and the kernel completes the connection for it.
    child.kill('SIGSTOP');
    cleanUps.unshift(() => child.kill('SIGCONT'));
    const socket = await connected(port, '127.0.0.1');
    expect(await tcpServerOf(socket)).toEqual({ kind: 'user', uid: OTHER });
  });
});

describe.skipIf(NO_SMALL_INTERNET)('a client in another network namespace', () => {
  test('is unlisted, and no other user', async () => {
    const server = new URL('../support/tcp-peer-process.ts', import.meta.url).pathname;
    const running = start('unshare', [
      ...[
        '--user',
        '--map-root-user',
        '--net',
        '--pid',
        '--mount-proc',
        '--fork',
        '--kill-child',
        'sh',
        '-ec',
      ],
      `ip link set lo up
      unshare --net sleep 60 &
      far=$!
      until [ "$(readlink /proc/$far/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
      ip link add near type veth peer name far netns $far
      ip address add 10.9.9.1/24 dev near
      ip link set near up
      nsenter --target $far --net sh -ec 'ip address add 10.9.9.2/24 dev far; ip link set far up'
      "$@" | {
        read port
        nsenter --target $far --net "$0" -e 'require("node:net").connect(process.argv[1], "10.9.9.1")' "$port" &
        cat
      }
      kill $far`,
      process.execPath,
      process.execPath,
      ...TYPESCRIPT,
      server,
    ]);
    const { out, err } = await running.ended;
    expect(JSON.parse(out || '0'), err).toEqual({ kind: 'unlisted' });
  });
});
