import { spawnSync } from 'node:child_process';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { StorageFullError, StorageUnwritableError } from '../../src/errors.ts';
import { DirectoryStore } from '../../src/store/directory.ts';
import { layoutOf } from '../../src/system/files/paths.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { requirement } from '../support/requirement.ts';

const root = requirement('it is not Linux as root, which mounts a small tmpfs', process.geteuid?.() === 0);
const address = { kid: 'key', id: 'record' };

/** A store on a separate file system of 256 KiB. */
async function smallStore() {
  const { path, environment } = await temporaryHome();
  await mkdir(path);
  mount('-t', 'tmpfs', '-o', 'size=256k,mode=0700', 'holdfast-test', path);
  onTestFinished(() => {
    spawnSync('umount', ['--lazy', path]);
  });
  const layout = layoutOf(environment, join(path, 'home'));
  return { path, layout, store: new DirectoryStore(layout, environment) };
}

function mount(...args: string[]): void {
  const { status, stderr } = spawnSync('mount', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`mount failed: ${stderr}`);
}

describe.skipIf(root !== undefined)('a disk that cannot take a write', () => {
  test('keeps the old record on a full disk, and works again once there is space', async () => {
    const { path, layout, store } = await smallStore();
    const first = await store.cas(address, undefined, 'old');
    const version = first.outcome === 'ok' ? first.version : undefined;
    const filler = join(path, 'filler');
    await writeFile(filler, Buffer.alloc(1024 * 1024)).catch(() => {});
    await expect(store.cas(address, version, 'n'.repeat(64 * 1024))).rejects.toThrow(StorageFullError);
    expect(await store.read(address)).toEqual({ record: 'old', version });
    expect(await readdir(layout.temporary)).toEqual([]);
    await writeFile(filler, '');
    expect((await store.cas(address, version, 'new')).outcome).toBe('ok');
  });

  test('still reads on a read-only disk, and reports a write as refused', async () => {
    const { path, store } = await smallStore();
    await store.cas(address, undefined, 'old');
    mount('-o', 'remount,ro', path);
    expect((await store.read(address))?.record).toBe('old');
    await expect(store.cas(address, undefined, 'new')).rejects.toMatchObject({
      code: new StorageUnwritableError('').code,
      message: expect.stringContaining('the file system is read-only'),
    });
    expect((await store.read(address))?.record).toBe('old');
  });
});
