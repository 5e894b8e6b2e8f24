import { dirname } from 'node:path';
import { InvalidArgumentError } from '../../errors.ts';
import { writeFileAtomically } from './atomic-file.ts';
import { checkCanMakeDirectory, exists } from './private-directory.ts';
import { shellPath } from './storage-error.ts';

/* Creates the file that the user names with --out: a new file with mode 0600, which never replaces an existing one. */

/**
 * Checks that the file can be created, before anything depends on it. Creates nothing.
 *
 * @param path absolute
 * @throws InvalidArgumentError when the path exists, or its directory does not
 * @throws StorageUnwritableError
 */
export async function checkCanCreate(path: string): Promise<void> {
  if (await exists(path, '--out')) throw taken(path);
  if (!(await exists(dirname(path), '--out'))) {
    throw new InvalidArgumentError(`There is no directory ${shellPath(dirname(path))}.`, {
      hint: `Make it: mkdir -p ${shellPath(dirname(path))}`,
    });
  }
  await checkCanMakeDirectory(path);
}

/** @throws InvalidArgumentError, StorageFullError, StorageUnwritableError */
export async function createFile(path: string, text: string): Promise<void> {
  const bytes = Buffer.from(text, 'utf8');
  const outcome = await writeFileAtomically(path, bytes, { temporary: dirname(path), exclusive: true });
  if (outcome === 'exists') throw taken(path);
}

function taken(path: string): InvalidArgumentError {
  return new InvalidArgumentError(`${shellPath(path)} is there already, and is left as it is.`, {
    hint: 'Name another file, or remove that one.',
  });
}
