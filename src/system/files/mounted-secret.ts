import { constants, type Stats } from 'node:fs';
import { access } from 'node:fs/promises';
import { StorageUnsafeError } from '../../errors.ts';
import type { Environment } from '../environment.ts';
import { readGivenFile } from './private-directory.ts';
import { shellPath, systemErrorCode } from './storage-error.ts';

/**
 * Reads a secret that a platform mounts, or a person laid out, as a whole and each time from the disk. Links are followed:
 * Kubernetes mounts secrets as such, and swaps them. One rule for every such file: keys, passphrases, client secrets, tokens.
 *
 * - Nobody else may write it: who can change a key chooses who reads what it seals.
 * - No other user may read a file of one's own; its group may, as the operator chose the group (0640, `fsGroup`).
 * - Where it belongs to another user, or lies on a read-only file system, whoever mounted it decided who may read it:
 *   Docker has 0444, Kubernetes 0644.
 *
 * @param options.pipes whether a pipe will do; default `false`
 * @param options.says what named the file, such as a variable, for the errors
 * @returns `undefined` when it is not there
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
    await access(path, constants.W_OK);
    return false;
  } catch (error) {
    return systemErrorCode(error) === 'EROFS';
  }
}
