import { InvalidArgumentError } from '../errors.ts';
import type { ExportedLogin } from '../transfer/types.ts';

/** A program's own store that an exported login is written into. */
export interface Recipient {
  readonly title: string;
  /** Where the login will lie; shown to the person. */
  readonly context: string;
  /**
   * Whether it can be written, before anything is at stake. Writes no login.
   *
   * @throws InvalidArgumentError where there is a login already that is not to be replaced
   */
  check(): Promise<void>;
  /** Writes it, in one step or not at all. Throws what `check` throws, too. */
  put(login: ExportedLogin): Promise<void>;
}

export function hasOneAlready(title: string, resource: string): InvalidArgumentError {
  return new InvalidArgumentError(`${title} has a login to ${resource} already, and it was left as it is.`, {
    hint: 'To put this one in its place: --replace',
  });
}
