import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs, { renameSync } from 'node:fs';
import { chmod, chown, mkdir, readdir, readFile, rename, stat, symlink, writeFile } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { InvalidArgumentError, StorageUnsafeError } from '../../src/errors.ts';
import { DirectoryStore } from '../../src/store/directory.ts';
import { layoutOf } from '../../src/system/files/paths.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { requirement } from '../support/requirement.ts';

const COUNTER = fileURLToPath(new URL('../support/counter.ts', import.meta.url));
const address = { kid: 'key', id: 'record' };

async function freshStore() {
  const home = await temporaryHome();
  return { ...home, store: new DirectoryStore(home.layout, home.environment) };
}

describe('the directory store', () => {
  test('returns a stored record, also from a new store over the same directory', async () => {
    const { store, layout, environment } = await freshStore();
    const result = await store.cas(address, undefined, 'a.b.c');
    expect(result.outcome).toBe('ok');
    const again = new DirectoryStore(layout, environment);
    expect(await again.read(address)).toEqual({
      record: 'a.b.c',
      version: result.outcome === 'ok' ? result.version : 'none',
    });
    expect(await again.list()).toEqual([address]);
    expect(await again.kidsOf('record')).toEqual(['key']);
  });

  test('creates nothing when it only reads', async () => {
    const { store, path } = await freshStore();
    expect(await store.read(address)).toBeUndefined();
    expect(await store.version(address)).toBeUndefined();
    expect(await store.list()).toEqual([]);
    expect(await store.kidsOf('record')).toEqual([]);
    expect(await store.remove(address)).toBe(false);
    expect(await store.quarantine(address)).toBeUndefined();
    await expect(stat(path)).rejects.toThrow('ENOENT');
  });

  test('overwrites a record only if it has the expected version', async () => {
    const { store } = await freshStore();
    const first = await store.cas(address, undefined, 'one');
    expect((await store.cas(address, undefined, 'two')).outcome).toBe('conflict');
    const version = first.outcome === 'ok' ? first.version : undefined;
    expect((await store.cas(address, version, 'two')).outcome).toBe('ok');
    expect((await store.cas(address, version, 'three')).outcome).toBe('conflict');
    expect((await store.read(address))?.record).toBe('two');
  });

  test('removes only the expected version, and ignores a record that is already gone', async () => {
    const { store } = await freshStore();
    await store.cas(address, undefined, 'one');
    expect(await store.remove(address, 'another')).toBe(false);
    expect(await store.remove(address)).toBe(true);
    expect(await store.remove(address)).toBe(false);
    expect(await store.read(address)).toBeUndefined();
  });

  test('creates directories with mode 0700 and files with 0600, and leaves no temporary file', async () => {
    const { store, layout } = await freshStore();
    const before = process.umask(0);
    try {
      await store.cas(address, undefined, 'one');
    } finally {
      process.umask(before);
    }
    const mode = async (path: string) => (await stat(path)).mode & 0o7777;
    for (const directory of [layout.home, layout.credentials, layout.locks, layout.temporary]) {
      expect(await mode(directory)).toBe(0o700);
    }
    expect(await mode(join(layout.credentials, 'key', 'record.jwe'))).toBe(0o600);
    expect(await mode(join(layout.locks, 'record.commit.lock'))).toBe(0o600);
    expect(await readdir(layout.temporary)).toEqual([]);
  });

  test('quarantines a damaged record whole, and never over another one', async () => {
    const { store, layout } = await freshStore();
    for (const text of ['first damage', 'second damage']) {
      await store.cas(address, undefined, text);
      const aside = await store.quarantine(address);
      expect(await readFile(aside ?? '', 'utf8')).toBe(text);
    }
    expect(await store.read(address)).toBeUndefined();
    expect(await readdir(layout.quarantine)).toHaveLength(2);
  });

  test.each(['remove', 'quarantine'] as const)(
    'restores nothing after a %s when a killed move had left a copy',
    async (operation) => {
      const { store, layout } = await freshStore();
      await store.cas(address, undefined, 'a later state');
      // A killed move left this copy; the record was then written once more in its old place.
      await mkdir(layout.moving, { mode: 0o700 });
      await writeFile(join(layout.moving, `${address.id}.${address.kid}.new-key`), 'an earlier state', {
        mode: 0o600,
      });
      expect(await store.list()).toEqual([address]);
      await store[operation](address);
      expect(await store.list()).toEqual([]);
      expect(await readdir(layout.moving)).toEqual([]);
    },
  );

  test('loses no write when many processes change one record', async () => {
    const { store, path } = await freshStore();
    const processes = Array.from({ length: 4 }, () =>
      spawn(process.execPath, ['--import', 'tsx', COUNTER, 'record', '25'], {
        env: { ...process.env, HOLDFAST_HOME: path },
        stdio: 'inherit',
      }),
    );
    const codes = await Promise.all(processes.map(async (child) => (await once(child, 'exit'))[0]));
    expect(codes).toEqual([0, 0, 0, 0]);
    expect((await store.read(address))?.record).toBe('100');
  });

  test.each<[string, (store: DirectoryStore) => Promise<unknown>]>([
    ['finds', async (store) => (await store.kidsOf('record')).map((kid) => ({ kid, id: 'record' }))],
    ['lists', async (store) => (await store.list()).filter(({ id }) => id === 'record')],
  ])(
    '%s a record that another process moves to another key in the middle of the look',
    async (_verb, look) => {
      const { store, layout } = await freshStore();
      const from = { kid: 'second-key', id: 'record' };
      const to = { kid: 'first-key', id: 'record' };
      await store.cas(from, undefined, 'a.b.c');
      await store.cas({ kid: to.kid, id: 'other' }, undefined, 'd.e.f');
      await mkdir(layout.moving, { mode: 0o700 });
      const { lstatSync } = fs;
      const looksAt = [store.fileOf(to), dirname(store.fileOf(to))];
      let isMoved = false;
      // What `move` does, up to the moment when the record is under no key.
      const moving = (...given: Parameters<typeof lstatSync>) => {
        if (!isMoved && looksAt.includes(String(given[0]))) {
          isMoved = true;
          renameSync(store.fileOf(from), join(layout.moving, `record.${from.kid}.${to.kid}`));
        }
        return lstatSync(...given);
      };
      Object.assign(fs, { lstatSync: moving });
      syncBuiltinESMExports();
      try {
        expect(await look(store)).toEqual([to]);
      } finally {
        Object.assign(fs, { lstatSync });
        syncBuiltinESMExports();
      }
      expect(isMoved).toBe(true);
    },
  );

  test('refuses a directory or record that others may read, and names the command that fixes it', async () => {
    const { store, layout } = await freshStore();
    await store.cas(address, undefined, 'one');
    const record = join(layout.credentials, 'key', 'record.jwe');
    await chmod(record, 0o640);
    await expect(store.read(address)).rejects.toMatchObject({
      code: 'storage-unsafe',
      hint: expect.stringContaining(`chmod -R go= ${layout.home}`),
    });
    await chmod(record, 0o600);
    await chmod(layout.home, 0o755);
    await expect(store.read(address)).rejects.toMatchObject({
      hint: expect.stringContaining(`chmod -R go= ${layout.home}`),
    });
    await expect(store.cas(address, undefined, 'two')).rejects.toThrow(StorageUnsafeError);
    expect(await readFile(record, 'utf8')).toBe('one');
  });

  test('refuses a home, a directory and a record that are symlinks', async () => {
    const { store, layout } = await freshStore();
    await store.cas(address, undefined, 'one');
    const record = join(layout.credentials, 'key', 'record.jwe');
    await rename(record, `${record}.real`);
    await symlink(`${record}.real`, record);
    await expect(store.read(address)).rejects.toThrow(StorageUnsafeError);
    await rename(layout.home, `${layout.home}.real`);
    await symlink(`${layout.home}.real`, layout.home);
    await expect(store.list()).rejects.toThrow(/symbolic link/);
  });

  const root = requirement('it is not run as root', process.geteuid?.() === 0);
  test.skipIf(root !== undefined)('refuses a directory that belongs to another user', async () => {
    const { store, layout } = await freshStore();
    await mkdir(layout.home, { mode: 0o700 });
    await chown(layout.home, 12345, 12345);
    await expect(store.cas(address, undefined, 'one')).rejects.toMatchObject({
      code: 'storage-unsafe',
      message: expect.stringContaining('belongs to user 12345'),
    });
    expect(await readdir(layout.home)).toEqual([]);
  });

  test('refuses an address that would leave its directory', async () => {
    const { store } = await freshStore();
    await expect(async () => store.read({ kid: '..', id: 'record' })).rejects.toThrow(StorageUnsafeError);
    await expect(async () => store.lock('../x', { waitMs: 0 })).rejects.toThrow(StorageUnsafeError);
  });

  test('skips files that are not records', async () => {
    const { store, layout } = await freshStore();
    await store.cas(address, undefined, 'one');
    await writeFile(join(layout.credentials, 'key', 'notes.txt'), 'mine', { mode: 0o600 });
    expect(await store.list()).toEqual([address]);
  });
});

describe('the home directory', () => {
  const base = { platform: 'linux', homeDirectory: '/home/ada', uid: 1000 } as const;

  test.each([
    [{ HOLDFAST_HOME: '/srv/h', XDG_CONFIG_HOME: '/xdg' }, '/srv/h'],
    [{ XDG_CONFIG_HOME: '/xdg' }, '/xdg/holdfast'],
    [{ XDG_CONFIG_HOME: 'relative' }, '/home/ada/.config/holdfast'],
    [{}, '/home/ada/.config/holdfast'],
  ])('finds the home directory: %j gives %s', (variables, home) => {
    expect(layoutOf({ ...base, variables }).home).toBe(home);
  });

  test('refuses a relative path as the home directory', () => {
    expect(() => layoutOf({ ...base, variables: { HOLDFAST_HOME: 'here' } })).toThrow(InvalidArgumentError);
  });
});
