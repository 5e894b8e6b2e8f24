import { InvalidArgumentError } from '../errors.ts';
import type { ExportedLogin } from '../transfer/types.ts';

/** Another program's store that an exported login is written into. */
export interface Recipient {
  readonly title: string;
  /** The login's future location, shown to the user. */
  readonly context: string;
  /**
   * Checks that the store can be written, before the login is at risk. Writes no login.
   *
   * @throws InvalidArgumentError if a login exists that must not be replaced
   */
  check(): Promise<void>;
  /**
   * Writes the login in one step or not at all.
   *
   * @throws the errors of `check`, too
   */
  put(login: ExportedLogin): Promise<void>;
}

export function hasOneAlready(title: string, resource: string): InvalidArgumentError {
  return new InvalidArgumentError(`${title} has a login to ${resource} already, and it was left as it is.`, {
    hint: 'To put this one in its place: --replace',
  });
}
