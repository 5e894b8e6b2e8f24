import { BlockList, isIP } from 'node:net';
import type { Reach } from '../credential.ts';

/* Classifies IP addresses and says which requests may reach them (IANA's special-purpose registries, RFC 6890). */

/** The kind of an address, and the narrowest reach that includes it. */
export interface AddressClass {
  /** With its article, for use in a sentence: `a loopback address`. */
  readonly kind: string;
  readonly reach: Reach;
}

const PUBLIC: AddressClass = { kind: 'a public address', reach: 'public' };
const RESERVED: AddressClass = { kind: 'a reserved address', reach: 'anywhere' };

/** The first rule that matches an address decides. */
const CLASSES = [
  rule('the address of a cloud’s metadata service', 'anywhere', [
    // Most clouds, over IPv4; then Alibaba's and Azure's own, which are inside ranges that are otherwise allowed.
    ['169.254.169.254', 32],
    ['100.100.100.200', 32],
    ['168.63.129.16', 32],
    // Amazon's and Google's, over IPv6, inside the private-network range.
    ['fd00:ec2::254', 128],
    ['fd20:ce::254', 128],
  ]),
  rule('a loopback address', 'anywhere', [
    ['127.0.0.0', 8],
    ['::1', 128],
  ]),
  rule('an unspecified address', 'anywhere', [
    ['0.0.0.0', 8],
    ['::', 128],
  ]),
  rule('a link-local address', 'anywhere', [
    ['169.254.0.0', 16],
    ['fe80::', 10],
  ]),
  rule('a multicast address', 'anywhere', [
    ['224.0.0.0', 4],
    ['ff00::', 8],
  ]),
  rule('the broadcast address', 'anywhere', [['255.255.255.255', 32]]),
  rule('an address for documentation', 'anywhere', [
    ['192.0.2.0', 24],
    ['198.51.100.0', 24],
    ['203.0.113.0', 24],
    ['2001:db8::', 32],
    ['3fff::', 20],
  ]),
  rule('an address for benchmarks', 'anywhere', [['198.18.0.0', 15]]),
  rule('an address of a private network', 'private', [
    ['10.0.0.0', 8],
    ['172.16.0.0', 12],
    ['192.168.0.0', 16],
    ['fc00::', 7],
  ]),
  rule('an address of a provider’s own network', 'private', [['100.64.0.0', 10]]),
  rule(RESERVED.kind, RESERVED.reach, [
    ['192.0.0.0', 24],
    ['192.88.99.0', 24],
    ['240.0.0.0', 4],
    ['2001::', 23],
  ]),
];

/** All IPv6 space that is allocated for addresses of single hosts (RFC 4291 section 2.4). */
const GLOBAL_UNICAST = list([['2000::', 3]]);

/**
 * Classifies an address. An IPv6 address that embeds an IPv4 address gets the class of the IPv4 address, since a packet
 * to it ends there (RFC 4291 section 2.5.5.2, RFC 6052, RFC 3056). Text that is not an address could mean anything, so
 * it counts as reserved.
 *
 * @param address as DNS and sockets give it, with a zone such as `%eth0` if it has one
 */
export function classify(address: string): AddressClass {
  const bare = address.replace(/%.*$/s, '');
  const family = isIP(bare);
  if (family === 0) return RESERVED;
  const inside = family === 6 ? ipv4Within(bare) : undefined;
  if (inside !== undefined) {
    const { kind, reach } = classify(inside);
    return { kind: `${kind} (by the ${inside} in it)`, reach };
  }
  const version = family === 6 ? 'ipv6' : 'ipv4';
  const found = CLASSES.find(({ addresses }) => addresses.check(bare, version));
  if (found !== undefined) return found;
  return version === 'ipv4' || GLOBAL_UNICAST.check(bare, 'ipv6') ? PUBLIC : RESERVED;
}

const LOOPBACK = list([
  ['127.0.0.0', 8],
  ['::1', 128],
]);

/** Whether a connection to the address ends at this machine. A NAT64 form of a loopback address does not. */
export function isLoopbackAddress(address: string): boolean {
  const bare = address.replace(/^::ffff:(?=\d+\.)/i, '');
  const family = isIP(bare);
  return family !== 0 && LOOPBACK.check(bare, family === 6 ? 'ipv6' : 'ipv4');
}

const WIDTH: Readonly<Record<Reach, number>> = { public: 0, private: 1, anywhere: 2, anyone: 3 };

/** Whether a request with this `reach` may go to the address. */
export function holds(reach: Reach, address: string): boolean {
  return WIDTH[classify(address).reach] <= WIDTH[reach];
}

function ipv4Within(address: string): string | undefined {
  const groups = groupsOf(address);
  const dotted = (high = 0, low = 0) => [high >> 8, high & 255, low >> 8, low & 255].join('.');
  const startsWith = (...prefix: number[]) => prefix.every((group, index) => groups[index] === group);
  if (startsWith(0, 0, 0, 0, 0, 0xffff)) return dotted(groups[6], groups[7]); // IPv4-mapped
  if (startsWith(0x64, 0xff9b, 0, 0, 0, 0)) return dotted(groups[6], groups[7]); // NAT64
  if (startsWith(0x2002)) return dotted(groups[1], groups[2]); // 6to4
  return undefined;
}

/** The eight groups of an IPv6 address in any spelling. A URL has only one spelling (WHATWG URL section 3.5). */
function groupsOf(address: string): number[] {
  const written = new URL(`http://[${address}]`).hostname.slice(1, -1);
  const [head = [], tail = []] = written
    .split('::')
    .map((half) => (half === '' ? [] : half.split(':').map((group) => Number.parseInt(group, 16))));
  return [...head, ...Array<number>(8 - head.length - tail.length).fill(0), ...tail];
}

function rule(kind: string, reach: Reach, subnets: readonly [string, number][]) {
  return { kind, reach, addresses: list(subnets) };
}

function list(subnets: readonly [string, number][]): BlockList {
  const addresses = new BlockList();
  for (const [network, prefix] of subnets) {
    addresses.addSubnet(network, prefix, isIP(network) === 6 ? 'ipv6' : 'ipv4');
  }
  return addresses;
}
