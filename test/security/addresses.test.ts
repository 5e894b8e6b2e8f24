import { describe, expect, test } from 'vitest';
import { holds } from '../../src/http/addresses.ts';
import { discover } from '../../src/oauth/discovery/discovery.ts';
import { remoteHost } from '../support/network/remote-host.ts';
import { hostileServer } from '../support/servers/hostile-server.ts';
import { challenge, metadata, OAUTH, RESOURCE } from '../support/servers/mcp-routes.ts';

/* The whole list of special addresses from the review. test/oauth/addresses.test.ts gives the class of each range. */

test.each([
  '127.0.0.1',
  '127.1.2.3',
  '0.0.0.0',
  '169.254.169.254',
  '100.100.100.200',
  '168.63.129.16',
  '10.1.2.3',
  '172.31.0.1',
  '192.168.1.1',
  '100.64.0.1',
  '::1',
  '::',
  '::ffff:127.0.0.1',
  '::ffff:7f00:1',
  '::127.0.0.1',
  '::7f00:1',
  '64:ff9b::7f00:1',
  '64:ff9b::a9fe:a9fe',
  '64:ff9b:1::7f00:1',
  '2002:7f00:1::',
  '2002:a9fe:a9fe::1',
  '2001:0:4136:e378:8000:63bf:3fff:fdd2',
  'fc00::1',
  'fd00:ec2::254',
  'fe80::1',
  'fe80::1%eth0',
  'fec0::1',
  'ff02::1',
  '224.0.0.1',
  '255.255.255.255',
  '240.0.0.1',
  '198.18.0.1',
  '192.0.0.192',
  '::ffff:0:127.0.0.1',
  '0:0:0:0:0:ffff:a00:1',
  '100::1',
  '5f00::1',
])('%s is not a public address', (address) => {
  expect(holds('public', address)).toBe(false);
});

test.each(['8.8.8.8', '1.1.1.1', '2606:4700::1111', '64:ff9b::808:808'])(
  '%s is a public address',
  (address) => {
    expect(holds('public', address)).toBe(true);
  },
);

describe('a remote server', () => {
  test.each([
    'http://2130706433/',
    'http://0x7f.1/',
    'http://127.1/',
    'https://0.0.0.0/',
    'https://localhost./',
    'https://[::]/',
    'https://[::ffff:127.0.0.1]/',
    'https://a.localhost/',
    'https://127.0.0.1.:8/',
    'https://0/',
    'https://user:p@x.example/',
    'ftp://x.example/',
    'javascript:alert(1)',
    'file:///etc/passwd',
    'https://x.example/#f',
    'https://x.example/\u0000',
    'https://x.example/a b',
  ])('a remote server may not name %j as its authorization server', async (issuer) => {
    const server = await publishing((origin) => ({
      resource: `${origin}/mcp`,
      authorization_servers: [issuer],
    }));
    await expect(discover(`${server.origin}/mcp`)).rejects.toHaveProperty(
      'code',
      expect.stringMatching(/^(unsafe-url|invalid-response)$/),
    );
    expect(server.requests.every((request) => !request.includes('authorization-server'))).toBe(true);
  });

  test.each([
    'http://2130706433/',
    'https://0.0.0.0/',
    'https://localhost./',
    'https://[::ffff:127.0.0.1]/',
    'https://user:p@x.example/',
    'javascript:alert(1)',
    'file:///C:/Windows/System32/calc.exe',
    'https://x.example/a$(id)',
    'https://x.example/a`id`',
    'https://x.example/"&calc&"',
  ])('a remote server may not name %j as the page to log in at', async (page) => {
    const server = await publishing(
      (origin) => ({ resource: `${origin}/mcp`, authorization_servers: [origin] }),
      { authorization_endpoint: page },
    );
    await expect(discover(`${server.origin}/mcp`)).rejects.toHaveProperty(
      'code',
      expect.stringMatching(/^(unsafe-url|invalid-response)$/),
    );
  });
});

/** A remote MCP server that publishes that document. */
function publishing(document: (origin: string) => object, changes: Record<string, unknown> = {}) {
  return hostileServer(
    (origin) => ({
      '/mcp': challenge(),
      [`${RESOURCE}/mcp`]: document(origin),
      [OAUTH]: metadata(origin, changes),
    }),
    remoteHost('mcp.example.com'),
  );
}
