import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { HoldfastErrorCode } from '../../../src/errors.ts';
import { discover } from '../../../src/oauth/discovery/discovery.ts';
import { serverMetadata } from '../../../src/oauth/discovery/server-metadata.ts';
import { answering } from '../answering.ts';
import { damage, damaged, mutated } from '../inputs.ts';
import { checkFailure, feed, type Target } from '../target.ts';

/* Metadata documents of authorization servers (RFC 8414) and of protected resources (RFC 9728). */

const CODES: HoldfastErrorCode[] = [
  'invalid-response',
  'issuer-mismatch',
  'unsafe-url',
  'server-unsupported',
  'not-an-mcp-server',
  'response-too-large',
];
const RESOURCE = '/.well-known/oauth-protected-resource';
const OAUTH = '/.well-known/oauth-authorization-server';

function good(issuer: string) {
  return {
    issuer,
    authorization_endpoint: `${issuer}/authorize`,
    token_endpoint: `${issuer}/token`,
    registration_endpoint: `${issuer}/register`,
    revocation_endpoint: `${issuer}/revoke`,
    code_challenge_methods_supported: ['plain', 'S256'],
  };
}

/**
 * No name is looked up, even if it is accepted: reserved hosts (RFC 6761), example addresses (RFC 5737), this machine.
 */
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

/** The judge's own reading of a URL, independent of the parser under test. */
function isSafe(text: string, mayBeHere: boolean): boolean {
  const { protocol, hostname, username, password } = new URL(text);
  const here = /^(127(\.\d+){3}|0\.0\.0\.0|\[::1?\]|(.*\.)?localhost\.?)$/.test(hostname);
  if (username !== '' || password !== '' || (here && !mayBeHere)) return false;
  return protocol === 'https:' || (protocol === 'http:' && here);
}

function ofServer(remote: string | undefined): Target['open'] {
  return async () => {
    let body = '';
    const server = await answering((_request, response) => {
      response.writeHead(200, { 'content-type': 'application/json' }).end(body);
    }, remote);
    const { origin } = server;
    const url = new URL(`${origin}/mcp`);
    const changes = mutated(
      Object.keys(good('')),
      fc.oneof(urls, fc.constantFrom(['S256'], ['plain'], [], true, 0, [[]], {}, '')),
    );
    const outcomes = { good: 0, bad: 0 };
    return {
      property: feed(fc.tuple(changes, fc.option(damage)), async ([change, harm]) => {
        const whole = typeof change === 'string' ? change : JSON.stringify({ ...good(origin), ...change });
        body = harm === null ? whole : damaged(whole, harm);
        try {
          const found = await serverMetadata(origin, url, {});
          outcomes.good += 1;
          assert.equal(found?.issuer, origin);
          const { authorizationEndpoint, tokenEndpoint, registrationEndpoint, revocationEndpoint } =
            found ?? {};
          for (const endpoint of [
            authorizationEndpoint,
            tokenEndpoint,
            registrationEndpoint,
            revocationEndpoint,
          ]) {
            assert.ok(endpoint === undefined || isSafe(endpoint, remote === undefined), endpoint);
          }
          assert.doesNotMatch(authorizationEndpoint ?? '', /[\s"'`$()<>|\\^{};]/);
        } catch (error) {
          checkFailure(error, CODES);
          outcomes.bad += 1;
        }
      }),
      reached: () => assert.ok(Math.min(outcomes.good, outcomes.bad) > 5),
      close: server.close,
    };
  };
}

export const METADATA: readonly Target[] = [
  {
    name: 'server-metadata-here',
    title: 'reads safe endpoints from the metadata of an issuer on this machine, or fails',
    open: ofServer(undefined),
  },
  {
    name: 'server-metadata-remote',
    title: 'reads safe endpoints from the metadata of a remote issuer, or fails',
    open: ofServer('mcp.example.com'),
  },
  {
    name: 'resource-metadata',
    title: 'reads a resource’s own name and an issuer from its metadata, or fails',
    async open() {
      let body = '';
      const authorized: string[] = [];
      const server = await answering((request, response) => {
        const { url = '', headers } = request;
        if (headers.authorization !== undefined) authorized.push(url);
        const json = (text: string) =>
          response.writeHead(200, { 'content-type': 'application/json' }).end(text);
        if (url === '/mcp') response.writeHead(401, { 'www-authenticate': 'Bearer' }).end();
        else if (url === `${RESOURCE}/mcp`) json(body);
        else if (url === OAUTH) json(JSON.stringify(good(origin)));
        else if (url === `${OAUTH}/a`) json(JSON.stringify(good(`${origin}/a`)));
        else response.writeHead(404).end();
      });
      const { origin } = server;
      const document = {
        resource: `${origin}/mcp`,
        authorization_servers: [origin],
        scopes_supported: ['a'],
      };
      const near = ['', '/', '/mcp', '/MCP', '/mcp/x', '/mcp#'].map((path) => origin + path);
      const issuers = [`${origin}/a`, `${origin}/b`, `${origin}/A`, '', 'x:y', 'http://as.invalid'];
      const values = fc.oneof(
        urls,
        fc.constantFrom(...near),
        fc.array(fc.constantFrom(...issuers), { maxLength: 7 }),
      );
      return {
        property: feed(mutated(Object.keys(document), values), async (change) => {
          body = typeof change === 'string' ? change : JSON.stringify({ ...document, ...change });
          try {
            const found = await discover(`${origin}/mcp`);
            assert.ok([origin, `${origin}/a`].includes(found.server.issuer));
            const named = new URL(found.resourceParameter ?? '');
            assert.equal(named.origin, origin);
            assert.ok(['/', '/mcp'].includes(named.pathname));
            assert.ok(!(named.href + found.resourceParameter).includes('#'));
          } catch (error) {
            checkFailure(error, CODES);
          }
          // No server got a credential, whatever the document named.
          assert.deepEqual(authorized, []);
        }),
        close: server.close,
      };
    },
  },
];
