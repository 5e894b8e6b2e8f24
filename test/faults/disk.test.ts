import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import type { StepMessage } from '../../src/system/checkpoints.ts';
import { bundled } from '../support/homes/bundle.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { NO_SMALL_DISK, type SmallDisk, smallDisk } from '../support/homes/small-disk.ts';
import { accepted, expire, leave, loggedIn, stored, vaultAt } from '../support/homes/vault.ts';
import { holdfast, start, TYPESCRIPT } from '../support/processes/process.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { gatedTokenEndpoint, useTokenEndpoint } from '../support/servers/token-endpoint.ts';
import { Site, untilStopped } from './crash/site.ts';
import { type Family, startTokenServer, type TokenServer } from './crash/token-server.ts';

let servers: Servers;
let tokenServer: TokenServer;
let directory: string;
let worker: string;
beforeAll(async () => {
  servers = await startServers();
  tokenServer = await startTokenServer();
  directory = await mkdtemp(join(tmpdir(), 'holdfast-test-'));
  worker = await bundled(directory, 'worker', new URL('crash/worker.ts', import.meta.url));
});
afterAll(async () => {
  await Promise.all([servers.stop(), tokenServer.close(), rm(directory, { recursive: true })]);
});

async function tokenRequests(): Promise<number> {
  return (await servers.counters()).tokenRequests;
}

describe.skipIf(NO_SMALL_DISK)('a disk that takes no write', () => {
  test.each(['full', 'read-only'] as const)(
    'finds a %s disk before it asks the server, so that the refresh token is unspent and works later',
    async (what) => {
      const disk = await smallDisk();
      await loggedIn(disk.home, servers.resource);
      await expire(disk.home, servers.resource);
      if (what === 'full') await disk.fill();
      else disk.readOnly(true);
      const before = await tokenRequests();
      const { code, err } = await holdfast(['token', servers.resource], {
        HOLDFAST_HOME: disk.home.path,
        HOLDFAST_KEYRING: 'file',
      }).ended;
      expect(code).toBe(6);
      expect(err).toMatch(what === 'full' ? /no space is left/ : /read-only/);
      expect(await tokenRequests()).toBe(before);
      if (what === 'full') await disk.empty();
      else disk.readOnly(false);
      const { token, generation } = await vaultAt(disk.home).vault.token(servers.resource);
      expect(generation).toBe(2);
      expect(await accepted(servers.resource, token)).toBe(true);
      expect(await readdir(disk.home.layout.temporary)).toEqual([]);
    },
  );

  test.each(['full', 'read-only'] as const)(
    'serves a token with life left from a %s disk, also early in its refresh',
    async (what) => {
      const disk = await smallDisk();
      await loggedIn(disk.home, servers.resource);
      await leave(disk.home, servers.resource, 60_000);
      if (what === 'full') await disk.fill();
      else disk.readOnly(true);
      expect(await vaultAt(disk.home).vault.token(servers.resource)).toMatchObject({ generation: 1 });
    },
  );

  test('serves a fresh token to a new process from a read-only disk', async () => {
    const disk = await smallDisk();
    await loggedIn(disk.home, servers.resource);
    disk.readOnly(true);
    const variables = { HOLDFAST_HOME: disk.home.path, HOLDFAST_KEYRING: 'file' };
    for (const command of ['token', 'headers', 'list']) {
      const args = command === 'list' ? [command] : [command, servers.resource];
      const { code, err } = await holdfast(args, variables).ended;
      expect({ command, code, err }).toEqual({ command, code: 0, err: '' });
    }
  });

  test('stores the new tokens in reserved space when the disk fills up before the answer comes', async () => {
    const disk = await smallDisk();
    const { vault, events } = await loggedIn(disk.home, servers.resource);
    const endpoint = gatedTokenEndpoint(servers.issuer);
    const { log } = await useTokenEndpoint(disk.home, servers.resource, endpoint.handler);
    await expire(disk.home, servers.resource);
    const asked = vault.token(servers.resource);
    await endpoint.reached;
    await disk.fill();
    endpoint.open();
    const { token } = await asked;
    await vault.close();
    expect(events).toEqual([]);
    expect((await stored(disk.home, servers.resource)).credential.generation).toBe(2);
    const next = await vaultAt(disk.home).vault.token(servers.resource);
    expect(next.token.equals(token)).toBe(true);
    expect(log).toHaveLength(1);
  });
});

const RESOURCE = 'https://mcp.example.com/mcp';

/** A strict server, and a process that is stopped with its answer before it stores it. */
async function answerInHand() {
  const disk = await smallDisk();
  const runtime = disk.home.environment.variables['XDG_RUNTIME_DIR'] ?? '';
  await mkdir(runtime, { mode: 0o700 });
  const site = new Site(disk.home.path, worker, { XDG_RUNTIME_DIR: runtime });
  const family = tokenServer.begin('strict');
  await site.keep(RESOURCE, family, -1000);
  // Uses a lease file, since a file system does not become read-only while a lock file is open for writing.
  const holder = site.start({ resource: RESOURCE, stopAt: 'response-received' }, 'lease-file');
  onTestFinished(() => holder.kill('SIGKILL'));
  await untilStopped(holder);
  return { disk, site, family, holder, runtime };
}

