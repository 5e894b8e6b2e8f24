import { globalAgent } from 'node:https';
import type { LookupFunction } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { resolvedReach } from '../../../src/oauth/discovery/resolved-reach.ts';
import { processEnvironment } from '../../../src/system/environment.ts';

afterEach(() => {
  delete globalAgent.options.lookup;
});

function resolvesTo(...addresses: readonly string[]): void {
  globalAgent.options.lookup = ((_host, _options, callback) => {
    if (addresses.length === 0) callback(new Error('ENOTFOUND'), []);
    else
      callback(
        null,
        addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
      );
  }) satisfies LookupFunction;
}

test.each([
  [['93.184.216.34'], 'public'],
  [['10.0.0.5'], 'private'],
  [['fd12::1', '192.168.1.9'], 'private'],
  // The owner of the name can add any address to it.
  [['10.0.0.5', '93.184.216.34'], 'public'],
  // DNS rebinding: no user typed this name.
  [['127.0.0.1'], 'public'],
  [['169.254.169.254'], 'public'],
  [['10.0.0.5', '127.0.0.1'], 'public'],
  [[], 'public'],
] as const)('a server whose name resolves to %j has the reach %s', async (addresses, reach) => {
  resolvesTo(...addresses);
  expect(await resolvedReach(new URL('https://mcp.example.com/mcp'), processEnvironment())).toBe(reach);
});

test.each([
  ['http://127.0.0.1:8080/mcp', 'anywhere'],
  ['http://localhost/mcp', 'anywhere'],
  ['https://10.1.2.3/mcp', 'private'],
  ['https://[fd12::1]/mcp', 'private'],
  ['https://8.8.8.8/mcp', 'public'],
  ['https://169.254.169.254/mcp', 'public'],
] as const)('a server at %s has the reach %s', async (url, reach) => {
  expect(await resolvedReach(new URL(url), processEnvironment())).toBe(reach);
});
