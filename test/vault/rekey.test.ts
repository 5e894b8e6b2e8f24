import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { FileKeyring } from '../../src/keyring/file/file.ts';
import { type Home, temporaryHome } from '../support/homes/home.ts';
import { seededHome } from '../support/homes/seeded-home.ts';
import { expire, loggedIn, scripted, stored, vaultAt } from '../support/homes/vault.ts';
import { DesktopKeyring, opener } from '../support/keyrings/keyring.ts';
import { runScript, start, TYPESCRIPT } from '../support/processes/process.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { gatedTokenEndpoint, useTokenEndpoint } from '../support/servers/token-endpoint.ts';

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

/** The stored records, as `<kid>/<id>`, and the copies that a move has made. */
async function records({ layout }: Home): Promise<{ records: string[]; moving: string[] }> {
  const names = await readdir(layout.credentials, { recursive: true });
  const moving = await readdir(layout.moving).catch(() => []);
  return { records: names.filter((name) => name.endsWith('.jwe')).toSorted(), moving };
}

function itemKeys(item: Uint8Array | undefined): number {
  return Buffer.from(item ?? [])
    .toString()
    .split(' ').length;
}

describe('a new key in the same keyring', () => {
  test('rekey seals every login under a new key, and keeps the old key for earlier readers', async () => {
    const { home, vault, first } = await loggedIn(await temporaryHome(), servers.resource);
    await vault.login(servers.resource, { account: 'work', interaction: scripted });
    const before = (await stored(home, servers.resource)).key.kid;
    expect(await vault.admin.rekey()).toMatchObject({
      keyrings: ['file'],
      moved: 2,
      left: [],
      undecryptable: [],
    });
    const after = await stored(home, servers.resource);
    expect(after.key.kid).not.toBe(before);
    expect(after.credential.tokens.accessToken.equals(first.tokens.accessToken)).toBe(true);
    expect((await records(home)).records.every((name) => name.startsWith(after.key.kid))).toBe(true);
    expect(itemKeys(await new FileKeyring(home.layout, home.environment).get('sealing-key'))).toBe(2);
    expect((await vault.token(servers.resource)).token.equals(first.tokens.accessToken)).toBe(true);
  });

  test('rekey drops the keys that no record needs when it is repeated', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    for (let round = 0; round < 3; round += 1) await vault.admin.rekey();
    expect(itemKeys(await new FileKeyring(home.layout, home.environment).get('sealing-key'))).toBe(2);
    expect((await records(home)).records).toHaveLength(1);
  });

  test('a process that had read the old key finds the new one, for a refresh too', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    const { token } = await vault.token(servers.resource);
    await runScript('rekey-process.ts', [], { HOLDFAST_HOME: home.path });
    await expect
      .poll(async () => (await vault.token(servers.resource, { account: 'default' })).token.equals(token))
      .toBe(true);
    expect((await vault.list()).undecryptable).toEqual([]);
    await expire(home, servers.resource);
    expect(await vaultAt(home).vault.token(servers.resource)).toMatchObject({ generation: 2 });
    await runScript('rekey-process.ts', [], { HOLDFAST_HOME: home.path });
    await expire(home, servers.resource);
    await expect.poll(async () => (await vault.token(servers.resource)).generation).toBe(3);
  });

  test('rekey waits for a refresh in progress, and seals its tokens', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    const endpoint = gatedTokenEndpoint(servers.issuer);
    await useTokenEndpoint(home, servers.resource, endpoint.handler);
    await expire(home, servers.resource);
    const token = vault.token(servers.resource);
    await endpoint.reached;
    const rekeyed = vaultAt(home).vault.admin.rekey();
    endpoint.open();
    expect((await token).generation).toBe(2);
    expect(await rekeyed).toMatchObject({ moved: 1, left: [] });
    expect((await stored(home, servers.resource)).credential.generation).toBe(2);
  });

  test('rekey does nothing without a key', async () => {
    const home = await temporaryHome();
    expect(await vaultAt(home).vault.admin.rekey()).toEqual({
      keyrings: [],
      moved: 0,
      left: [],
      undecryptable: [],
    });
    await expect(readdir(home.layout.credentials)).rejects.toThrow('ENOENT');
  });
});

