import { constants, promises, type Stats } from 'node:fs';
import { StorageUnsafeError } from '../../errors.ts';
import type { Environment } from '../environment.ts';
import { readGivenFile } from './given-file.ts';
import { shellPath, systemErrorCode } from './storage-error.ts';

/**
 * Reads the whole secret file that a platform mounts or a person provides, at each call, from the disk. Links are
 * followed: Kubernetes mounts secrets as links, and swaps them. One rule applies to all such files: keys, passphrases,
 * client secrets, tokens.
 *
 * - No other user may write the file: a user who can change a key chooses who can read the data that it seals.
 * - No other user may read a file that this user owns. Its group may, since the operator chose the group (0640,
 *   `fsGroup`).
 * - For a file of another user, or on a read-only file system, the operator who mounted it decides who may read it:
 *   Docker uses 0444, Kubernetes 0644.
 *
 * @param options.pipes whether to accept a pipe; default `false`
 * @param options.says the source of the file name, such as a variable, for the errors
 * @returns `undefined` when the file does not exist
 * @throws StorageUnsafeError, StorageUnreadableError
 */
export async function readMountedSecret(
  path: string,
  environment: Environment,
  options: { readonly maxBytes: number; readonly pipes?: boolean; readonly says?: string | undefined },
): Promise<Buffer | undefined> {
  const { uid } = environment;
  return readGivenFile(path, {
    pipes: false,
    ...options,
    check: async (stats) => {
      if (uid !== undefined) await checkModes(path, stats, uid, options.says);
    },
  });
}

async function checkModes(path: string, stats: Stats, uid: number, says: string | undefined): Promise<void> {
  const mode = stats.mode & 0o7777;
  if ((mode & 0o026) === 0) return;
  if ((mode & 0o022) === 0 && (stats.uid !== uid || (await onReadOnlyFileSystem(path)))) return;
  const can = (mode & 0o022) === 0 ? 'read' : 'write';
  const named = says === undefined ? shellPath(path) : `${says} names ${shellPath(path)}, which`;
  throw new StorageUnsafeError(
    `${named} is open to other users, who can ${can} the secret (mode ${mode.toString(8).padStart(4, '0')}).`,
    { hint: `Close it: chmod 600 ${shellPath(path)}` },
  );
}

async function onReadOnlyFileSystem(path: string): Promise<boolean> {
  try {
    await promises.access(path, constants.W_OK);
    return false;
  } catch (error) {
    return systemErrorCode(error) === 'EROFS';
  }
}
