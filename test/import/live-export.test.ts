import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { mcpRemote } from '../../src/import/to-mcp-remote.ts';
import { Secret } from '../../src/secret.ts';
import { temporaryDirectory, temporaryHome } from '../support/homes/home.ts';
import { accepted, loggedIn } from '../support/homes/vault.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';

/* mcp-remote uses a login that was exported to it, and refreshes it. */

const MODULES = fileURLToPath(new URL('../../bench/peers/node_modules', import.meta.url));
const MCP_REMOTE = `${MODULES}/mcp-remote/dist/client.js`;

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

async function exported(mode: 'access-token' | 'move') {
  const { vault, first } = await loggedIn(await temporaryHome(), servers.resource);
  const home = await temporaryDirectory();
  const directory = join(home, '.mcp-auth', 'mcp-remote-v1');
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const recipient = mcpRemote(servers.resource, directory, { replace: false });
  await recipient.check();
  await vault.transfer.export(servers.resource, { mode, deliver: (login) => recipient.put(login) });
  const md5 = createHash('md5').update(servers.resource).digest('hex');
  return { home, first, file: join(directory, `${md5}_tokens.json`) };
}

/** Runs mcp-remote in that home without a browser. Returns its exit code, and whether it asked for a login. */
async function runs(home: string) {
  const child = spawn(process.execPath, [MCP_REMOTE, servers.resource, '--allow-http'], {
    env: { PATH: process.env['PATH'] ?? '', HOME: home, BROWSER: 'true' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      said += chunk;
      // Without a login, it would wait for the browser.
      if (/\/auth\?\S+\s/.test(said)) child.kill('SIGKILL');
    });
  }
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, asked: /\/auth\?\S+\s/.test(said) };
}

describe.skipIf(!existsSync(MCP_REMOTE))('mcp-remote (where bench/peers is installed)', () => {
  test.each(['access-token', 'move'] as const)(
    'uses the login that was exported to it (%s)',
    async (mode) => {
      const { home } = await exported(mode);
      expect(await runs(home)).toEqual({ code: 0, asked: false });
    },
  );

  test('refreshes the login that was moved to it', async () => {
    const { home, first, file } = await exported('move');
    const tokens = JSON.parse(await readFile(file, 'utf8'));
    await writeFile(file, JSON.stringify({ ...tokens, expires_in: 0, expires_at: Date.now() - 1000 }));
    expect(await runs(home)).toEqual({ code: 0, asked: false });
    const after = JSON.parse(await readFile(file, 'utf8'));
    expect(first.tokens.accessToken.equals(new Secret(after.access_token))).toBe(false);
    expect(await accepted(servers.resource, new Secret(after.access_token))).toBe(true);
  });
});
