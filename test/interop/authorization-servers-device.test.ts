import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { browse } from '../support/browser/scripted-browser.mjs';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { toolCall } from '../support/tool-call.ts';

/* Checks with plain requests that the test server does the device grant (RFC 8628), and the test browser its pages. */

const GRANT = 'urn:ietf:params:oauth:grant-type:device_code';

describe('the test authorization server', () => {
  let servers: Servers;
  beforeAll(async () => {
    servers = await startServers({
      deviceFlow: true,
      clients: [
        {
          client_id: 'screen',
          token_endpoint_auth_method: 'none',
          application_type: 'native',
          grant_types: [GRANT, 'refresh_token'],
          redirect_uris: [],
          response_types: [],
        },
      ],
    });
  });
  afterAll(() => servers.stop());

  async function ask(path: string, parameters: Readonly<Record<string, string>>) {
    const body = new URLSearchParams({ client_id: 'screen', resource: servers.resource, ...parameters });
    const response = await fetch(`${servers.issuer}${path}`, { method: 'POST', body });
    return (await response.json()) as Record<string, string>;
  }

  test.each([
    ['types the code', 'verification_uri'],
    ['follows the link that has the code', 'verification_uri_complete'],
  ] as const)('issues tokens to a device once a user %s', async (_what, link) => {
    const device = await ask('/device/auth', { scope: 'tools:call' });
    const poll = () => ask('/token', { grant_type: GRANT, device_code: device['device_code']! });
    expect((await poll())['error']).toBe('authorization_pending');
    const page = await browse(device[link]!, { userCode: device['user_code']! });
    expect(page.text).toContain('Sign-in Success');
    const { access_token: token } = await poll();
    expect((await toolCall(servers.resource, { authorization: `Bearer ${token}` })).status).toBe(200);
  });

  test('refuses a device when the user cancels', async () => {
    const device = await ask('/device/auth', { scope: 'tools:call' });
    await browse(device['verification_uri']!, { userCode: device['user_code']!, deny: true });
    const answer = await ask('/token', { grant_type: GRANT, device_code: device['device_code']! });
    expect(answer['error']).toBe('access_denied');
  });
});
