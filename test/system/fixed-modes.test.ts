import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, onTestFinished, test } from 'vitest';
import { goodLogin } from '../support/homes/good-login.ts';
import { temporaryDirectory } from '../support/homes/home.ts';
import { installed, requirement } from '../support/requirement.ts';
import { commandLine } from '../support/transcript.ts';

/*
 * Mounts of Windows disks and shares, vfat and some CIFS, where chmod does nothing or fails. Debian's bindfs imitates
 * them.
 */

const login = goodLogin();
const trial = await mkdtemp(join(tmpdir(), 'holdfast-test-'));
afterAll(() => rm(trial, { recursive: true }));

function mounted(directory: string, options: readonly string[]): boolean {
  return spawnSync('bindfs', [...options, directory, directory]).status === 0;
}

function unmount(directory: string): void {
  spawnSync('umount', ['--lazy', directory]);
}

function fuseWorks(): boolean {
  if (!installed('bindfs') || process.geteuid?.() !== 0 || !mounted(trial, [])) return false;
  unmount(trial);
  return true;
}

const NO_FUSE = requirement('bindfs is not installed, or this is not root with FUSE', fuseWorks());

/** A directory in which every file has that mode. */
async function withFixedModes(mode: string, chmod: 'ignore' | 'deny'): Promise<string> {
  const directory = await temporaryDirectory();
  expect(mounted(directory, [`--chmod-${chmod}`, '-p', mode])).toBe(true);
  onTestFinished(() => unmount(directory));
  return directory;
}

describe.skipIf(NO_FUSE)('a file system with fixed modes', () => {
  test.each(['ignore', 'deny'] as const)(
    'refuses each time a directory that others can read and whose chmod would %s, and leaves nothing there',
    async (chmod) => {
      const directory = await withFixedModes('0777', chmod);
      const at = commandLine(join(directory, 'home'), [login.servers]);
      for (let attempt = 0; attempt < 2; attempt += 1) {
        const { code, err } = await at.run(['login', login.servers.resource]);
        expect(code).not.toBe(0);
        expect(err).toContain('cannot be closed to other users: its file system has fixed owners and modes');
        expect(err).toContain('HOLDFAST_HOME');
        expect(err).not.toContain('chmod');
      }
      expect(await readdir(directory)).toEqual([]);
    },
  );

  test('uses a directory that is mounted for its owner alone as a home', async () => {
    const directory = await withFixedModes('0700', 'ignore');
    await mkdir(join(directory, 'parent'));
    const at = commandLine(join(directory, 'parent', 'home'), [login.servers]);
    expect((await at.run(['login', login.servers.resource])).code).toBe(0);
    expect((await at.run(['token', login.servers.resource])).code).toBe(0);
  });
});
