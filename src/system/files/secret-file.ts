import { InvalidArgumentError } from '../../errors.ts';
import { Secret } from '../../secret.ts';
import type { Environment } from '../environment.ts';
import { readMountedSecret } from './mounted-secret.ts';
import { shellPath } from './storage-error.ts';

/*
 * Reads secrets that other programs provide in a variable or in a file, as Docker, Kubernetes and systemd mount them.
 */

/** A PEM key or a platform's token has a few kilobytes. */
const MAX_BYTES = 64 * 1024;

/** The source of a secret, which is read again at each use. */
export interface SecretSource {
  readonly file?: string | undefined;
  readonly variable?: string | undefined;
  /** The source of the file name, such as an option or a variable, for the errors. */
  readonly says?: string | undefined;
}

/**
 * Reads the secret, without the line feed at the end of a file.
 *
 * @throws InvalidArgumentError when the secret is missing or empty
 * @throws StorageUnreadableError when the file cannot be read
 * @throws StorageUnsafeError when other users can read or write the file
 */
export async function readSecret(
  { file, variable, says }: SecretSource,
  environment: Environment,
): Promise<Secret> {
  if (file !== undefined) return await readSecretFile(file, says, environment);
  const { variables } = environment;
  const value =
    variable !== undefined && Object.hasOwn(variables, variable) ? variables[variable] : undefined;
  if (value) return new Secret(value);
  throw new InvalidArgumentError(
    `The variable ${variable ?? '(none)'}, which should hold a secret, is not set.`,
    {
      hint: `export ${variable ?? 'NAME'}=…, or name a file that holds it.`,
    },
  );
}

async function readSecretFile(
  path: string,
  says: string | undefined,
  environment: Environment,
): Promise<Secret> {
  const bytes = await readMountedSecret(path, environment, { maxBytes: MAX_BYTES, pipes: true, says });
  const text = bytes?.toString('utf8').replace(/\r?\n$/, '');
  if (text) return new Secret(text);
  const named = says === undefined ? shellPath(path) : `${says} names ${shellPath(path)}. It`;
  const state = text === undefined ? 'is not there' : 'is empty';
  throw new InvalidArgumentError(
    says === undefined
      ? `${named}, which should hold a secret, ${state}.`
      : `${named} should hold a secret, and ${state}.`,
    { hint: 'Name the file that it is in.' },
  );
}
