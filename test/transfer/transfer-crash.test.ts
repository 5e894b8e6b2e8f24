import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CredentialId } from '../../src/credential.ts';
import { StorageFullError } from '../../src/errors.ts';
import { DirectoryStore } from '../../src/store/directory.ts';
import { type Home, temporaryDirectory, temporaryHome } from '../support/homes/home.ts';
import { seededHome } from '../support/homes/seeded-home.ts';
import { NO_SMALL_DISK, smallDisk } from '../support/homes/small-disk.ts';
import { storeAround } from '../support/homes/store.ts';
import { accepted, expire, loggedIn, partsAt, stored, vaultAt } from '../support/homes/vault.ts';
import { type Ended, start, TYPESCRIPT } from '../support/processes/process.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { gatedTokenEndpoint, useTokenEndpoint } from '../support/servers/token-endpoint.ts';

const SCRIPT = fileURLToPath(new URL('../support/processes/handover-process.ts', import.meta.url));

function run(home: Home, args: readonly string[], variables: Readonly<Record<string, string>> = {}) {
  return start(process.execPath, [...TYPESCRIPT, SCRIPT, ...args], {
    HOLDFAST_HOME: home.path,
    ...variables,
  });
}

function said({ out }: Ended): { blob?: string; code?: string; steps: number } {
  return JSON.parse(out) as { blob?: string; code?: string; steps: number };
}

/** Whether the home has the login with its refresh token. */
async function holds(home: Home, resource: string): Promise<boolean> {
  const found = await partsAt(home).credentialStore.find(CredentialId.of(resource, undefined));
  return found?.held.credential.tokens.refreshToken?.reveal() === 'the-refresh-token';
}

describe('a move that is killed at any step', () => {
  test('a killed move leaves the login here or in a blob that the same command repeats, never both', async () => {
    const there = await temporaryHome();
    const { vault: sandbox } = vaultAt(there);
    const codes = async () => (await sandbox.transfer.invite()).code;
    const whole = await seededHome();
    const { steps } = said(await run(whole, ['move', whole.resource, await codes()]).ended);
    expect(steps).toBeGreaterThan(5);
    let stayed = 0;
    for (let dieAt = 1; dieAt <= steps; dieAt += 1) {
      const home = await seededHome();
      const code = await codes();
      const ended = await run(home, ['move', home.resource, code], { DIE_AT: String(dieAt) }).ended;
      expect(ended).toMatchObject({ code: null, out: '' });
      const isHere = await holds(home, home.resource);
      if (isHere) stayed += 1;
      const { blob, again } = await vaultAt(home).vault.transfer.send(home.resource, {
        to: code,
        mode: 'move',
      });
      expect(again).toBe(!isHere);
      expect(await holds(home, home.resource)).toBe(false);
      await sandbox.transfer.receive(blob, { replace: true });
      expect(await holds(there, home.resource)).toBe(true);
    }
    // Both outcomes occurred; otherwise the kills missed their steps.
    expect(stayed).toBeGreaterThan(0);
    expect(stayed).toBeLessThan(steps);
  });
});

