import type { CredentialId } from '../../credential.ts';
import {
  type HoldfastError,
  KeyringBrokenError,
  KeyringDeniedError,
  KeyringLockedError,
  KeyUnavailableError,
  RecordDamagedError,
  retryable,
} from '../../errors.ts';
import { loginCommand } from '../login-required.ts';

export function damaged(error: RecordDamagedError, id: CredentialId | undefined): RecordDamagedError {
  if (id === undefined) return error;
  return new RecordDamagedError(`The stored login to ${id.resource} is damaged. ${error.message}`, {
    cause: error,
    hint: `Put the record back from a backup, or log in again: ${loginCommand(id.resource, id.account)} (the damaged record is then moved to quarantine/, not deleted).`,
  });
}

/** The hint for a record that no key opens; such a record does not reveal its login. */
export const FORGET = 'remove it, if its key is gone for good: holdfast logout --forget';

/**
 * The error for a record without a reachable key. Reasons that a person can fix come first.
 *
 * @param instead what else to do, for the end of a sentence
 */
export function unreachable(
  what: string,
  problems: readonly HoldfastError[],
  instead: string,
): HoldfastError {
  const sealed = `${what} is sealed under a key that cannot be read now.`;
  for (const Problem of [KeyringLockedError, KeyringDeniedError, KeyringBrokenError]) {
    const problem = problems.find((candidate) => candidate instanceof Problem);
    if (problem) {
      const error = new Problem(`${sealed} ${problem.message}`, {
        cause: problem,
        ...(problem.hint === undefined ? {} : { hint: problem.hint }),
      });
      return problem.retryable ? retryable(error) : error;
    }
  }
  const reasons = problems.map((problem) => ` ${problem.message}`).join('');
  return new KeyUnavailableError(`${sealed}${reasons}`, {
    hint: `Run Holdfast where that login was made (the same desktop session and passphrase), or ${instead}`,
  });
}
