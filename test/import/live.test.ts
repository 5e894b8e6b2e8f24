import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { peerLogin } from '../../bench/storm/peer-login.ts';
import { findLogins, moveLogin } from '../../src/import/move.ts';
import { browse } from '../support/scripted-browser.mjs';
import { type Servers, startServers } from '../support/servers.ts';
import { accepted, vaultAt } from '../support/vault.ts';
import { type PeerHome, peerHome } from './peer-home.ts';

/* The programs themselves write what is imported, and read what is left. */

const MODULES = fileURLToPath(new URL('../../bench/peers/node_modules', import.meta.url));
const MCP_REMOTE = `${MODULES}/mcp-remote/dist/client.js`;
const GEMINI = `${MODULES}/@google/gemini-cli-core`;
/** They are no dependency of this package: `npm ci` in bench/peers brings them. */
const NO_PEERS = !existsSync(MCP_REMOTE) || !existsSync(GEMINI);

let servers: Servers;
let others: Servers;
beforeAll(async () => {
  [servers, others] = await Promise.all([startServers(), startServers()]);
});
afterAll(() => Promise.all([servers.stop(), others.stop()]));

/** A program in the person's home, to its end; it gets a browser that logs in. */
async function runs(
  at: PeerHome,
  args: readonly string[],
  variables: Readonly<Record<string, string>> = {},
): Promise<{ code: number | null; said: string; opened: number }> {
  const child = spawn(process.execPath, [...args], {
    env: { PATH: process.env['PATH'] ?? '', HOME: at.directory, BROWSER: 'true', ...variables },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  const opened = new Set<string>();
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      said += chunk;
      for (const [url] of said.matchAll(/https?:\/\/\S+\/auth\?\S+(?=\s)/g)) {
        if (opened.has(url)) continue;
        opened.add(url);
        browse(url).catch(() => {
          // The program ends by itself when nobody comes back.
        });
      }
    });
  }
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, said, opened: opened.size };
}

describe.skipIf(NO_PEERS)('mcp-remote (where bench/peers is installed)', () => {
  const start = (at: PeerHome, { resource }: Servers) => runs(at, [MCP_REMOTE, resource, '--allow-http']);

  test('logs in, its login moves, its other one still serves it, and it logs in anew by itself', async () => {
    const at = await peerHome('mcp-remote', servers);
    const urls = [servers.resource];
    // In place of the fixture's login, one that it made itself.
    await (await findLogins(at.peer, at.place)).logins[0]?.take();
    expect(await start(at, servers)).toMatchObject({ code: 0, opened: 1 });
    expect(await start(at, others)).toMatchObject({ code: 0, opened: 1 });
    const [found] = (await findLogins(at.peer, { ...at.place, urls })).logins;
    const { vault } = vaultAt(at.home);
    if (found === undefined) throw new Error('Its login was not found.');
    expect(await moveLogin(found, at, vault, {})).toMatchObject({ outcome: 'moved' });
    const { token } = await vault.token(servers.resource, { refused: 1 });
    expect(await accepted(servers.resource, token)).toBe(true);
    expect(await start(at, others)).toMatchObject({ code: 0, opened: 0 });
    expect(await start(at, servers)).toMatchObject({ code: 0, opened: 1 });
    expect(await accepted(servers.resource, (await vault.token(servers.resource)).token)).toBe(true);
  }, 60_000);
});

describe.skipIf(NO_PEERS)('Gemini CLI (where bench/peers is installed)', () => {
  const script = (step: string) => `
    await import(${JSON.stringify(`${GEMINI}/dist/index.js`)});
    const { MCPOAuthTokenStorage } = await import(${JSON.stringify(`${GEMINI}/dist/src/mcp/oauth-token-storage.js`)});
    const storage = new MCPOAuthTokenStorage();
    ${step}`;

  test.each([
    ['its plain file', {}],
    [
      'the file that stands in for its keychain',
      { GEMINI_FORCE_ENCRYPTED_FILE_STORAGE: 'true', GEMINI_FORCE_FILE_STORAGE: 'true' },
    ],
  ])(
    'writes %s, its login moves, and it reads the others as before',
    async (_, variables) => {
      const login = await peerLogin(servers);
      const at = await peerHome('gemini', servers, { login });
      await (await findLogins(at.peer, at.place)).logins[0]?.take();
      const { access_token, refresh_token } = login.tokens;
      const token = { accessToken: access_token, refreshToken: refresh_token, tokenType: 'Bearer' };
      const saved = [
        [
          'notion',
          { ...token, expiresAt: Date.now() + 3_600_000 },
          login.client.client_id,
          login.tokenEndpoint,
          servers.resource,
        ],
        [
          'kept',
          { ...token, accessToken: 'kept-access', refreshToken: 'kept-refresh' },
          'kept',
          undefined,
          'https://kept.example/mcp',
        ],
        ['main-account', { ...token, accessToken: 'own-account' }, 'own', undefined, servers.resource],
      ];
      const save = `for (const one of ${JSON.stringify(saved)}) await storage.saveToken(...one.map((x) => x ?? undefined));`;
      const env = { GEMINI_CLI_HOME: at.directory, ...variables };
      expect(await runs(at, ['--input-type=module', '-e', script(save)], env)).toMatchObject({ code: 0 });

      const { logins } = await findLogins(at.peer, at.place);
      expect(logins.map(({ name }) => name)).toEqual(['notion']);
      const { vault } = vaultAt(at.home);
      for (const found of logins) {
        expect(await moveLogin(found, at, vault, {})).toMatchObject({ outcome: 'moved' });
      }
      expect(await accepted(servers.resource, (await vault.token(servers.resource)).token)).toBe(true);

      const read = `for (const name of ['notion', 'kept', 'main-account'])
      console.log(name + '=' + (await storage.getCredentials(name))?.token.accessToken);`;
      const { said } = await runs(at, ['--input-type=module', '-e', script(read)], env);
      expect(said).toContain('notion=undefined');
      expect(said).toContain('kept=kept-access');
      expect(said).toContain('main-account=own-account');
    },
    60_000,
  );
});
