import { mkdir, readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CredentialId } from '../../src/credential.ts';
import { kidIn, OutboxFiles } from '../../src/credentials/outbox/outbox-files.ts';
import { SealedCredentialStore } from '../../src/credentials/sealed/sealed-credential-store.ts';
import { HoldfastError, RecordDamagedError } from '../../src/errors.ts';
import { DirectoryStore } from '../../src/store/directory.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { type SeededHome, seededHome } from '../support/homes/seeded-home.ts';
import { expire, leave, loggedIn, partsAt, scripted, vaultAt } from '../support/homes/vault.ts';
import { holdfast } from '../support/processes/process.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

/** Paths of the files in the home whose names end with `ending`. */
async function filesOf(home: { path: string }, ending: string): Promise<string[]> {
  const names = await readdir(home.path, { recursive: true });
  return names.filter((name) => name.endsWith(ending)).map((name) => join(home.path, name));
}

async function onlyRecord(home: SeededHome): Promise<string> {
  const [record, ...more] = await filesOf(home, '.jwe');
  if (record === undefined || more.length > 0) throw new Error('There should be one record.');
  return record;
}

/** Flips one bit at that offset. */
function flipped(bytes: Buffer, offset: number): Buffer {
  const damaged = Buffer.from(bytes);
  damaged[offset] = (damaged[offset] ?? 0) ^ (1 << (offset % 7));
  return damaged;
}

describe('a damaged record', () => {
  test('detects a record with a bit changed or cut off at any offset, and leaves it as it is', async () => {
    const home = await seededHome();
    const path = await onlyRecord(home);
    const good = await readFile(path);
    const { credentialStore } = partsAt(home);
    const name = CredentialId.of(home.resource, undefined);
    const served: number[] = [];
    for (let offset = 0; offset < good.length; offset += 1) {
      for (const damaged of [flipped(good, offset), good.subarray(0, offset)]) {
        await writeFile(path, damaged);
        const found = await credentialStore.find(name).catch((error: unknown) => error);
        if (!(found instanceof RecordDamagedError)) served.push(offset);
      }
    }
    expect(served).toEqual([]);
    await writeFile(path, good);
    expect(
      (await credentialStore.find(name))?.held.credential.tokens.accessToken.reveal() === home.token,
    ).toBe(true);
  });

  test('reports a damaged record with exit code 6, and the next login quarantines it whole', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    const [first = ''] = await filesOf(home, '.jwe');
    await vault.login(`${servers.resource}/1`, { interaction: scripted });
    const damaged = flipped(await readFile(first), 300);
    await writeFile(first, damaged);
    const run = (...args: string[]) =>
      holdfast(args, { HOLDFAST_HOME: home.path, HOLDFAST_KEYRING: 'file' }).ended;
    for (const command of ['token', 'headers'] as const) {
      const { code, out, err } = await run(command, servers.resource);
      expect({ code, out }).toEqual({ code: 6, out: '' });
      expect(err).toContain('is damaged');
      expect(err).toContain('quarantine/');
    }
    expect((await run('token', `${servers.resource}/1`)).code).toBe(0);
    expect((await run('list')).err).toContain('1 record does not open');
    expect((await readFile(first)).equals(damaged)).toBe(true);
    await vaultAt(home).vault.login(servers.resource, { interaction: scripted });
    const [aside = ''] = await readdir(home.layout.quarantine);
    expect((await readFile(join(home.layout.quarantine, aside))).equals(damaged)).toBe(true);
    for (const resource of [servers.resource, `${servers.resource}/1`]) {
      expect((await run('token', resource)).code).toBe(0);
    }
  });
});

