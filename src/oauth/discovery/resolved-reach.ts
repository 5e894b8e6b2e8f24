import { lookup as dnsLookup } from 'node:dns';
import { globalAgent } from 'node:https';
import { isIP, type LookupFunction } from 'node:net';
import { isLoopback, type Reach } from '../../credential.ts';
import { classify } from '../../http/addresses.ts';
import { proxyFor } from '../../http/tunnel.ts';

/** In milliseconds. A machine that may not ask a name server must not wait for one. */
const LOOKUP_MS = 3000;

/**
 * How far the requests of a login may go that came from elsewhere: no further than its MCP server is by its name. Nobody here
 * has typed that name, so a name that leads to this machine, or to a link-local address, counts for nothing: that is what DNS
 * rebinding looks like. What cannot be looked up, or is reached through a proxy, is on the internet.
 */
export async function resolvedReach(resource: URL): Promise<Reach> {
  if (isLoopback(resource)) return 'anywhere';
  const host = resource.hostname.replace(/^\[|\]$/g, '');
  if (isIP(host) !== 0) return narrowest([host]);
  if ((await proxyFor(resource)) !== undefined) return 'public';
  return narrowest(await addressesOf(host));
}

/** The sender may own the name: of several addresses, the one that allows least decides. */
function narrowest(addresses: readonly string[]): Reach {
  const isPrivate = addresses.length > 0 && addresses.every((one) => classify(one).reach === 'private');
  return isPrivate ? 'private' : 'public';
}

/** None where the name does not resolve in time. */
function addressesOf(host: string): Promise<string[]> {
  const lookup = globalAgent.options.lookup ?? (dnsLookup as LookupFunction);
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve([]), LOOKUP_MS);
    lookup(host, { all: true }, (error, found) => {
      clearTimeout(timer);
      resolve(error === null && Array.isArray(found) ? found.map(({ address }) => address) : []);
    });
  });
}
