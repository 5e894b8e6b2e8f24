/** Listens on every IPv4 address, and prints who its first client is. */
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { tcpClientOf } from '../../src/system/network/tcp-peer.ts';

const server = createServer().listen(0, '0.0.0.0');
await once(server, 'listening');
process.stdout.write(`${(server.address() as AddressInfo).port}\n`);
const [socket] = (await once(server, 'connection')) as [Socket];
process.stdout.write(`${JSON.stringify(await tcpClientOf(socket))}\n`);
process.exit();
