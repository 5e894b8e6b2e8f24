import { InvalidArgumentError } from '../../errors.ts';
import { Secret } from '../../secret.ts';
import type { Environment } from '../environment.ts';
import { readMountedSecret } from './mounted-secret.ts';
import { shellPath } from './storage-error.ts';

/* Secrets that others hand over: in a file, as Docker, Kubernetes and systemd mount them, or in a variable. */

/** A key in PEM has some kilobytes, and so has a platform's token. */
const MAX_BYTES = 64 * 1024;

/** Where a secret is to be found each time that it is needed. */
export interface SecretSource {
  readonly file?: string | undefined;
  readonly variable?: string | undefined;
  /** What named the file, such as an option or a variable, for the errors. */
  readonly says?: string | undefined;
}

/**
 * The secret, without the line feed that files end with.
 *
 * @throws InvalidArgumentError when it is not there, or empty
 * @throws StorageUnreadableError when the file cannot be read; StorageUnsafeError when other users can read or write it
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
