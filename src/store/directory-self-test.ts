import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { StorageUnreadableError } from '../errors.ts';
import type { Environment } from '../system/environment.ts';
import { removeFileDurably, sweepTemporaries, writeFileAtomically } from '../system/files/atomic-file.ts';
import { readPrivateFile } from '../system/files/private-directory.ts';
import { shellPath } from '../system/files/storage-error.ts';

/* What a directory store tries before a login is trusted to it. */

/** A temporary file older than this belongs to a process that died; no write takes so long. */
const ABANDONED_AFTER_MS = 60 * 60 * 1000;

/** But a staged record may hold the only copy of what a server gave (see credentials/outbox/): for as long as that is likely to be good. */
const STAGED_RECORD_KEPT_MS = 90 * 24 * 60 * 60 * 1000;

/**
 * Sweeps the temporary files that processes left which died, then writes a file of the size of a record, reads it back and
 * removes it.
 *
 * @throws StorageFullError, StorageUnwritableError; StorageUnreadableError when the file came back different
 */
export async function testDirectory(temporary: string, environment: Environment): Promise<void> {
  await sweepTemporaries(temporary, (name) =>
    name.includes('.jwe.') ? STAGED_RECORD_KEPT_MS : ABANDONED_AFTER_MS,
  );
  // A disk with a few bytes left would take a smaller file, and then refuse the credential.
  const written = randomBytes(8 * 1024);
  const path = join(temporary, `rehearsal.${randomBytes(6).toString('hex')}`);
  try {
    await writeFileAtomically(path, written, { temporary });
    const found = await readPrivateFile(path, environment, { maxBytes: written.length });
    if (found === undefined || !found.equals(written)) {
      throw new StorageUnreadableError(`What was written to ${shellPath(temporary)} came back different.`, {
        hint: 'The disk or its file system is failing: set HOLDFAST_HOME to a directory on another one.',
      });
    }
  } finally {
    await removeFileDurably(path);
  }
}
