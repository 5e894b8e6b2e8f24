import type { Credential } from '../credential.ts';
import type { CredentialLease } from '../credentials/lease/credential-lease.ts';
import { LockTimeoutError } from '../errors.ts';
import { shellPath } from '../system/files/storage-error.ts';
import { RetryState } from './retry-state.ts';

/**
 * Checks that a login that leaves this machine is in its newest state. If the last holder of its lease went silent
 * during a request, or got no answer, its refresh token may be used up and the answer may still arrive.
 *
 * @throws LockTimeoutError in that case; the next refresh settles it
 */
export async function checkNothingInDoubt(lease: CredentialLease, credential: Credential): Promise<void> {
  const retry = RetryState.read(lease.note, credential, lease.now());
  const since = retry.abandonedAt ?? lease.abandonedAt;
  if (since === undefined && !retry.isInDoubt) return;
  // Keeps the doubt in the note for the next holder, until the tokens change.
  if (since !== undefined) await lease.leave(retry.sending(since).noteText);
  const { resource } = credential;
  const what =
    since === undefined
      ? `The last refresh of the login to ${resource} got no answer`
      : `A process went silent while it refreshed the login to ${resource}`;
  throw new LockTimeoutError(`${what}, so the tokens here may be used up. Nothing left this machine.`, {
    hint: `Have it refreshed first, then try again: holdfast token ${shellPath(resource)}`,
  });
}
