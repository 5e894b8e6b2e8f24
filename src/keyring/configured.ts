import { InvalidArgumentError } from '../errors.ts';
import type { Environment } from '../system/environment.ts';
import type { Layout } from '../system/files/paths.ts';
import { readSettings } from '../system/files/settings-file.ts';

/**
 * Reads the keyring's name from `config.json`, if the file exists and sets one. Ignores the other fields.
 *
 * @throws InvalidArgumentError when the file is not JSON, or the field is not a name
 * @throws StorageUnsafeError when other users can change the file
 */
export async function configuredKeyring(
  layout: Layout,
  environment: Environment,
): Promise<string | undefined> {
  const file = await readSettings(layout, environment);
  const keyring = file?.settings['keyring'];
  if (file === undefined || keyring === undefined) return undefined;
  if (typeof keyring !== 'string' || keyring === '') {
    throw new InvalidArgumentError(`${file.path}: "keyring" is not the name of a keyring.`, {
      hint: 'Write one, such as "keyring": "file", or remove the field.',
    });
  }
  return keyring;
}
