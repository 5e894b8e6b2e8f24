import { lookup as dnsLookup } from 'node:dns';
import { globalAgent } from 'node:https';
import { isIP } from 'node:net';
import { isLoopback, type Reach } from '../../credential.ts';
import { classify } from '../../http/addresses.ts';
import { proxyFor } from '../../http/tunnel.ts';
import type { Environment } from '../../system/environment.ts';

/** Time limit for a DNS lookup, in milliseconds. A machine without a name server must not wait for one. */
const LOOKUP_MS = 3000;

/**
 * Limits how far requests of a login from elsewhere may go: no further than its MCP server's name resolves to. No user
 * of this machine typed that name. So a name that resolves to this machine or to a link-local address gives no access:
 * DNS rebinding looks like that. A name that does not resolve, or is reached through a proxy, counts as public.
 */
export async function resolvedReach(resource: URL, environment: Environment): Promise<Reach> {
  if (isLoopback(resource)) return 'anywhere';
  const host = resource.hostname.replace(/^\[|\]$/g, '');
  if (isIP(host) !== 0) return narrowest([host]);
  if (proxyFor(resource, environment) !== undefined) return 'public';
  return narrowest(await addressesOf(host));
}

/** The sender may own the name, so of several addresses the most restrictive one decides. */
function narrowest(addresses: readonly string[]): Reach {
  const isPrivate = addresses.length > 0 && addresses.every((one) => classify(one).reach === 'private');
  return isPrivate ? 'private' : 'public';
}

/** Returns an empty list if the name does not resolve in time. */
function addressesOf(host: string): Promise<string[]> {
  const lookup = globalAgent.options.lookup ?? dnsLookup;
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve([]), LOOKUP_MS);
    lookup(host, { all: true }, (error, found) => {
      clearTimeout(timer);
      resolve(error === null && Array.isArray(found) ? found.map(({ address }) => address) : []);
    });
  });
}
