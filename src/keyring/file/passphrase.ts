import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { KeyringAbsentError, KeyringBrokenError } from '../../errors.ts';
import type { Environment } from '../../system/environment.ts';
import { writeFileAtomically } from '../../system/files/atomic-file.ts';
import { readMountedSecret } from '../../system/files/mounted-secret.ts';
import type { Layout } from '../../system/files/paths.ts';
import {
  ensurePrivateDirectories,
  listPrivateDirectory,
  readPrivateFile,
} from '../../system/files/private-directory.ts';
import { shellPath } from '../../system/files/storage-error.ts';

/*
 * The passphrase of the file keyring. It is created once, 32 random bytes in hex, in its own file next to the items.
 * The environment may supply it instead, so that the key and the encrypted items can be on separate volumes.
 */

/**
 * PBKDF2 iterations. 32 random bytes need no stretching; a person's passphrase does (the format allows up to
 * 1,300,000).
 */
const MADE_ROUNDS = 8_192;
const GIVEN_ROUNDS = 600_000;

/** Maximum size of a passphrase file in bytes. A passphrase is one line; a much larger file is not a passphrase. */
const MAX_BYTES = 4_096;

export interface Passphrase {
  readonly text: string;
  /** PBKDF2 iterations for encryption with this passphrase. */
  readonly rounds: number;
  /** The source, in words for `doctor`. */
  readonly source: string;
}

/**
 * Reads the existing passphrase, supplied or created earlier; `undefined` if there is no passphrase. Creates nothing.
 *
 * @throws KeyringBrokenError when it is empty or malformed, or a file named for it cannot be read
 */
export async function readPassphrase(
  layout: Layout,
  environment: Environment,
): Promise<Passphrase | undefined> {
  return (await givenPassphrase(environment)) ?? (await madePassphrase(layout, environment));
}

/**
 * Like `readPassphrase`, but creates a missing passphrase. Among many first processes, exactly one creates it and the
 * others read it.
 *
 * @throws KeyringBrokenError also when items already exist: a second passphrase could never open them
 */
export async function obtainPassphrase(layout: Layout, environment: Environment): Promise<Passphrase> {
  const found = await readPassphrase(layout, environment);
  if (found !== undefined) return found;
  await ensurePrivateDirectories([layout.home, layout.keyring, layout.temporary], environment);
  if ((await listPrivateDirectory(layout.keyring, environment)).some((name) => name !== 'passphrase')) {
    throw new KeyringBrokenError(`${shellPath(layout.keyring)} holds items, but its passphrase is gone.`, {
      hint: `Put ${shellPath(layout.passphrase)} back from a backup, or set HOLDFAST_PASSPHRASE. Without it they cannot be opened; to start anew, move them aside: mv ${shellPath(layout.keyring)} ${shellPath(`${layout.keyring}.old`)}`,
    });
  }
  await writeFileAtomically(layout.passphrase, Buffer.from(randomBytes(32).toString('hex'), 'ascii'), {
    temporary: layout.temporary,
    exclusive: true,
  });
  const made = await madePassphrase(layout, environment);
  if (made === undefined) {
    throw new KeyringBrokenError(`${shellPath(layout.passphrase)} vanished right after it was made.`, {
      hint: 'See which program removes files there.',
    });
  }
  return made;
}

async function givenPassphrase(environment: Environment): Promise<Passphrase | undefined> {
  const { variables } = environment;
  const text = variables['HOLDFAST_PASSPHRASE'];
  if (text !== undefined) return given(text, 'HOLDFAST_PASSPHRASE');
  const file = variables['HOLDFAST_PASSPHRASE_FILE'];
  if (file) {
    const bytes = await readMountedSecret(file, environment, {
      maxBytes: MAX_BYTES,
      says: 'HOLDFAST_PASSPHRASE_FILE',
    });
    if (bytes === undefined) {
      // Another passphrase as a fallback would seal the login under a key that the user does not expect.
      throw new KeyringAbsentError(`HOLDFAST_PASSPHRASE_FILE names ${shellPath(file)}, which is not there.`, {
        hint: 'Mount the secret there, or unset the variable.',
      });
    }
    return given(firstLine(bytes), `HOLDFAST_PASSPHRASE_FILE (${shellPath(file)})`);
  }
  const credentials = variables['CREDENTIALS_DIRECTORY'];
  if (credentials) {
    const path = join(credentials, 'holdfast-passphrase');
    const bytes = await readMountedSecret(path, environment, {
      maxBytes: MAX_BYTES,
      says: '$CREDENTIALS_DIRECTORY',
    });
    if (bytes !== undefined) return given(firstLine(bytes), `$CREDENTIALS_DIRECTORY (${shellPath(path)})`);
  }
  return undefined;
}

async function madePassphrase(layout: Layout, environment: Environment): Promise<Passphrase | undefined> {
  const bytes = await readPrivateFile(layout.passphrase, environment, { maxBytes: MAX_BYTES });
  if (bytes === undefined) return undefined;
  const text = firstLine(bytes);
  if (!/^[0-9a-f]{64}$/.test(text)) {
    throw new KeyringBrokenError(
      `${shellPath(layout.passphrase)} ${text === '' ? 'is empty' : 'is not a passphrase that Holdfast made'}.`,
      {
        hint: `Put it back from a backup; it is left as it is. To start anew, and lose what it opened: mv ${shellPath(layout.keyring)} ${shellPath(`${layout.keyring}.old`)}`,
      },
    );
  }
  return { text, rounds: MADE_ROUNDS, source: shellPath(layout.passphrase) };
}

function given(text: string, source: string): Passphrase {
  if (text === '') {
    throw new KeyringBrokenError(`The passphrase that ${source} gives is empty.`, {
      hint: 'Give it a value, or unset the variable.',
    });
  }
  return { text, rounds: GIVEN_ROUNDS, source };
}

/** Secret files mostly end with a line feed that is not part of the secret. */
function firstLine(bytes: Buffer): string {
  return bytes.toString('utf8').replace(/\r?\n$/, '');
}
