import { readFileSync, type Stats, statSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { StorageUnsafeError } from '../../errors.ts';
import type { Environment } from '../environment.ts';
import { syncDirectory } from './atomic-file.ts';
import { shellPath, systemErrorCode } from './storage-error.ts';

/*
 * Directories that are not there yet, with all above them. One after the other, since Node's recursive mkdir answers ENOENT
 * where a disk has no room.
 */

/** As others than their owner may write there, such as /tmp. */
const WORLD_WRITABLE = 0o002;

/**
 * Makes the directory and those above it that are not there; durable when it returns.
 *
 * @param options.mode of each that is made
 * @throws StorageUnsafeError as `checkMayMakeIn`
 * @throws the system's error where one cannot be made
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
      await mkdir(directory, { mode: options.mode });
    } catch (error) {
      // Another process was first.
      if (systemErrorCode(error) !== 'EEXIST') throw error;
    }
  }
  // The new name must last as long as what will lie below it.
  await syncDirectory(above);
}

/**
 * Refuses to make root's directories in another user's: after `sudo -E` on a new account, its whole ~/.config would be
 * root's.
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

/** Whether that is the number that the kernel shows for users whom this user namespace does not have (user_namespaces(7)). */
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
