import { expect, test } from 'vitest';
import { temporaryHome } from '../../support/homes/home.ts';
import { hostileServer, json } from '../../support/servers/hostile-server.ts';
import { commandLine } from '../../support/transcript.ts';

test.each([
  ['', true],
  ['/tenant', true],
  ['/tenant/mcp', false],
  ['/tenant/mcp/', false],
])('says when the tokens are valid for more than the URL: resource %j', async (path, isSaid) => {
  const server = await hostileServer((origin) => ({
    '/.well-known/oauth-protected-resource/tenant/mcp': {
      resource: `${origin}${path}`,
      authorization_servers: [origin],
    },
    '/.well-known/oauth-authorization-server': {
      issuer: origin,
      authorization_endpoint: `${origin}/authorize`,
      token_endpoint: `${origin}/token`,
      code_challenge_methods_supported: ['S256'],
    },
    '/tenant/mcp': json({}, 401),
  }));
  const home = await temporaryHome();
  const url = `${server.origin}/tenant/mcp`;
  const { err } = await commandLine(home.path).run([
    'login',
    url,
    '--no-browser',
    '--client-id',
    'c',
    '--timeout',
    '1',
  ]);
  expect(err).toContain('Logging in at');
  expect(err.includes(`The tokens will be good for all of "${server.origin}${path}"`)).toBe(isSaid);
});
