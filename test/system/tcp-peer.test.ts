import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, Socket } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { isAnotherUser, tcpClientOf, tcpServerOf } from '../../src/system/network/tcp-peer.ts';
import { NO_IPV6 } from '../support/network/ipv6.ts';
import { NO_SMALL_INTERNET } from '../support/network/small-internet.ts';
import { NO_OTHER_USER, OTHER_USER, said, tcpEnd } from '../support/network/tcp-end.ts';
import { start, TYPESCRIPT } from '../support/processes/process.ts';
import { requirement } from '../support/requirement.ts';

const notLinux = requirement(
  'the tables of TCP connections are those of Linux',
  process.platform === 'linux',
);

async function listening(host: string): Promise<{ server: Server; port: number }> {
  const server = createServer({ pauseOnConnect: true }).listen(0, host);
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  return { server, port: (server.address() as AddressInfo).port };
}

async function connected(port: number, host: string): Promise<Socket> {
  const socket = connect(port, host);
  onTestFinished(() => void socket.destroy());
  await once(socket, 'connect');
  return socket;
}

const IPV6 = NO_IPV6 === undefined ? ([['::1', '::1']] as const) : [];
const HOSTS = [
  ...IPV6,
  ['127.0.0.1', '127.0.0.1'],
  // An IPv6 server that also accepts IPv4, and an IPv6 client that connects to IPv4: mapped addresses.
  ['::', '127.0.0.1'],
  ['127.0.0.1', '::ffff:127.0.0.1'],
] as const;

describe.skipIf(notLinux)('the user at the other end of a TCP connection', () => {
  test.each(HOSTS)('finds the user at both ends: server at %s, client to %s', async (at, to) => {
    const { server, port } = await listening(at);
    const arrival = once(server, 'connection') as Promise<[Socket]>;
    const client = await connected(port, to);
    const [accepted] = await arrival;
    onTestFinished(() => void accepted.destroy());
    const own = { kind: 'user', uid: process.geteuid?.() };
    expect(await tcpClientOf(accepted)).toEqual(own);
    expect(await tcpServerOf(client)).toEqual(own);
    expect(isAnotherUser(await tcpServerOf(client))).toBe(false);
  });

  test('knows no user of a client that left before anybody looked', async () => {
    for (const how of ['fin', 'rst']) {
      const { server, port } = await listening('127.0.0.1');
      const arrival = once(server, 'connection') as Promise<[Socket]>;
      const child = await tcpEnd(['leave', String(port), '127.0.0.1', '/', how]);
      const [accepted] = await arrival;
      onTestFinished(() => void accepted.destroy());
      await said(child);
      // A reset arrives at once; the test asks the kernel only after the other process has reported it.
      expect(await tcpClientOf(accepted), how).toEqual({ kind: 'gone' });
    }
  });

  test('knows no user of a socket that was never connected', async () => {
    expect(await tcpClientOf(new Socket())).toEqual({ kind: 'gone' });
  });
});

describe.skipIf(NO_OTHER_USER)('another user of this machine', () => {
  test.each(HOSTS)('recognises another user’s client: server at %s, client to %s', async (at, to) => {
    const { server, port } = await listening(at);
    const arrival = once(server, 'connection') as Promise<[Socket]>;
    await tcpEnd(['ask', String(port), to, '/'], OTHER_USER);
    const [accepted] = await arrival;
    onTestFinished(() => void accepted.destroy());
    const peer = await tcpClientOf(accepted);
    expect(peer).toEqual({ kind: 'user', uid: OTHER_USER });
    expect(isAnotherUser(peer)).toBe(true);
  });

  test.each(HOSTS)('recognises another user’s server: server at %s, client to %s', async (at, to) => {
    const child = await tcpEnd(['listen', at], OTHER_USER);
    const port = Number(await said(child));
    const socket = await connected(port, to);
    expect(await tcpServerOf(socket)).toEqual({ kind: 'user', uid: OTHER_USER });
  });

  test('recognises another user’s server that has not accepted the connection yet', async () => {
    const child = await tcpEnd(['listen', '127.0.0.1'], OTHER_USER);
    const port = Number(await said(child));
    // A stopped process accepts nothing, but the kernel completes the connection.
    child.kill('SIGSTOP');
    const socket = await connected(port, '127.0.0.1');
    expect(await tcpServerOf(socket)).toEqual({ kind: 'user', uid: OTHER_USER });
  });
});

describe.skipIf(NO_SMALL_INTERNET)('a client in another network namespace', () => {
  test('reports a client in another network namespace as unlisted, not as another user', async () => {
    const server = new URL('../support/tcp-peer-process.ts', import.meta.url).pathname;
    const running = start('unshare', [
      '--user',
      '--map-root-user',
      '--net',
      '--pid',
      '--mount-proc',
      '--fork',
      '--kill-child',
      'sh',
      '-ec',
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
