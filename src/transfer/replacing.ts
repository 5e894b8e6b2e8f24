import { type Credential, type CredentialId, isRenewable } from '../credential.ts';
import type { CredentialStore, StoredCredential } from '../credentials/credential-store.ts';
import { HoldfastError, InvalidArgumentError } from '../errors.ts';

/*
 * Decides whether a login from elsewhere may replace a stored one. One rule for hand-overs, exported logins and
 * imports: replacing a login that can be refreshed destroys its refresh token for good. So it needs the user's consent,
 * and an access token alone never does it.
 */

/** Returns the working login of that name. Ignores a record that does not open: `saveLogin` decides about that. */
export async function goodLogin(
  id: CredentialId,
  credentialStore: CredentialStore,
): Promise<StoredCredential | undefined> {
  try {
    const held = (await credentialStore.find(id))?.held;
    return held === undefined || held.credential.loginRequired !== undefined ? undefined : held;
  } catch (error) {
    if (error instanceof HoldfastError) return undefined;
    throw error;
  }
}

/** Tells whether the new login would end one that can be refreshed. */
export function endsLogin(before: StoredCredential | undefined): before is StoredCredential {
  return before !== undefined && isRenewable(before.credential);
}

/**
 * @param allowed the user has agreed to replace the stored login
 * @throws InvalidArgumentError when `next` may not replace it
 */
export function checkMayReplace(
  before: StoredCredential | undefined,
  next: Pick<Credential, 'tokens' | 'grant'>,
  allowed: boolean,
): void {
  if (!endsLogin(before)) return;
  const { resource } = before.credential;
  if (!isRenewable(next)) {
    throw new InvalidArgumentError(
      `There is a login to ${resource} here that can be refreshed, and an access token alone never replaces one.`,
      { hint: 'Give the access token a name of its own: --account LABEL' },
    );
  }
  if (allowed) return;
  throw new InvalidArgumentError(`There is a login to ${resource} here already, and it was left as it is.`, {
    hint: 'Give the other one a name of its own: --account LABEL. Or put it in the place of this one: --replace',
  });
}
