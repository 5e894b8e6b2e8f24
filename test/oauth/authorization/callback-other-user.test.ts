import { once } from 'node:events';
import { get } from 'node:http';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type CallbackServer, openCallbackServer } from '../../../src/oauth/authorization/callback-server.ts';
import { NO_OTHER_USER, OTHER_USER, said, tcpEnd } from '../../support/network/tcp-end.ts';

const PATH = '/callback?state=s&code=';
const WAIT = { timeoutMs: 30_000 };

async function opened(anyUser = false): Promise<{ server: CallbackServer; port: string; heard: number[] }> {
  const heard: number[] = [];
  const server = await openCallbackServer({
    belongs: (query) => query.get('state') === 's',
    onOtherUser: (uid) => heard.push(uid),
    anyUser,
  });
  onTestFinished(() => server.close());
  return { server, port: new URL(server.redirectUri).port, heard };
}

/** Returns the code of the login's own browser, whose redirect is still accepted. */
async function ownCode(server: CallbackServer): Promise<string | null> {
  const page = get(`${server.redirectUri}?state=s&code=own`, { agent: false });
  const ended = once(page, 'response');
  const callback = await server.next(WAIT);
  await callback.succeed({ resource: 'https://mcp.example/mcp', account: 'default' });
  await ended;
  return callback.parameters.get('code');
}

describe.skipIf(NO_OTHER_USER)('a redirect sent by another user of this machine who knows the state', () => {
  test.each(['127.0.0.1', '::1', '::ffff:127.0.0.1'])(
    'refuses a redirect that another user sends to %s',
    async (host) => {
      const { server, port, heard } = await opened();
      const attacker = await tcpEnd(['ask', port, host, `${PATH}theirs`], OTHER_USER);
      expect(await said(attacker)).toBe('403');
      expect(heard).toEqual([OTHER_USER]);
      expect(await ownCode(server)).toBe('own');
    },
  );

  test.each(['fin', 'rst'])(
    'refuses a redirect when the other user closes the connection at once (%s)',
    async (how) => {
      const { server, port } = await opened();
      // Several rounds, since each closes the connection at another moment of the user lookup.
      for (let round = 0; round < 5; round += 1) {
        const attacker = await tcpEnd(['leave', port, '127.0.0.1', `${PATH}theirs`, how], OTHER_USER);
        expect(await said(attacker)).toBe('left');
      }
      expect(await ownCode(server)).toBe('own');
    },
  );

  test('lets no error from another user end the login', async () => {
    const { server, port } = await opened();
    const attacker = await tcpEnd(
      ['ask', port, '127.0.0.1', '/callback?state=s&error=access_denied'],
      OTHER_USER,
    );
    expect(await said(attacker)).toBe('403');
    expect(await ownCode(server)).toBe('own');
  });

  test('counts redirects of other users when nobody finishes the login', async () => {
    const { server, port } = await opened();
    const attacker = await tcpEnd(['ask', port, '127.0.0.1', `${PATH}theirs`], OTHER_USER);
    await said(attacker);
    const end = server.next({ timeoutMs: 20 });
    await expect(end).rejects.toThrow('1 redirect of another user of this machine');
    await expect(end).rejects.toMatchObject({ hint: expect.stringContaining('--paste') });
  });

  test('accepts the redirect when other users are trusted', async () => {
    const { server, port } = await opened(true);
    await tcpEnd(['ask', port, '127.0.0.1', `${PATH}theirs`], OTHER_USER);
    const { parameters, peer } = await server.next(WAIT);
    expect([parameters.get('code'), peer]).toEqual(['theirs', { kind: 'user', uid: OTHER_USER }]);
  });
});
