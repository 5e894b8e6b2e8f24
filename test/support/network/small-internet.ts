import { spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Reach } from '../../../src/credential.ts';
import { temporaryDirectory } from '../homes/home.ts';
import { start, TYPESCRIPT } from '../processes/process.ts';
import { requirement } from '../requirement.ts';
import { remoteHost } from './remote-host.ts';

/*
 * An internet of one machine: a network namespace whose loopback device also has public addresses, one of a private network
 * and that of a cloud's metadata service, with a DNS server of its own as the system's. What runs in it sees real name
 * lookups and real connections, and nothing leaves it.
 */

export const PUBLIC = '93.184.215.14';
export const PUBLIC_6 = '2606:2800:21f:cb07::1';
export const PRIVATE = '10.1.2.3';
export const METADATA = '169.254.169.254';
export const LOOPBACK = '127.0.0.1';

const NAMESPACES = ['--user', '--map-root-user', '--mount', '--net', '--fork', '--kill-child', 'sh', '-ec'];
const NETWORK = `ip link set lo up
  for address in ${PUBLIC}/32 ${PRIVATE}/32 ${METADATA}/32 ${PUBLIC_6}/128; do ip address add "$address" dev lo; done`;

/** For `skipIf`: why there can be none here. */
export const NO_SMALL_INTERNET = requirement(
  'users may have no network namespaces here (Linux, with unshare and ip)',
  spawnSync('unshare', [...NAMESPACES, `${NETWORK}\nmount --bind /dev/null /etc/resolv.conf`]).status === 0,
);

export interface Visit {
  /** The host's name; it ends in `.example.com`. */
  readonly host: string;
  readonly path?: string;
  readonly reach?: Reach;
}

/** What came of a visit: `status` and `reached`, or the error's `code` and `message`. */
export interface Visited {
  readonly status?: number;
  readonly reached?: Reach;
  readonly code?: string;
  readonly message?: string;
}

export interface Journey {
  readonly visited: readonly Visited[];
  /** How many connections each address has seen. */
  readonly connections: Readonly<Record<string, number>>;
  /** How often each name was asked for at the DNS server. */
  readonly lookups: Readonly<Record<string, number>>;
}

/**
 * Sends requests, one after the other, in an internet of its own. At each address is an https server that every name in it
 * may have a certificate for; `/to/<host>` redirects there.
 *
 * @param names what DNS answers to each name: the addresses at the first lookup, at the second, and so on; the last stay
 */
export async function journey(
  names: Readonly<Record<string, readonly (readonly string[])[]>>,
  visits: readonly Visit[],
): Promise<Journey> {
  const directory = await temporaryDirectory();
  const { key, cert } = remoteHost('*.example.com', { trusted: false });
  const authority = join(directory, 'ca.pem');
  await writeFile(authority, cert);
  await writeFile(join(directory, 'resolv.conf'), `nameserver ${LOOPBACK}\n`);
  await writeFile(join(directory, 'nsswitch.conf'), 'hosts: dns\n');
  const plan = join(directory, 'plan.json');
  await writeFile(
    plan,
    JSON.stringify({ names, visits, key, cert, addresses: [LOOPBACK, PUBLIC, PUBLIC_6, PRIVATE, METADATA] }),
  );
  const enter = `${NETWORK}
    mount --bind "$0/resolv.conf" /etc/resolv.conf
    if [ -e /etc/nsswitch.conf ]; then mount --bind "$0/nsswitch.conf" /etc/nsswitch.conf; fi
    exec "$@"`;
  const script = fileURLToPath(new URL('small-internet-process.ts', import.meta.url));
  const { code, out, err } = await start(
    'unshare',
    [...NAMESPACES, enter, directory, process.execPath, ...TYPESCRIPT, script, plan],
    { NODE_EXTRA_CA_CERTS: authority },
  ).ended;
  if (code !== 0) throw new Error(`The small internet ended with ${code}:\n${err}`);
  return JSON.parse(out) as Journey;
}