describe('damaged files that only help', () => {
  test.each([
    ['empty', Buffer.alloc(0)],
    ['no JSON', Buffer.from('{"generation":')],
    ['of another shape', Buffer.from('{"failures":"many","fruitless":[1,2,3]}')],
    ['from the future', Buffer.from(JSON.stringify({ failedAt: 9e15, pauseMs: 9e15, failures: 99 }))],
    ['noise', Buffer.from(Array.from({ length: 2048 }, (_, index) => (index * 7) % 256))],
  ])('refreshes although the note of the lease is %s', async (_what, bytes) => {
    const { home } = await loggedIn(await temporaryHome(), servers.resource);
    await expire(home, servers.resource);
    const { address } = (
      await partsAt(home).credentialStore.find(CredentialId.of(servers.resource, undefined))
    )?.held ?? { address: { id: '' } };
    await writeFile(join(home.layout.locks, `${address.id}.note`), bytes, { mode: 0o600 });
    expect(await vaultAt(home).vault.token(servers.resource)).toMatchObject({ generation: 2 });
  });

  test('refreshes although a spilled record is damaged', async () => {
    const { home } = await loggedIn(await temporaryHome(), servers.resource);
    await expire(home, servers.resource);
    const [record = ''] = await filesOf(home, '.jwe');
    const [kid = '', id = ''] = record.split('/').slice(-2);
    const spill = join(home.path, 'spill');
    await mkdir(spill, { mode: 0o700 });
    const damaged = flipped(await readFile(record), 200);
    await writeFile(join(spill, `${kid}.${id}`), damaged, { mode: 0o600 });
    expect(await vaultAt(home).vault.token(servers.resource)).toMatchObject({ generation: 2 });
  });

  test.each(['spill', 'tmp'])(
    'detects a record under %s/ with a bit changed or cut off at any offset',
    async (place) => {
      const home = await seededHome();
      const path = await onlyRecord(home);
      const good = await readFile(path);
      const [kid = '', file = ''] = path.split('/').slice(-2);
      const copy = join(home.path, place, place === 'spill' ? `${kid}.${file}` : `${file}.0123456789abcdef`);
      await mkdir(join(home.path, place), { recursive: true, mode: 0o700 });
      const { keys } = partsAt(home);
      const lasting = new DirectoryStore(home.layout, home.environment);
      const outbox = new OutboxFiles({ ...home.layout, outboxes: [] }, home.environment);
      const credentialStore = new SealedCredentialStore({ persistent: lasting, ephemeral: lasting, keys });
      const held = (await credentialStore.find(CredentialId.of(home.resource, undefined)))?.held;
      if (held === undefined) throw new Error('The login should be there.');
      const { id } = held.address;
      const opened = async () => {
        const files = await outbox.list(lasting, id);
        const read = await Promise.all(
          files.map(({ record }) => credentialStore.unsealed(id, kidIn(record), record)),
        );
        return read.filter((one) => one !== undefined);
      };
      const believed: number[] = [];
      for (let offset = 0; offset < good.length; offset += 1) {
        for (const damaged of [flipped(good, offset), good.subarray(0, offset)]) {
          await writeFile(copy, damaged, { mode: 0o600 });
          if ((await opened()).length > 0) believed.push(offset);
        }
      }
      expect(believed).toEqual([]);
      await writeFile(copy, good);
      expect(await opened()).toHaveLength(1);
    },
  );

  test('serves a token although a lock file has content', async () => {
    const { home } = await loggedIn(await temporaryHome(), servers.resource);
    await leave(home, servers.resource, 60_000);
    for (const lock of await filesOf(home, '.lock')) await writeFile(lock, 'anything at all');
    expect(await vaultAt(home).vault.token(servers.resource)).toMatchObject({ generation: 2 });
  });
});

describe('a damaged file keyring', () => {
  test.each(['sealing-key', 'passphrase'])(
    'serves nothing with its %s changed or cut off at any offset, and leaves the file as it is',
    async (file) => {
      const home = await seededHome();
      const path = join(home.layout.keyring, file);
      const good = await readFile(path);
      const served: number[] = [];
      for (let offset = 0; offset < good.length; offset += file === 'passphrase' ? 4 : 16) {
        for (const damaged of [flipped(good, offset), good.subarray(0, offset)]) {
          await writeFile(path, damaged);
          const { vault } = vaultAt(home);
          const answer = await vault.token(home.resource).catch((error: unknown) => error);
          await vault.close();
          if (!(answer instanceof HoldfastError)) served.push(offset);
          expect((await readFile(path)).equals(damaged)).toBe(true);
        }
      }
      expect(served).toEqual([]);
      await truncate(path);
      await writeFile(path, good);
      expect((await vaultAt(home).vault.token(home.resource)).token.reveal() === home.token).toBe(true);
    },
  );
});
