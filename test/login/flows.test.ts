import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { DeviceCode, LoginInteraction } from '../../src/login/types.ts';
import { browse } from '../support/browser/scripted-browser.mjs';
import { temporaryHome } from '../support/homes/home.ts';
import { accepted, expire, stored, vaultAt } from '../support/homes/vault.ts';
import { answer, hostileServer } from '../support/servers/hostile-server.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';

/* Logins without a local browser, at a real authorization server. */

let servers: Servers;
beforeAll(async () => {
  servers = await startServers({ deviceFlow: true });
});
afterAll(() => servers.stop());

describe('login by device code', () => {
  /** Shows the code to a user with a browser on another machine. */
  function showing(options: { deny?: boolean } = {}): LoginInteraction & { readonly shown: DeviceCode[] } {
    const shown: DeviceCode[] = [];
    return {
      shown,
      authorize: () => Promise.reject(new Error('No browser was to be opened.')),
      device: async (code) => {
        shown.push(code);
        browse(code.verificationUri, { userCode: code.userCode, ...options }).catch(() => {});
      },
    };
  }

  test.each(['device', 'no-browser'] as const)('logs in by the flow %s, and refreshes', async (way) => {
    const home = await temporaryHome();
    const { vault } = vaultAt(home);
    const interaction = showing();
    const before = await servers.counters();
    await vault.login(servers.resource, { flow: way, interaction });
    const [code] = interaction.shown;
    expect(code?.verificationUri.startsWith(servers.issuer)).toBe(true);
    expect(code?.expiresAt).toBeGreaterThan(Date.now());
    await expire(home, servers.resource);
    const { token, generation } = await vault.token(servers.resource);
    expect(generation).toBe(2);
    expect(await accepted(servers.resource, token)).toBe(true);
    const { credential } = await stored(home, servers.resource);
    expect(credential.client).toMatchObject({ source: 'dynamic', redirectUris: [] });
    const after = await servers.counters();
    expect(after.deviceGrants).toBe(before.deviceGrants + 1);
    expect(after.registrations).toBe(before.registrations + 1);
  });

  test('reports a denied login when the user refuses the device', async () => {
    const { vault } = vaultAt(await temporaryHome());
    const login = vault.login(servers.resource, { flow: 'device', interaction: showing({ deny: true }) });
    await expect(login).rejects.toMatchObject({ code: 'login-denied' });
  });

  test('fails before it asks the user when the server has no device codes', async () => {
    const without = await startServers();
    try {
      const { vault } = vaultAt(await temporaryHome());
      const interaction = showing();
      await expect(vault.login(without.resource, { flow: 'device', interaction })).rejects.toMatchObject({
        code: 'server-unsupported',
        hint: expect.stringContaining('--paste'),
      });
      expect(interaction.shown).toEqual([]);
    } finally {
      await without.stop();
    }
  });
});

describe('login by pasted address', () => {
  test('logs in when the address is pasted, after wrong pastes', async () => {
    const home = await temporaryHome();
    const { vault } = vaultAt(home);
    // A page for users whose browser is on another machine, as many clients have one: it shows its own address.
    const page = await hostileServer({ '/callback': answer(200, 'Copy the address.') });
    const asked: (string | undefined)[] = [];
    let opened = '';
    const pastes = ['', 'http://127.0.0.1:1/callback?code=a&state=b', undefined];
    await vault.login(servers.resource, {
      callbackUrl: `${page.origin}/callback?port=\${callbackPort}`,
      interaction: {
        authorize: async (url) => void (opened = url),
        paste: async ({ problem }) => {
          const text = pastes[asked.length];
          asked.push(problem);
          return text ?? (await browse(opened)).url;
        },
      },
    });
    expect(asked).toEqual([undefined, 'Nothing was pasted.', expect.stringContaining('another state')]);
    expect(await accepted(servers.resource, (await vault.token(servers.resource)).token)).toBe(true);
    const { credential } = await stored(home, servers.resource);
    expect(credential.client.redirectUris).toEqual([expect.stringMatching(/\/callback\?port=\d+$/)]);
  });

  test('withdraws the question when the redirect comes first', async () => {
    const { vault } = vaultAt(await temporaryHome());
    let withdrawn = false;
    await vault.login(servers.resource, {
      interaction: {
        authorize: async (url) => void browse(url).catch(() => {}),
        paste: ({ signal }) =>
          new Promise((_resolve, reject) => {
            signal.addEventListener('abort', () => {
              withdrawn = true;
              reject(signal.reason);
            });
          }),
      },
    });
    expect(withdrawn).toBe(true);
  });

  test('reports a denied login when the pasted address says so', async () => {
    const { vault } = vaultAt(await temporaryHome());
    let state = '';
    const login = vault.login(servers.resource, {
      interaction: {
        authorize: async (url) => void (state = new URL(url).searchParams.get('state') ?? ''),
        paste: async () => `?error=access_denied&state=${state}&iss=${encodeURIComponent(servers.issuer)}`,
      },
    });
    await expect(login).rejects.toMatchObject({ code: 'login-denied' });
  });

  test.each(['http://example.com/callback', 'ftp://localhost/', 'https://example.com/#a', 'callback'])(
    'refuses the callback URL %s before it asks the user',
    async (callbackUrl) => {
      const { vault } = vaultAt(await temporaryHome());
      const before = await servers.counters();
      const login = vault.login(servers.resource, {
        callbackUrl,
        interaction: { authorize: () => Promise.reject(new Error('The person was asked.')) },
      });
      await expect(login).rejects.toMatchObject({ code: 'invalid-argument' });
      expect((await servers.counters()).registrations).toBe(before.registrations);
    },
  );
});
