import { type Credential, CredentialId, DEFAULT_ACCOUNT, withOtherSlash } from '../credential.ts';
import { LoginRequiredError } from '../errors.ts';
import { shellPath } from '../system/files/storage-error.ts';
import type { CredentialStore } from './credential-store.ts';

/* Why a credential needs a person, and the command that fixes it. */

/** The `error` of a record whose login moved to another machine, instead of a server's error. */
export const MOVED = 'moved';

type Named = Pick<Credential, 'resource' | 'account'>;

/** The shell command that fixes a missing login. */
export function loginCommand(resource: string, account: string): string {
  return `holdfast login ${shellPath(resource)}${account === DEFAULT_ACCOUNT ? '' : ` --account ${shellPath(account)}`}`;
}

/** The error when nobody has logged in, or somebody has logged out. */
export function notLoggedIn({ resource, account }: Named): LoginRequiredError {
  const whose = account === DEFAULT_ACCOUNT ? '' : ` for the account ${account}`;
  return new LoginRequiredError(`There is no login to ${resource}${whose}.`, {
    hint: `Log in: ${loginCommand(resource, account)}`,
  });
}

/** Like `notLoggedIn`, but names the login whose URL differs only by a trailing slash, if there is one. */
export async function notLoggedInNear(
  id: CredentialId,
  store: Pick<CredentialStore, 'kidsOf'>,
): Promise<LoginRequiredError> {
  const near = await loginNear(id, store);
  if (near === undefined) return notLoggedIn(id);
  const { message, hint } = notLoggedIn(id);
  return new LoginRequiredError(
    `${message} There is one to ${near}: the slash at the end makes another URL.`,
    {
      hint: `Use ${near}, or ${hint?.replace('Log in', 'log in')}`,
    },
  );
}

/** The resource that differs from this one only by a trailing slash, if there is a login to it. */
export async function loginNear(
  { resource, account }: CredentialId,
  store: Pick<CredentialStore, 'kidsOf'>,
): Promise<string | undefined> {
  const near = withOtherSlash(resource);
  if (near === undefined) return undefined;
  // Only a hint for the user. The store's failure is reported elsewhere.
  const kids = await store.kidsOf(CredentialId.of(near, account).recordId).catch(() => []);
  return kids.length === 0 ? undefined : near;
}

/** The error when the server refused the refresh token. */
export function refused({ resource, account, loginRequired }: Credential): LoginRequiredError {
  const since = loginRequired && new Date(loginRequired.since).toISOString();
  return new LoginRequiredError(
    `The login to ${resource} has ended${since ? ` (${since})` : ''}: ${loginRequired?.reason ?? 'the server refused it'}`,
    { hint: again({ resource, account }) },
  );
}

/** The error when the access token has expired and there is nothing to refresh it with. */
export function cannotRefresh(name: Named & Pick<Credential, 'received' | 'imported'>): LoginRequiredError {
  if (name.received?.mode === 'access-token') {
    return new LoginRequiredError(
      `The access token of ${name.resource} that was sent to this machine has expired; it came alone, as it was meant to.`,
      { hint: `Have another one sent: holdfast receive ${shellPath(name.resource)}` },
    );
  }
  if (name.imported?.mode === 'access-token') {
    return new LoginRequiredError(
      `The access token for ${name.resource} that ${name.imported.from} had has expired; it came here alone, as it was meant to.`,
      { hint: again(name) },
    );
  }
  return new LoginRequiredError(
    `The access token of ${name.resource} has expired, and the server gave no refresh token with it.`,
    { hint: again(name) },
  );
}

/** The error when the record disappeared during the operation. */
export function loggedOut(name: Named): LoginRequiredError {
  return new LoginRequiredError(`The login to ${name.resource} was removed meanwhile.`, {
    hint: again(name),
  });
}

function again({ resource, account }: Named): string {
  return `Log in again: ${loginCommand(resource, account)}`;
}
