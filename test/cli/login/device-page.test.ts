import { describe, expect, test } from 'vitest';
import { temporaryHome } from '../../support/homes/home.ts';
import { hostileServer, json } from '../../support/servers/hostile-server.ts';
import { commandLine } from '../../support/transcript.ts';

/** Runs `holdfast login --device` at a server that names that page and finally refuses the login. */
async function loginAt(page: string | undefined, options: readonly string[] = [], code = 'WDJB-MJHT') {
  const server = await hostileServer((origin) => ({
    '/.well-known/oauth-protected-resource/mcp': {
      resource: `${origin}/mcp`,
      authorization_servers: [origin],
    },
    '/.well-known/oauth-authorization-server': {
      issuer: origin,
      token_endpoint: `${origin}/token`,
      registration_endpoint: `${origin}/register`,
      device_authorization_endpoint: `${origin}/device`,
      token_endpoint_auth_methods_supported: ['none'],
    },
    '/register': json({ client_id: 'c' }, 201),
    '/device': json({
      device_code: 'd',
      user_code: code,
      verification_uri: page ?? `${origin}/page`,
      expires_in: 600,
      interval: 1,
    }),
    '/token': json({ error: 'expired_token' }, 400),
    '/mcp': json({}, 401),
  }));
  const { path } = await temporaryHome();
  const { err } = await commandLine(path).run(['login', `${server.origin}/mcp`, '--device', ...options]);
  return { err, host: new URL(server.origin).host };
}

describe('holdfast login --device', () => {
  test('warns, even with --quiet, of a page on another host than the authorization server', async () => {
    for (const options of [[], ['--quiet']]) {
      const { err, host } = await loginAt('https://microsoft.com/devicelogin', options);
      const warning = `warning: The page to enter the code at is on "microsoft.com", but the login goes to "${host}".`;
      expect(err).toContain(warning);
      expect(err.indexOf(warning)).toBeLessThan(err.indexOf('WDJB-MJHT'));
    }
  });

  test('tells a program which server issued the code', async () => {
    const { err, host } = await loginAt('https://microsoft.com/devicelogin', ['--json']);
    const line = err.split('\n').find((text) => text.startsWith('{"device"')) ?? '{}';
    expect(JSON.parse(line)).toMatchObject({
      device: { issuerHost: host, warning: expect.stringContaining('"microsoft.com"') as string },
    });
  });

  test('names the server without a warning when the page is on the server’s own host', async () => {
    const { err, host } = await loginAt(undefined);
    expect(err).toContain(`Logging in at "${host}"`);
    expect(err).toContain('WDJB-MJHT');
    expect(err).not.toContain('warning: The page');
  });

  test('refuses a sentence in place of a code and does not show it', async () => {
    const { err } = await loginAt(undefined, [], 'Call 1-800-555-0100 and read your password');
    expect(err).toContain('answered no device code (wrong: user_code)');
    expect(err).not.toContain('1-800');
  });
});
