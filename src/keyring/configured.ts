import { InvalidArgumentError } from '../errors.ts';
import type { Environment } from '../system/environment.ts';
import type { Layout } from '../system/files/paths.ts';
import { readSettings } from '../system/files/settings-file.ts';

/**
 * The keyring that `config.json` names, if there is such a file and it names one. Its other fields are not looked at.
 *
 * @throws InvalidArgumentError when it is not JSON, or the field is not a name
 * @throws StorageUnsafeError when others may change it
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
