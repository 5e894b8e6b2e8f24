import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { StorageUnreadableError } from '../errors.ts';
import type { Environment } from '../system/environment.ts';
import { removeFileDurably, sweepTemporaries, writeFileAtomically } from '../system/files/atomic-file.ts';
import { readPrivateFile } from '../system/files/private-directory.ts';
import { shellPath } from '../system/files/storage-error.ts';

/* The test of a directory store before a login is trusted to it. */

/** A temporary file older than this belongs to a dead process, because no write takes that long. In milliseconds. */
const ABANDONED_AFTER_MS = 60 * 60 * 1000;

/**
 * Staged records live longer, in milliseconds: one may hold the only copy of a server's answer (see outbox-files.ts).
 * 90 days is how long that answer is likely to stay valid.
 */
const STAGED_RECORD_KEPT_MS = 90 * 24 * 60 * 60 * 1000;

/**
 * Removes the temporary files of dead processes. Then writes a file as large as a record, reads it back and removes it.
 *
 * @throws StorageFullError, StorageUnwritableError; StorageUnreadableError when the file came back different
 */
export async function testDirectory(temporary: string, environment: Environment): Promise<void> {
  await sweepTemporaries(temporary, (name) =>
    name.includes('.jwe.') ? STAGED_RECORD_KEPT_MS : ABANDONED_AFTER_MS,
  );
  // As large as a record: a nearly full disk accepts a small file and refuses the credential.
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
