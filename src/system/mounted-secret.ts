import { constants, type Stats } from 'node:fs';
import { access } from 'node:fs/promises';
import { StorageUnsafeError } from '../errors.ts';
import type { Environment } from './environment.ts';
import { readGivenFile } from './private-directory.ts';
import { shellPath, systemErrorCode } from './storage-error.ts';

/**
 * Reads a secret that a platform mounts, or a person laid out, as a whole and anew. Links are followed: Kubernetes mounts
 * secrets as such, and swaps them.
 *
 * Where it belongs to another user, or lies on a read-only file system, who may read it was decided by whoever mounted it:
 * Docker has 0444, Kubernetes 0644. One's own file no other user may read. Nowhere may one write it: who can change the key
 * chooses who reads what it seals.
 *
 * @returns `undefined` when it is not there
 * @throws StorageUnsafeError, StorageUnreadableError
 */
export async function readMountedSecret(
  path: string,
  environment: Environment,
  { maxBytes }: { readonly maxBytes: number },
): Promise<Buffer | undefined> {
  const { uid } = environment;
  return readGivenFile(path, {
    maxBytes,
    check: async (stats) => {
      if (!stats.isFile()) {
        throw new StorageUnsafeError(`${shellPath(path)} is not a plain file.`, {
          hint: 'Name the file that the secret is in.',
        });
      }
      if (uid !== undefined) await checkModes(path, stats, uid);
    },
  });
}

async function checkModes(path: string, stats: Stats, uid: number): Promise<void> {
  const mode = stats.mode & 0o7777;
  if ((mode & 0o026) === 0) return;
  if ((mode & 0o022) === 0 && (stats.uid !== uid || (await onReadOnlyFileSystem(path)))) return;
  throw new StorageUnsafeError(
    `${shellPath(path)} is open to other users (mode ${mode.toString(8).padStart(4, '0')}).`,
    { hint: `Close it: chmod 600 ${shellPath(path)}` },
  );
}

async function onReadOnlyFileSystem(path: string): Promise<boolean> {
  try {
    await access(path, constants.W_OK);
    return false;
  } catch (error) {
    return systemErrorCode(error) === 'EROFS';
  }
}
