import { mkdir, mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DirectoryStore } from '../../src/store/directory.ts';
import { bundled } from '../support/homes/bundle.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { NO_SMALL_DISK, smallDisk } from '../support/homes/small-disk.ts';
import { Site } from './crash/site.ts';
import { startTokenServer, type TokenServer } from './crash/token-server.ts';

const RESOURCE = 'https://mcp.example.com/mcp';

let directory: string;
let worker: string;
let server: TokenServer;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'holdfast-test-'));
  worker = await bundled(directory, 'worker', new URL('crash/worker.ts', import.meta.url));
  server = await startTokenServer();
});
afterAll(async () => {
  await server.close();
  await rm(directory, { recursive: true });
});

describe.skipIf(NO_SMALL_DISK)('processes that are killed one after another', () => {
  test('killed processes do not fill a small disk with the space they had reserved', async () => {
    const { home } = await smallDisk();
    const site = new Site(home.path, worker);
    // Without this, each process waits two seconds for the request of the one before.
    const config = { servers: { [RESOURCE]: { replay: 'strict' } } };
    await mkdir(home.path, { recursive: true, mode: 0o700 });
    await writeFile(join(home.path, 'config.json'), JSON.stringify(config), { mode: 0o600 });
    const family = server.begin('window');
    await site.keep(RESOURCE, family, -1000);
    for (let killed = 0; killed < 40; killed += 1) {
      const { code } = await site.start({ resource: RESOURCE, dieAt: 'request-sent' }, 'flock').ended;
      expect({ killed, code }).toEqual({ killed, code: null });
    }
    const vault = site.vault('flock');
    expect((await vault.token(RESOURCE)).token.reveal() === family.accessToken).toBe(true);
    await vault.close();
    expect(await readdir(site.layout.temporary)).toEqual([]);
  });
});

describe('files of a killed process', () => {
  test('removes old files of a killed process, but keeps its staged record, which may hold the only tokens', async () => {
    const { path, layout, environment } = await temporaryHome();
    const site = new Site(path, worker);
    const family = server.begin('strict');
    await site.keep(RESOURCE, family, -1000);
    await site.start({ resource: RESOURCE, dieAt: 'file-staged' }, 'flock').ended;
    await writeFile(join(layout.temporary, 'rehearsal.0123456789ab'), 'half', { mode: 0o600 });
    const yesterday = Date.now() / 1000 - 86_400;
    for (const name of await readdir(layout.temporary)) {
      await utimes(join(layout.temporary, name), yesterday, yesterday);
    }
    await new DirectoryStore(layout, environment).selfTest();
    expect(await readdir(layout.temporary)).toEqual([expect.stringMatching(/\.jwe\./)]);
    const vault = site.vault('flock');
    expect((await vault.token(RESOURCE)).token.reveal() === family.accessToken).toBe(true);
    await vault.close();
    expect(family.log.map(({ outcome }) => outcome)).toEqual(['rotated']);
    const longAgo = Date.now() / 1000 - 100 * 86_400;
    for (const name of await readdir(layout.temporary)) {
      await utimes(join(layout.temporary, name), longAgo, longAgo);
    }
    await new DirectoryStore(layout, environment).selfTest();
    expect(await readdir(layout.temporary)).toEqual([]);
  });

  test('does not take a staged record for the newest one after a later login', async () => {
    const { path } = await temporaryHome();
    const site = new Site(path, worker);
    await site.keep(RESOURCE, server.begin('strict'), -1000);
    await site.start({ resource: RESOURCE, dieAt: 'file-staged' }, 'flock').ended;
    const later = server.begin('strict');
    await site.keep(RESOURCE, later, -1000);
    const vault = site.vault('flock');
    expect((await vault.token(RESOURCE)).token.reveal() === later.accessToken).toBe(true);
    await vault.close();
    expect(later.log.map(({ outcome }) => outcome)).toEqual(['rotated']);
  });
});
