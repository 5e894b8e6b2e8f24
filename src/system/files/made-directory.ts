import { promises, readFileSync, type Stats, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { StorageUnsafeError } from '../../errors.ts';
import type { Environment } from '../environment.ts';
import { syncDirectory } from './atomic-file.ts';
import { shellPath, systemErrorCode } from './storage-error.ts';

/*
 * Creates missing directories with all their missing ancestors, one by one: Node's recursive mkdir reports ENOENT when
 * the disk is full.
 */

/** The mode bit of directories that everybody may write to, such as /tmp. */
const WORLD_WRITABLE = 0o002;

/**
 * Creates the directory and its missing ancestors. They are durable when this returns.
 *
 * @param options.mode the mode of each new directory
 * @throws StorageUnsafeError as `checkMayMakeIn`
 * @throws the system's error when a directory cannot be created
 */
export async function makeDirectories(
  path: string,
  options: { mode: number; uid: number | undefined },
): Promise<void> {
  const missing: string[] = [];
  let above = path;
  let stats = statSync(above, { throwIfNoEntry: false });
  while (stats === undefined && dirname(above) !== above) {
    missing.unshift(above);
    above = dirname(above);
    stats = statSync(above, { throwIfNoEntry: false });
  }
  if (missing.length === 0) return;
  if (stats !== undefined) checkMayMakeIn(above, stats, options.uid);
  for (const directory of missing) {
    try {
      await promises.mkdir(directory, { mode: options.mode });
    } catch (error) {
      // Another process was first.
      if (systemErrorCode(error) !== 'EEXIST') throw error;
    }
  }
  // The new name must be as durable as the files below it will be.
  await syncDirectory(above);
}

/**
 * Refuses to create root's directories in another user's directory. After `sudo -E` on a new account, root would own
 * its whole ~/.config.
 *
 * @throws StorageUnsafeError
 */
export function checkMayMakeIn(path: string, stats: Stats, uid: Environment['uid']): void {
  if (uid !== 0 || stats.uid === 0 || (stats.mode & WORLD_WRITABLE) !== 0 || isUnmapped(stats.uid)) return;
  throw new StorageUnsafeError(
    `${shellPath(path)} belongs to user ${stats.uid}, and this process is root: what it makes there, that user could not use.`,
    {
      hint: `Run the command as that user, without sudo. For logins of root itself: export HOLDFAST_HOME=/root/.config/holdfast`,
    },
  );
}

/**
 * Tells whether `uid` is the kernel's number for all users that this user namespace does not map (user_namespaces(7)).
 */
export function isUnmapped(uid: number): boolean {
  try {
    const overflow = Number(readFileSync('/proc/sys/kernel/overflowuid', 'latin1'));
    if (uid !== overflow) return false;
    const ranges = readFileSync('/proc/self/uid_map', 'latin1').trim().split('\n');
    return !ranges.some((range) => {
      const [first = 0, , count = 0] = range.trim().split(/\s+/).map(Number);
      return uid >= first && uid < first + count;
    });
  } catch {
    return false;
  }
}