describe('a receiver that is killed at any step', () => {
  test('a killed receiver has the login, or takes it once from the same blob', async () => {
    const laptop = await seededHome();
    const whole = await temporaryHome();
    const blobFor = async (home: Home) => {
      const { code } = await vaultAt(home).vault.transfer.invite();
      return (await vaultAt(laptop).vault.transfer.send(laptop.resource, { to: code })).blob;
    };
    const { steps } = said(await run(whole, ['receive', await blobFor(whole)]).ended);
    expect(steps).toBeGreaterThan(8);
    const kept = async (home: Home) =>
      (await vaultAt(home).vault.token(laptop.resource)).token.reveal() === laptop.token;
    let resumed = 0;
    for (let dieAt = 1; dieAt <= steps; dieAt += 1) {
      const home = await temporaryHome();
      const blob = await blobFor(home);
      const ended = await run(home, ['receive', blob], { DIE_AT: String(dieAt) }).ended;
      expect(ended).toMatchObject({ code: null, out: '' });
      const opened = { code: 'handover-opened' };
      try {
        await vaultAt(home).vault.transfer.receive(blob);
        resumed += 1;
      } catch (error) {
        expect(error).toMatchObject(opened);
      }
      expect(await kept(home)).toBe(true);
      expect((await stored(home, laptop.resource)).credential.generation).toBe(1);
      await expect(vaultAt(home).vault.transfer.receive(blob)).rejects.toMatchObject(opened);
    }
    expect(resumed).toBeGreaterThan(0);
  });

  test('a receiver killed after it stored the login does not overwrite later changes to it', async () => {
    const laptop = await seededHome();
    const invited = async () => {
      const home = await temporaryHome();
      const { code } = await vaultAt(home).vault.transfer.invite();
      return { home, blob: (await vaultAt(laptop).vault.transfer.send(laptop.resource, { to: code })).blob };
    };
    const whole = await invited();
    const { steps } = said(await run(whole.home, ['receive', whole.blob]).ended);
    const { home, blob } = await invited();
    // The last write takes three steps, and forgets the opened code.
    await run(home, ['receive', blob], { DIE_AT: String(steps - 2) }).ended;
    const { credentialStore } = partsAt(home);
    const found = await credentialStore.find(CredentialId.of(laptop.resource, undefined));
    if (found === undefined) throw new Error('It was to have been stored.');
    await credentialStore.replace(found.held, { ...found.held.credential, generation: 7 });
    await vaultAt(home).vault.transfer.receive(blob);
    expect((await stored(home, laptop.resource)).credential.generation).toBe(7);
    await expect(vaultAt(home).vault.transfer.receive(blob)).rejects.toMatchObject({
      code: 'handover-opened',
    });
  });
});

describe('several processes at once', () => {
  let servers: Servers;
  beforeAll(async () => {
    servers = await startServers();
  });
  afterAll(() => servers.stop());

  test('only one of several processes opens a blob', async () => {
    const laptop = await seededHome();
    const home = await temporaryHome();
    const { code } = await vaultAt(home).vault.transfer.invite();
    const { blob } = await vaultAt(laptop).vault.transfer.send(laptop.resource, { to: code });
    const go = join(await temporaryDirectory(), 'go');
    const running = Array.from({ length: 4 }, () => run(home, ['receive', blob], { GO: go }));
    await Promise.all(running.map((process) => process.says('ready')));
    await writeFile(go, '');
    const ends = await Promise.all(running.map(async ({ ended }) => said(await ended).code));
    expect(ends.filter((how) => how === undefined)).toHaveLength(1);
    expect(ends.filter((how) => how === 'handover-opened')).toHaveLength(3);
    expect((await stored(home, laptop.resource)).credential.generation).toBe(1);
  });

  test('only one of several processes moves a login', async () => {
    const laptop = await seededHome();
    const sandbox = vaultAt(await temporaryHome()).vault;
    const go = join(await temporaryDirectory(), 'go');
    const running = await Promise.all(
      Array.from({ length: 3 }, async () =>
        run(laptop, ['move', laptop.resource, (await sandbox.transfer.invite()).code], { GO: go }),
      ),
    );
    await Promise.all(running.map((process) => process.says('ready')));
    await writeFile(go, '');
    const ends = await Promise.all(running.map(async ({ ended }) => said(await ended)));
    expect(ends.filter(({ blob }) => blob !== undefined)).toHaveLength(1);
    expect(ends.filter(({ code }) => code === 'login-required')).toHaveLength(2);
  });

  test('a refresh in progress ends before the move, and its tokens move', async () => {
    const laptop = await loggedIn(await temporaryHome(), servers.resource);
    const home = await temporaryHome();
    const endpoint = gatedTokenEndpoint(servers.issuer);
    await useTokenEndpoint(laptop.home, servers.resource, endpoint.handler);
    await expire(laptop.home, servers.resource);
    const refreshed = vaultAt(laptop.home).vault.token(servers.resource);
    await endpoint.reached;
    const { code } = await vaultAt(home).vault.transfer.invite();
    const sent = vaultAt(laptop.home).vault.transfer.send(servers.resource, { to: code, mode: 'move' });
    endpoint.open();
    const { token } = await refreshed;
    await vaultAt(home).vault.transfer.receive((await sent).blob);
    expect((await stored(home, servers.resource)).credential.tokens.accessToken.equals(token)).toBe(true);
    await expire(home, servers.resource);
    const renewed = await vaultAt(home).vault.token(servers.resource);
    expect(await accepted(servers.resource, renewed.token)).toBe(true);
    await expect(vaultAt(laptop.home).vault.token(servers.resource)).rejects.toMatchObject({
      code: 'login-required',
    });
  });
});

