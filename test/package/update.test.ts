import { cp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, test, vi } from 'vitest';
import { client1 } from '../proxy/through.ts';
import { builtPackage } from '../support/built.ts';
import { temporaryDirectory, temporaryHome } from '../support/homes/home.ts';
import { loggedIn } from '../support/homes/vault.ts';
import { startServers } from '../support/servers/servers.ts';

/*
 * An update replaces the package below programs that run for days. Code that they load after it is gone: the chunks of
 * the new build have other names.
 */

let dist: string;
beforeAll(async () => {
  dist = join(await builtPackage(), 'dist');
}, 300_000);

test('a running proxy refreshes its token after an update has removed the files of its build', async () => {
  const servers = await startServers({ accessTokenTtlSeconds: 3 });
  try {
    const home = await temporaryHome();
    const { vault } = await loggedIn(home, servers.resource);
    await vault.close();
    const installed = join(await temporaryDirectory(), 'dist');
    await cp(dist, installed, { recursive: true });
    const program = {
      command: process.execPath,
      args: (...args: string[]) => [join(installed, 'bin/holdfast.cjs'), 'proxy', ...args],
    };
    const client = await client1(program, [servers.resource], {
      ...(home.environment.variables as Record<string, string>),
      HOLDFAST_HOME: home.path,
      HOLDFAST_KEYRING: 'file',
    });
    await rm(installed, { recursive: true });
    const { refreshGrants: before } = await servers.counters();
    await vi.waitFor(
      async () => {
        await client.callTool({ name: 'whoami', arguments: {} });
        expect((await servers.counters()).refreshGrants).toBeGreaterThan(before);
      },
      { timeout: 60_000, interval: 250 },
    );
  } finally {
    await servers.stop();
  }
}, 120_000);
