import { KeyringAbsentError } from '../../errors.ts';

/**
 * Loads a package that is installed by those alone who need it.
 *
 * @throws KeyringAbsentError, naming the package, when it is not here
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
