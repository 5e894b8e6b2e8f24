import { readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { temporaryHome } from '../support/home.ts';
import { holdfast, start, TYPESCRIPT } from '../support/process.ts';
import { type Servers, startServers } from '../support/servers.ts';
import { NO_SMALL_DISK, smallDisk } from '../support/small-disk.ts';
import { gatedTokenEndpoint, useTokenEndpoint } from '../support/token-endpoint.ts';
import { accepted, expire, leave, loggedIn, stored, vaultAt } from '../support/vault.ts';

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

async function tokenRequests(): Promise<number> {
  return (await servers.counters()).tokenRequests;
}

describe.skipIf(NO_SMALL_DISK)('a disk that takes no write', () => {
  test.each(['full', 'read-only'] as const)(
    'that is %s is found before the server is asked: the refresh token is unspent, and all is well afterwards',
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
    'that is %s still serves a token with life left, early in its refresh too',
    async (what) => {
      const disk = await smallDisk();
      await loggedIn(disk.home, servers.resource);
      await leave(disk.home, servers.resource, 60_000);
      if (what === 'full') await disk.fill();
      else disk.readOnly(true);
      expect(await vaultAt(disk.home).vault.token(servers.resource)).toMatchObject({ generation: 1 });
    },
  );

  test('that becomes full while the server answers has room reserved for the new tokens', async () => {
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

describe('too few file descriptors', () => {
  test('end in a token or a clear error, and never in a lost login', async () => {
    const home = await temporaryHome();
    await loggedIn(home, servers.resource);
    const script = fileURLToPath(new URL('../support/token-process.ts', import.meta.url));
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
