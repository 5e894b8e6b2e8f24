import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { peerLogin } from '../../bench/storm/peer-login.ts';
import { restoreBackup } from '../../src/import/backup.ts';
import { findLogins, moveLogin } from '../../src/import/move.ts';
import { browse } from '../support/browser/scripted-browser.mjs';
import { accepted, vaultAt } from '../support/homes/vault.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { type PeerHome, peerHome } from './peer-home.ts';

/* The real programs write the logins to import, and read their files afterwards. */

const MODULES = fileURLToPath(new URL('../../bench/peers/node_modules', import.meta.url));
const MCP_REMOTE = `${MODULES}/mcp-remote/dist/client.js`;
const GEMINI = `${MODULES}/@google/gemini-cli-core`;
const MCPORTER = `${MODULES}/mcporter/dist/cli.js`;
const INSPECTOR = `${MODULES}/@modelcontextprotocol/inspector/clients/launcher/build/index.js`;
const OPENCODE = `${MODULES}/opencode-linux-x64/bin/opencode`;
/** They are not dependencies of this package: `npm ci` in bench/peers installs them. */
const NO_PEERS = ![MCP_REMOTE, GEMINI, MCPORTER, INSPECTOR].every((path) => existsSync(path));
/** A separate program, for Linux on x64. */
const NO_OPENCODE = !existsSync(OPENCODE);

let servers: Servers;
let others: Servers;
beforeAll(async () => {
  [servers, others] = await Promise.all([startServers(), startServers()]);
});
afterAll(() => Promise.all([servers.stop(), others.stop()]));

/** Runs a program in the user's home until it ends, with a browser that logs in. */
async function runs(
  at: PeerHome,
  args: readonly string[],
  variables: Readonly<Record<string, string>> = {},
  program = process.execPath,
): Promise<{ code: number | null; said: string; opened: number }> {
  const child = spawn(program, [...args], {
    cwd: at.directory,
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
          // The program ends without help when the browser does not return.
        });
      }
    });
  }
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, said, opened: opened.size };
}

