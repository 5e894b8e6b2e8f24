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
 * An internet on one machine: a network namespace with its own DNS server. Its loopback device also has public
 * addresses, an address of a private network and that of a cloud's metadata service. Programs in it make real name
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

/** For `skipIf`: the reason why the namespace cannot be created here. */
export const NO_SMALL_INTERNET = requirement(
  'users may have no network namespaces here (Linux, with unshare and ip)',
  spawnSync('unshare', [...NAMESPACES, `${NETWORK}\nmount --bind /dev/null /etc/resolv.conf`]).status === 0,
);

export interface Visit {
  /** Name of the host, which ends in `.example.com`. */
  readonly host: string;
  readonly path?: string;
  readonly reach?: Reach;
}

/** The result of a visit: `status` and `reached`, or `code` and `message` of the error. */
export interface Visited {
  readonly status?: number;
  readonly reached?: Reach;
  readonly code?: string;
  readonly message?: string;
}

export interface Journey {
  readonly visited: readonly Visited[];
  /** Number of connections to each address. */
  readonly connections: Readonly<Record<string, number>>;
  /** Number of DNS lookups of each name. */
  readonly lookups: Readonly<Record<string, number>>;
}

/**
 * Sends requests, one after another, in a small internet. Each address has an https server with certificates for any of
 * the names; `/to/<host>` redirects to that host.
 *
 * @param names the addresses that DNS answers for each name at the first lookup, at the second, and so on; the last
 *   ones stay
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
