import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:https';
import { type AddressInfo, isIPv6 } from 'node:net';
import { HoldfastError } from '../../../src/errors.ts';
import { send } from '../../../src/http/request.ts';
import type { Visit, Visited } from './small-internet.ts';

/* Runs inside the namespace that small-internet.ts makes. */

interface Plan {
  readonly names: Readonly<Record<string, readonly (readonly string[])[]>>;
  readonly visits: readonly Visit[];
  readonly addresses: readonly string[];
  readonly key: string;
  readonly cert: string;
}

const plan = JSON.parse(await readFile(process.argv[2] ?? '', 'utf8')) as Plan;
const lookups: Record<string, number> = {};
const connections: Record<string, number> = {};

/** A DNS server for A and AAAA (RFC 1035 section 4.1). Its answers have a TTL of zero. */
const dns = createSocket('udp4');
dns.on('message', (query, { address, port }) => {
  const labels: string[] = [];
  let at = 12;
  for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  const name = labels.join('.');
  const type = query.readUInt16BE(at + 1);
  // The system asks for both types at each lookup; only A is counted.
  if (type === 1) lookups[name] = (lookups[name] ?? 0) + 1;
  const turns = plan.names[name] ?? [];
  const turn = turns[Math.min((lookups[name] ?? 1) - 1, turns.length - 1)] ?? [];
  const answers = turn
    .filter((each) => isIPv6(each) === (type === 28))
    .map((each) => {
      const data = Buffer.from(isIPv6(each) ? bytesOf(each) : each.split('.').map(Number));
      const fixed = Buffer.from([0xc0, 12, 0, type, 0, 1, 0, 0, 0, 0, 0, data.length]);
      return Buffer.concat([fixed, data]);
    });
  const head = Buffer.from([query[0] ?? 0, query[1] ?? 0, 0x85, 0x80, 0, 1, 0, answers.length, 0, 0, 0, 0]);
  dns.send(Buffer.concat([head, query.subarray(12, at + 5), ...answers]), port, address);
});
dns.bind(53, '127.0.0.1');
await once(dns, 'listening');

/** The bytes of an IPv6 address, which may contain `::`. */
function bytesOf(address: string): number[] {
  const [head = [], tail = []] = address
    .split('::')
    .map((half) =>
      half === ''
        ? []
        : half
            .split(':')
            .flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 255]),
    );
  return [...head, ...Array<number>(16 - head.length - tail.length).fill(0), ...tail];
}

let port = 0;
const servers = [];
for (const address of plan.addresses) {
  connections[address] = 0;
  const server = createServer({ key: plan.key, cert: plan.cert }, (request, response) => {
    const [, host] = /^\/to\/(.+)$/.exec(request.url ?? '') ?? [];
    if (host === undefined) response.writeHead(200).end();
    else response.writeHead(302, { location: `https://${host}:${port}/` }).end();
  });
  server.on('connection', () => (connections[address] = (connections[address] ?? 0) + 1));
  server.listen(port, address);
  await once(server, 'listening');
  ({ port } = server.address() as AddressInfo);
  servers.push(server);
}

const visited: Visited[] = [];
for (const { host, path = '/', reach } of plan.visits) {
  try {
    const { status, reached } = await send(`https://${host}:${port}${path}`, { method: 'GET', reach });
    visited.push({ status, ...(reached && { reached }) });
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    visited.push({ code: error.code, message: error.message });
  }
}
for (const server of servers) server.close();
dns.close();
process.stdout.write(JSON.stringify({ visited, connections, lookups }));
