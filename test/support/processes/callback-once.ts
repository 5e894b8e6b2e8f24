/**
 * Opens a callback server, leaves one connection half-open, one request half-sent and one browser waiting, cancels the
 * login, and closes. The process ends if nothing keeps it alive.
 */
import { connect, type Socket } from 'node:net';
import { openCallbackServer } from '../../../src/oauth/authorization/callback-server.ts';

const server = await openCallbackServer({ belongs: () => true });
const { host, hostname, port } = new URL(server.redirectUri);
const open = (text: string) =>
  new Promise<Socket>((resolve) => {
    const socket = connect(Number(port), hostname, () => socket.write(text, () => resolve(socket)));
    socket.on('error', () => {});
  });
const sockets = [await open(''), await open('GET /callback?state=x HTTP/1.1\r\nHost: ')];
// A browser that waits for its page must not keep the process alive either.
sockets.push(await open(`GET /callback?state=x HTTP/1.1\r\nHost: ${host}\r\n\r\n`));
await server.next({ timeoutMs: 60_000 });
const ended = sockets.map((socket) => new Promise((resolve) => socket.once('close', resolve)));
const gaveUp = new AbortController();
gaveUp.abort();
await server.next({ timeoutMs: 60_000, signal: gaveUp.signal }).catch(() => {});
await server.close();
await Promise.all(ended);
process.stdout.write('closed\n');
