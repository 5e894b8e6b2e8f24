import { spawnSync } from 'node:child_process';
import { mkdir, rm, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { layoutOf } from '../../../src/system/files/paths.ts';
import { requirement } from '../requirement.ts';
import { type Home, temporaryHome } from './home.ts';

export const NO_SMALL_DISK = requirement(
  'it is not Linux as root, which mounts a small tmpfs',
  process.platform === 'linux' && process.geteuid?.() === 0,
);

/** A separate file system of 512 KiB with a home on it. */
export interface SmallDisk {
  readonly home: Home;
  fill(): Promise<void>;
  empty(): Promise<void>;
  readOnly(yes: boolean): void;
}

export async function smallDisk(): Promise<SmallDisk> {
  const { path, environment } = await temporaryHome();
  await mkdir(path);
  mount('-t', 'tmpfs', '-o', 'size=512k,mode=0700', 'holdfast-test', path);
  onTestFinished(() => {
    spawnSync('umount', ['--lazy', path]);
  });
  const place = join(path, 'home');
  // Records are spilled to this test's directory only, not to the shared directories of this machine.
  const variables = { HOLDFAST_HOME: place, XDG_RUNTIME_DIR: join(path, '..', 'runtime') };
  const home = { path: place, environment: { ...environment, variables } };
  const filler = join(path, 'filler');
  return {
    home: { ...home, layout: layoutOf(home.environment) },
    fill: async () => {
      const { bavail, bsize } = await statfs(path);
      await writeFile(filler, Buffer.alloc(bavail * bsize));
    },
    empty: () => rm(filler),
    // Remounts the mount, not the file system, which refuses while a process has a deleted file open.
    readOnly: (yes) => mount('-o', `remount,bind,${yes ? 'ro' : 'rw'}`, path),
  };
}

function mount(...args: string[]): void {
  const { status, stderr } = spawnSync('mount', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`mount failed: ${stderr}`);
}
