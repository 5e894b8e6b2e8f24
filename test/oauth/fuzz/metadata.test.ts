import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { HoldfastErrorCode } from '../../../src/errors.ts';
import { discover } from '../../../src/oauth/discovery.ts';
import { serverMetadata } from '../../../src/oauth/server-metadata.ts';
import { hostileServer } from '../../support/hostile-server.ts';
import { challenge, metadata, OAUTH, RESOURCE } from '../../support/mcp-routes.ts';
import { remoteHost } from '../../support/remote-host.ts';
import { checkFailure, damage, damaged, mutated } from './mutation.ts';

describe('the parser of metadata', () => {
  const codes: HoldfastErrorCode[] = [
    'invalid-response',
    'issuer-mismatch',
    'unsafe-url',
    'server-unsupported',
    'not-an-mcp-server',
    'response-too-large',
  ];
  const members = Object.keys(metadata(''));
  /** No name is looked up, whatever is believed: reserved hosts (RFC 6761), addresses for examples (RFC 5737), this machine. */
  const urls = fc
    .tuple(
      fc.constantFrom('https:', 'http:', 'HTTPS:', 'javascript:', 'data:', 'file:', 'ftp:', 'https', ''),
      fc.constantFrom('//', '/', '', '\\\\', '///'),
      fc.constantFrom('', 'user@', 'u:p@', ' '),
      fc.constantFrom(
        'as.invalid',
        '192.0.2.1',
        '127.0.0.1',
        'localhost',
        '[::1]',
        '0',
        '2130706433',
        'a.localhost.',
      ),
      fc.constantFrom('', ':1', ':99999', ':x'),
      fc.constantFrom('', '/', '/x', '/$(id)', '/a b', '/\n', '/?a=b', '/#', '/;x', '/\u202e'),
    )
    .map((parts) => parts.join(''));
  const changes = mutated(
    members,
    fc.oneof(urls, fc.constantFrom(['S256'], ['plain'], [], true, 0, [[]], {}, '')),
  );

  /** The judge's own reading of a URL: none of the parser under test. */
  function isSafe(text: string, mayBeHere: boolean): boolean {
    const { protocol, hostname, username, password } = new URL(text);
    const here = /^(127(\.\d+){3}|0\.0\.0\.0|\[::1?\]|(.*\.)?localhost\.?)$/.test(hostname);
    if (username !== '' || password !== '' || (here && !mayBeHere)) return false;
    return protocol === 'https:' || (protocol === 'http:' && here);
  }

  test.each([
    ['on this machine', undefined],
    ['elsewhere', 'mcp.example.com'],
  ])(
    'of an authorization server %s yields safe endpoints of the issuer that was asked, or an error',
    async (_where, host) => {
      const body = { text: '' };
      const server = await hostileServer(
        {
          '*': (_request, response) =>
            void response.writeHead(200, { 'content-type': 'application/json' }).end(body.text),
        },
        host === undefined ? undefined : remoteHost(host),
      );
      const good = metadata(server.origin);
      const url = new URL(`${server.origin}/mcp`);
      const outcomes = { good: 0, bad: 0 };
      await fc.assert(
        fc.asyncProperty(changes, fc.option(damage), async (change, harm) => {
          const whole = typeof change === 'string' ? change : JSON.stringify({ ...good, ...change });
          body.text = harm === null ? whole : damaged(whole, harm);
          try {
            const found = await serverMetadata(server.origin, url, {});
            outcomes.good += 1;
            expect(found?.issuer).toBe(server.origin);
            const { authorizationEndpoint, tokenEndpoint, registrationEndpoint, revocationEndpoint } =
              found ?? {};
            const endpoints = [
              authorizationEndpoint,
              tokenEndpoint,
              registrationEndpoint,
              revocationEndpoint,
            ];
            for (const endpoint of endpoints) {
              if (endpoint !== undefined) expect(isSafe(endpoint, host === undefined)).toBe(true);
            }
            expect(authorizationEndpoint).not.toMatch(/[\s"'`$()<>|\\^{};]/);
          } catch (error) {
            checkFailure(error, codes);
            outcomes.bad += 1;
          }
        }),
        { numRuns: 300 },
      );
      // Neither side of the property is empty.
      expect(Math.min(outcomes.good, outcomes.bad)).toBeGreaterThan(5);
    },
  );

  test('of a resource yields that resource’s name and an issuer that it named, or an error', async () => {
    const body = { text: '' };
    const server = await hostileServer((origin) => ({
      '/mcp': challenge(),
      [`${RESOURCE}/mcp`]: (_request, response) =>
        void response.writeHead(200, { 'content-type': 'application/json' }).end(body.text),
      [OAUTH]: metadata(origin),
      [`${OAUTH}/a`]: metadata(`${origin}/a`),
    }));
    const { origin } = server;
    const good = { resource: `${origin}/mcp`, authorization_servers: [origin], scopes_supported: ['a'] };
    const values = fc.oneof(
      urls,
      fc.constantFrom(
        origin,
        `${origin}/`,
        `${origin}/mcp`,
        `${origin}/MCP`,
        `${origin}/mcp/x`,
        `${origin}/mcp#`,
      ),
      fc.array(
        fc.oneof(
          fc.constantFrom(`${origin}/a`, `${origin}/b`, `${origin}/A`),
          fc.constantFrom('', 'x:y', 'http://as.invalid'),
        ),
        {
          maxLength: 7,
        },
      ),
    );
    await fc.assert(
      fc.asyncProperty(mutated(Object.keys(good), values), async (change) => {
        body.text = typeof change === 'string' ? change : JSON.stringify({ ...good, ...change });
        try {
          const found = await discover(`${origin}/mcp`);
          expect([origin, `${origin}/a`]).toContain(found.server.issuer);
          const named = new URL(found.resourceParameter ?? '');
          expect(named.origin).toBe(origin);
          expect(['/', '/mcp']).toContain(named.pathname);
          expect(named.href + found.resourceParameter).not.toContain('#');
        } catch (error) {
          checkFailure(error, codes);
        }
      }),
      { numRuns: 300 },
    );
    // Whatever it named, nobody was asked but itself: no other host is there to answer.
    expect(server.log.every(({ headers }) => headers.authorization === undefined)).toBe(true);
  });
});
