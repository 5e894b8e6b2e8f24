import { type Credential, type CredentialId, isRenewable } from '../credential.ts';
import type { CredentialStore, StoredCredential } from '../credentials/credential-store.ts';
import { HoldfastError, InvalidArgumentError } from '../errors.ts';

/*
 * Whether a login that came from elsewhere may take the place of one that is here. One rule for hand-overs, exported logins
 * and imports: a login that can be refreshed is lost for good with its refresh token, so only the user's word replaces it,
 * and an access token alone never does.
 */

/** The login of that name that still serves; what cannot be opened is for `keep` to judge. */
export async function goodLogin(
  name: CredentialId,
  credentialStore: CredentialStore,
): Promise<StoredCredential | undefined> {
  try {
    const held = (await credentialStore.find(name))?.held;
    return held === undefined || held.credential.loginRequired !== undefined ? undefined : held;
  } catch (error) {
    if (error instanceof HoldfastError) return undefined;
    throw error;
  }
}

/** Whether `next` would end a login that can be refreshed. */
export function endsLogin(before: StoredCredential | undefined): before is StoredCredential {
  return before !== undefined && isRenewable(before.credential);
}

/**
 * @param allowed the user has said that the login that is here may be replaced
 * @throws InvalidArgumentError where `next` may not stand in its place
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
