import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { openVault } from '../../src/vault/open.ts';
import { browse } from '../../test/support/browser/scripted-browser.mjs';
import { bundled } from '../../test/support/homes/bundle.ts';
import { type Servers, startServers } from '../../test/support/servers/servers.ts';

/** A server that wants a login, the login in a home of its own, and the command as it is installed. */
export interface Site {
  readonly resource: string;
  readonly authorization: Servers;
  /** The bundle of `holdfast`. */
  readonly command: string;
  readonly directory: string;
  readonly env: Record<string, string>;
  counters(): Promise<{ calls: number; doubled: number; tokens: number; refused: number }>;
  end(): Promise<void>;
}

/** @param accessTokenTtlSeconds where given, the server takes tokens for only so long */
export async function openSite(accessTokenTtlSeconds?: number): Promise<Site> {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-bench-'));
  const command = await bundled(directory, 'holdfast', new URL('../../src/cli/bin.ts', import.meta.url));
  const authorization = await startServers({ accessTokenTtlSeconds });
  const server = startServer({
    issuer: authorization.issuer,
    ...(accessTokenTtlSeconds !== undefined && { tokens: authorization.tokens }),
  });
  const resource = await server.resource;
  const home = join(directory, 'home');
  const vault = openVault({ home, keyring: 'file' });
  await vault.login(resource, {
    interaction: { authorize: async (url) => void browse(url).catch(() => {}) },
  });
  await vault.close();
  return {
    resource,
    authorization,
    command,
    directory,
    // NODE_EXTRA_CA_CERTS adds 40 ms to each start of Node 20, to theirs and to ours.
    env: { PATH: process.env['PATH'] ?? '', HOME: directory, HOLDFAST_HOME: home, HOLDFAST_KEYRING: 'file' },
    counters: async () => (await fetch(resource.replace(/mcp$/, 'counters'))).json() as never,
    end: async () => {
      server.child.kill('SIGKILL');
      await authorization.stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

function startServer(settings: object): { child: ChildProcess; resource: Promise<string> } {
  const script = fileURLToPath(new URL('./server.ts', import.meta.url));
  const child = spawn(
    process.execPath,
    ['--no-warnings', '--import', 'tsx', script, JSON.stringify(settings)],
    {
      stdio: ['pipe', 'pipe', 'inherit'],
    },
  );
  const resource = once(createInterface({ input: child.stdout }), 'line').then(
    ([line]) => (JSON.parse(String(line)) as { resource: string }).resource,
  );
  return { child, resource };
}
