import { KeyringAbsentError } from '../../errors.ts';

/**
 * Loads an optional package, which only some users install.
 *
 * @throws KeyringAbsentError, with the package's name, when the package is not installed or cannot be loaded
 */
export async function optionalPackage<T>(name: string, load: () => Promise<T>): Promise<T> {
  try {
    return await load();
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
    const missing = code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND';
    throw new KeyringAbsentError(
      `The package ${name}, which this keyring needs, ${missing ? 'is not installed' : 'cannot be loaded'}.`,
      { cause, hint: `npm install ${name}` },
    );
  }
}