describe('a full store', () => {
  test('a full store keeps the login in place, and no blob is given', async () => {
    const laptop = await seededHome();
    const inner = new DirectoryStore(laptop.layout, laptop.environment);
    let isFull = true;
    const store = storeAround(inner, {
      cas: async (address, expected, record) => {
        if (isFull) throw new StorageFullError('No space is left.');
        return inner.cas(address, expected, record);
      },
    });
    const { vault } = vaultAt(laptop, { store });
    const { code } = await vaultAt(await temporaryHome()).vault.transfer.invite();
    await expect(vault.transfer.send(laptop.resource, { to: code, mode: 'move' })).rejects.toMatchObject({
      code: 'storage-full',
    });
    expect(await holds(laptop, laptop.resource)).toBe(true);
    isFull = false;
    expect(await vault.transfer.send(laptop.resource, { to: code, mode: 'move' })).toMatchObject({
      again: false,
    });
    expect(await holds(laptop, laptop.resource)).toBe(false);
  });

  test('a store that fills up after a blob was opened takes the same blob once there is room', async () => {
    const laptop = await seededHome();
    const home = await temporaryHome();
    const inner = new DirectoryStore(home.layout, home.environment);
    let isFull = true;
    const store = storeAround(inner, {
      cas: async (address, expected, record) => {
        if (isFull) throw new StorageFullError('No space is left.');
        return inner.cas(address, expected, record);
      },
    });
    const { vault } = vaultAt(home, { store });
    const { code } = await vault.transfer.invite();
    const { blob } = await vaultAt(laptop).vault.transfer.send(laptop.resource, { to: code, mode: 'move' });
    await expect(vault.transfer.receive(blob)).rejects.toMatchObject({ code: 'storage-full' });
    isFull = false;
    await vault.transfer.receive(blob);
    expect(await holds(home, laptop.resource)).toBe(true);
    await expect(vault.transfer.receive(blob)).rejects.toMatchObject({ code: 'handover-opened' });
  });

  test.skipIf(NO_SMALL_DISK !== undefined)(
    'a home on a full disk shows no code, and leaves a blob unopened',
    async () => {
      const disk = await smallDisk();
      const { home } = disk;
      const laptop = await seededHome();
      const { code } = await vaultAt(home).vault.transfer.invite();
      const { blob } = await vaultAt(laptop).vault.transfer.send(laptop.resource, { to: code, mode: 'move' });
      await disk.fill();
      await expect(vaultAt(home).vault.transfer.invite()).rejects.toMatchObject({ code: 'storage-full' });
      await expect(vaultAt(home).vault.transfer.receive(blob)).rejects.toMatchObject({
        code: 'storage-full',
      });
      await disk.empty();
      await vaultAt(home).vault.transfer.receive(blob);
      expect(await holds(home, laptop.resource)).toBe(true);
    },
  );
});