describe.skipIf(NO_PEERS)('mcp-remote (where bench/peers is installed)', () => {
  const start = (at: PeerHome, { resource }: Servers) => runs(at, [MCP_REMOTE, resource, '--allow-http']);

  test('keeps its second login when the first one moves, and logs in again', async () => {
    const at = await peerHome('mcp-remote', servers);
    const urls = [servers.resource];
    // Replaces the login of the fixture by one that the program made.
    await (await findLogins(at.source, at.context)).logins[0]?.take();
    expect(await start(at, servers)).toMatchObject({ code: 0, opened: 1 });
    expect(await start(at, others)).toMatchObject({ code: 0, opened: 1 });
    const [found] = (await findLogins(at.source, { ...at.context, urls })).logins;
    const { vault } = vaultAt(at.home);
    if (found === undefined) throw new Error('Its login was not found.');
    expect(await moveLogin(found, at, vault, { issuer: servers.issuer })).toMatchObject({ outcome: 'moved' });
    const { token } = await vault.token(servers.resource, { rejectedGeneration: 1 });
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
    'keeps its other logins when the login that it saved as %s moves',
    async (_, variables) => {
      const login = await peerLogin(servers);
      const at = await peerHome('gemini', servers, { login });
      await (await findLogins(at.source, at.context)).logins[0]?.take();
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

      const { logins } = await findLogins(at.source, at.context);
      expect(logins.map(({ name }) => name)).toEqual(['notion']);
      const { vault } = vaultAt(at.home);
      for (const found of logins) {
        expect(await moveLogin(found, at, vault, { issuer: servers.issuer })).toMatchObject({
          outcome: 'moved',
        });
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

interface Program {
  /** Configures both servers. */
  configure(at: PeerHome): Promise<void>;
  /** Logs in at that server with the browser. */
  logIn(at: PeerHome, name: 'notion' | 'other'): Promise<{ code: number | null; opened: number }>;
  /** Returns whether the program uses the server with its stored login. */
  uses(at: PeerHome, name: 'notion' | 'other'): Promise<boolean>;
}

function urlOf(name: 'notion' | 'other'): string {
  return name === 'notion' ? servers.resource : others.resource;
}

const mcporter: Program = {
  configure: (at) =>
    writeJson(join(at.directory, 'config', 'mcporter.json'), {
      mcpServers: {
        notion: { baseUrl: servers.resource, auth: 'oauth' },
        other: { baseUrl: others.resource, auth: 'oauth' },
      },
    }),
  logIn: (at, name) => runs(at, [MCPORTER, '--log-level', 'info', 'auth', name]),
  uses: async (at, name) => {
    // Without a login, it waits this long for one, and it gets no browser that logs in.
    const { said } = await runs(at, [MCPORTER, '--oauth-timeout', '1000', 'list', name, '--json']);
    return said.includes('"status": "ok"');
  },
};

const opencode: Program = {
  configure: async (at) => {
    const oauth = { callbackPort: await freePort() };
    await writeJson(join(at.directory, '.config', 'opencode', 'opencode.json'), {
      mcp: {
        notion: { type: 'remote', url: servers.resource, oauth },
        other: { type: 'remote', url: others.resource, oauth },
      },
    });
  },
  logIn: (at, name) => runs(at, ['mcp', 'auth', name], QUIET, OPENCODE),
  uses: async (at, name) => {
    const { said } = await runs(at, ['mcp', 'list'], QUIET, OPENCODE);
    return said.includes(`✓ ${name} `);
  },
};
/** Keeps it from sending requests to its maker's servers. */
const QUIET = { OPENCODE_DISABLE_AUTOUPDATE: '1', OPENCODE_DISABLE_MODELS_FETCH: '1' };

const inspector: Program = {
  configure: async () => {
    // It takes the server from its command line.
  },
  logIn: async (at, name) => {
    const callback = `http://127.0.0.1:${await freePort()}/oauth/callback`;
    const args = [...inspectorArgs(name), '--callback-url', callback];
    return runs(at, args, { MCP_INSPECTOR_SECRET_STORE: 'file', MCP_AUTO_OPEN_ENABLED: 'true' });
  },
  uses: async (at, name) => {
    const args = [...inspectorArgs(name), '--use-stored-auth', '--stored-auth-only'];
    return (await runs(at, args, { MCP_INSPECTOR_SECRET_STORE: 'file' })).code === 0;
  },
};

function inspectorArgs(name: 'notion' | 'other'): string[] {
  return [INSPECTOR, '--cli', '--server-url', urlOf(name), '--method', 'tools/list'];
}

async function writeJson(path: string, value: unknown): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, JSON.stringify(value));
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

describe.each([
  ['mcporter', mcporter, NO_PEERS],
  ['opencode', opencode, NO_PEERS || NO_OPENCODE],
  ['inspector', inspector, NO_PEERS],
] as const)('%s (where bench/peers is installed)', (id, program, missing) => {
  test.skipIf(missing)(
    'keeps its second login when the first one moves, and gets the first back from a backup',
    async () => {
      const at = await peerHome(id, servers);
      // Replaces the fixture by files that the program writes.
      for (const path of Object.keys(await at.files())) await rm(join(at.directory, path));
      await program.configure(at);
      expect(await program.logIn(at, 'notion')).toMatchObject({ code: 0, opened: 1 });
      expect(await program.logIn(at, 'other')).toMatchObject({ code: 0, opened: 1 });
      const { vault } = vaultAt(at.home);
      const { logins } = await findLogins(at.source, { ...at.context, urls: [servers.resource] });
      expect(logins).toHaveLength(1);
      for (const found of logins) {
        expect(await moveLogin(found, at, vault, { issuer: servers.issuer })).toMatchObject({
          outcome: 'moved',
        });
      }
      const { token } = await vault.token(servers.resource, { rejectedGeneration: 1 });
      expect(await accepted(servers.resource, token)).toBe(true);

      expect(await program.uses(at, 'other')).toBe(true);
      expect(await program.uses(at, 'notion')).toBe(false);

      // Moves another login of the program and restores it, before either of the two has refreshed it.
      expect(await program.logIn(at, 'notion')).toMatchObject({ code: 0, opened: 1 });
      const again = await findLogins(at.source, { ...at.context, urls: [servers.resource] });
      for (const found of again.logins)
        await moveLogin(found, at, vault, { issuer: servers.issuer, replace: true });
      expect(await program.uses(at, 'notion')).toBe(false);
      const [backup] = (await vault.transfer.listBackups()).backups;
      if (backup === undefined) throw new Error('It was to be kept.');
      await restoreBackup(backup, at, vault);
      expect(await program.uses(at, 'notion')).toBe(true);
      expect(await program.uses(at, 'other')).toBe(true);
    },
    180_000,
  );
});

describe.skipIf(NO_PEERS || NO_OPENCODE)('the lock of opencode (where bench/peers is installed)', () => {
  test('takes the lock that Holdfast left behind, under the same name', async () => {
    const at = await peerHome('opencode', servers);
    await opencode.configure(at);
    const locks = join(at.directory, '.local', 'state', 'opencode', 'locks');
    await mkdir(locks, { recursive: true });
    const file = join(at.directory, '.local', 'share', 'opencode', 'mcp-auth.json');
    let during: string[] = [];
    await at.source.lock?.(file, at.context, async () => {
      during = await readdir(locks);
    });
    expect(during).toHaveLength(1);
    const lock = join(locks, during[0] ?? '');
    await mkdir(lock);
    await writeFile(join(lock, 'heartbeat'), '');
    const earlier = new Date(Date.now() - 61_000);
    await utimes(join(lock, 'heartbeat'), earlier, earlier);
    await opencode.uses(at, 'notion');
    expect(await readdir(locks)).not.toContain(during[0]);
  }, 60_000);
});
