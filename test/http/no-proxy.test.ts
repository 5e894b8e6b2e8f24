import fc from 'fast-check';
import { getProxyForUrl } from 'proxy-from-env';
import { expect, test, vi } from 'vitest';
import { proxyVariable } from '../../src/system/network/proxy-environment.ts';
import '../support/fixed-seed.ts';
import '../support/network/no-proxy-variables.ts';

test('reads NO_PROXY as the package proxy-from-env does', () => {
  const host = fc.constantFrom('mcp.example.com', 'example.com', 'a.b', '10.0.0.1', '[fd12::1]');
  const port = fc.constantFrom('', ':80', ':443', ':8443', ':0');
  const entry = fc
    .tuple(fc.constantFrom('', '', '.', '*', '*.', 'x.'), fc.oneof(host, fc.constant('')), port)
    .map((parts) => parts.join(''));
  const list = fc
    .tuple(fc.array(entry, { maxLength: 4 }), fc.constantFrom(',', ' ', ', ', ',,'))
    .map(([entries, separator]) => entries.join(separator));
  fc.assert(
    fc.property(
      fc.constantFrom('http', 'https'),
      host,
      fc.constantFrom('', ':80', ':443', ':8443'),
      list,
      fc.constantFrom('no_proxy', 'NO_PROXY'),
      fc.boolean(),
      (scheme, name, at, exempt, variable, isUpper) => {
        const url = new URL(`${scheme}://${name}${at}/`);
        vi.stubEnv('ALL_PROXY', 'http://proxy:3128');
        vi.stubEnv(variable, isUpper ? exempt.toUpperCase() : exempt);
        const expected = getProxyForUrl(url.href) !== '';
        expect(proxyVariable(url) !== undefined, `${url.href} with ${variable}=${exempt}`).toBe(expected);
        vi.stubEnv(variable, undefined);
      },
    ),
    { numRuns: 2000 },
  );
});