/** The next process gets the server's answer without a request, and leaves no files behind. */
async function comesHome(disk: SmallDisk, site: Site, family: Family): Promise<void> {
  const vault = site.vault('lease-file');
  expect((await vault.token(RESOURCE)).token.reveal() === family.accessToken).toBe(true);
  await vault.close();
  expect(family.log.map(({ outcome }) => outcome)).toEqual(['rotated']);
  expect(await site.hasNewest(RESOURCE, family)).toBe('record');
  expect(await readdir(join(disk.home.path, 'outbox')).catch(() => [])).toEqual([]);
}

describe.skipIf(NO_SMALL_DISK)('a disk that fails between the server’s answer and its storing', () => {
  test('spills the tokens when the disk turns read-only, and the next process stores them', async () => {
    const { disk, site, family, holder, runtime } = await answerInHand();
    disk.readOnly(true);
    holder.kill('SIGCONT');
    const { code, out } = await holder.ended;
    expect({ code, told: out.includes('event unpersisted') }).toEqual({ code: 0, told: true });
    const [spilled = '', ...more] = await readdir(join(runtime, 'holdfast'));
    expect({ spilled, more }).toEqual({ spilled: expect.stringMatching(/\.jwe$/), more: [] });
    // While nothing can be written, the token is served from the spill.
    const meanwhile = site.vault('lease-file');
    await meanwhile.token(RESOURCE, { timeoutMs: 5_000 }).catch(() => {});
    await meanwhile.close();
    expect(family.log).toHaveLength(1);
    disk.readOnly(false);
    await comesHome(disk, site, family);
    expect(await readdir(join(runtime, 'holdfast'))).toEqual([]);
  });

  test('the process and others continue after a disk that was read-only for a while kept its lease file', async () => {
    const disk = await smallDisk();
    const runtime = disk.home.environment.variables['XDG_RUNTIME_DIR'] ?? '';
    await mkdir(runtime, { mode: 0o700 });
    const site = new Site(disk.home.path, worker, { XDG_RUNTIME_DIR: runtime });
    const family = tokenServer.begin('strict');
    await site.keep(RESOURCE, family, -1000);
    const breaks = (message: unknown) => {
      if ((message as StepMessage).step !== 'response-received') return;
      unsubscribe('holdfast:step', breaks);
      disk.readOnly(true);
    };
    subscribe('holdfast:step', breaks);
    const vault = site.vault('lease-file');
    onTestFinished(() => vault.close());
    const { token, generation } = await vault.token(RESOURCE);
    expect(token.reveal() === family.accessToken).toBe(true);
    disk.readOnly(false);
    for (const again of [vault, site.vault('lease-file')]) {
      const next = await again.token(RESOURCE, { rejectedGeneration: generation, timeoutMs: 5_000 });
      expect(next.token.reveal() === family.accessToken).toBe(true);
    }
    const { ended } = site.start({ resource: RESOURCE }, 'lease-file');
    expect((await ended).code).toBe(0);
    expect(family.log.map(({ outcome }) => outcome)).toEqual(['rotated', 'rotated']);
    expect((await readdir(disk.home.layout.locks)).filter((name) => /owner|after/.test(name))).toEqual([]);
  });

  test('loses the tokens only if the process dies before it has spilled them', async () => {
    const { disk, site, family, holder } = await answerInHand();
    disk.readOnly(true);
    holder.kill('SIGKILL');
    await holder.ended;
    disk.readOnly(false);
    const vault = site.vault('lease-file');
    await expect(vault.token(RESOURCE)).rejects.toMatchObject({ code: 'login-required' });
    await vault.close();
    expect(family.log.map(({ outcome }) => outcome)).toEqual(['rotated', 'refused', 'refused']);
  });

  test('stores the tokens although a neighbour fills every free byte of the disk', async () => {
    for (let round = 0; round < 5; round += 1) {
      const { disk, site, family, holder } = await answerInHand();
      const greedy = start('sh', [
        '-c',
        'while :; do cat /dev/zero >> "$0"; done',
        `${disk.home.path}/../filler`,
      ]);
      onTestFinished(() => greedy.kill('SIGKILL'));
      await greedy.says('No space left');
      holder.kill('SIGCONT');
      expect((await holder.ended).code).toBe(0);
      greedy.kill('SIGKILL');
      await greedy.ended;
      await disk.empty();
      await comesHome(disk, site, family);
    }
  });
});

describe('a process with too few file descriptors', () => {
  test('gets a token or fails, and never loses the login', async () => {
    const home = await temporaryHome();
    await loggedIn(home, servers.resource);
    const script = fileURLToPath(new URL('../support/processes/token-process.ts', import.meta.url));
    let tokens = 0;
    for (const limit of [18, 20, 22, 24, 26, 28, 32, 40, 64]) {
      await expire(home, servers.resource);
      const before = await stored(home, servers.resource);
      const { code } = await start(
        'sh',
        [
          '-c',
          `ulimit -n ${limit}; exec "$0" "$@"`,
          process.execPath,
          ...TYPESCRIPT,
          script,
          servers.resource,
        ],
        { HOLDFAST_HOME: home.path, HOLDFAST_KEYRING: 'file' },
      ).ended;
      if (code === 0) tokens += 1;
      const { token } = await vaultAt(home).vault.token(servers.resource);
      expect(await accepted(servers.resource, token)).toBe(true);
      expect((await stored(home, servers.resource)).credential.generation).toBe(
        before.credential.generation + 1,
      );
    }
    expect(tokens).toBeGreaterThan(0);
  });
});