describe('a rekey that is killed at any step', () => {
  test('every login stays readable in one place under one of the keys, and the next rekey finishes', async () => {
    const script = fileURLToPath(new URL('../support/processes/rekey-process.ts', import.meta.url));
    const rekey = async (home: Home, dieAt: number) =>
      start(process.execPath, [...TYPESCRIPT, script, String(dieAt)], { HOLDFAST_HOME: home.path }).ended;
    const { steps } = JSON.parse((await rekey(await seededHome(), 0)).out) as { steps: number };
    expect(steps).toBeGreaterThan(5);
    const ends = Array.from({ length: steps }, async (_, index) => {
      const home = await seededHome();
      const ended = await rekey(home, index + 1);
      expect(ended.code).toBeNull();
      const { vault } = vaultAt(home);
      const { token } = await vault.token(home.resource);
      expect(token.reveal() === home.token).toBe(true);
      const found = await records(home);
      expect(found.records).toHaveLength(1);
      expect(await vault.admin.rekey()).toMatchObject({ moved: 1, left: [] });
      expect(await records(home)).toMatchObject({ records: [expect.any(String)], moving: [] });
      expect((await vaultAt(home).vault.token(home.resource)).token.reveal() === home.token).toBe(true);
    });
    await Promise.all(ends);
  });
});

describe('another keyring', () => {
  function sessionsIn(home: Home) {
    const keyring = new DesktopKeyring();
    const file = () => opener(new FileKeyring(home.layout, home.environment));
    return {
      desktop: () => vaultAt(home, { openers: [opener(keyring), file()] }).vault,
      ssh: () =>
        vaultAt(home, { openers: [{ id: 'desktop', tier: 'native', open: async () => undefined }, file()] })
          .vault,
    };
  }

  test('rekey moves the logins to the file keyring, where a session without the desktop finds them', async () => {
    const home = await temporaryHome();
    const { desktop, ssh } = sessionsIn(home);
    await desktop().login(servers.resource, { interaction: scripted });
    const { token } = await desktop().token(servers.resource);
    await expect(ssh().token(servers.resource)).rejects.toMatchObject({ code: 'key-unavailable' });
    expect(await desktop().admin.rekey({ to: 'file' })).toMatchObject({
      keyrings: ['file'],
      moved: 1,
      left: [],
    });
    for (const session of [desktop(), ssh()]) {
      expect((await session.token(servers.resource)).token.equals(token)).toBe(true);
    }
    expect(await desktop().admin.rekey({ to: 'native' })).toMatchObject({ keyrings: ['desktop'], moved: 1 });
    await expect(ssh().token(servers.resource)).rejects.toMatchObject({ code: 'key-unavailable' });
  });

  test('rekey leaves a login in place if the other keyring has its own', async () => {
    const home = await temporaryHome();
    const { desktop, ssh } = sessionsIn(home);
    await desktop().login(servers.resource, { interaction: scripted });
    await ssh().login(servers.resource, { interaction: scripted });
    const tokens = [await desktop().token(servers.resource), await ssh().token(servers.resource)];
    expect(await desktop().admin.rekey({ to: 'file' })).toMatchObject({
      moved: 0,
      left: [{ resource: servers.resource, reason: expect.stringContaining('a login of its own') }],
    });
    const after = [await desktop().token(servers.resource), await ssh().token(servers.resource)];
    for (const index of [0, 1]) expect(after[index]?.token.equals(tokens[index]?.token)).toBe(true);
  });

  test.each([
    ['memory', /ends with this process/],
    ['no-such-keyring', /no keyring "no-such-keyring"/],
  ])('rekey refuses %s, and touches nothing', async (to, message) => {
    const home = await seededHome();
    const [record = ''] = (await records(home)).records;
    const before = await readFile(join(home.layout.credentials, record));
    await expect(vaultAt(home, { keyring: undefined }).vault.admin.rekey({ to })).rejects.toThrow(message);
    expect((await readFile(join(home.layout.credentials, record))).equals(before)).toBe(true);
  });
});
