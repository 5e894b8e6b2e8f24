import { type Credential, type CredentialId, isKeyBound, isRenewable } from '../credential.ts';
import { serializeCredential } from '../credential-record.ts';
import type { StoredCredential } from '../credentials/credential-store.ts';
import type { CredentialLease, Replaced } from '../credentials/lease/credential-lease.ts';
import { loginCommand, MOVED, notLoggedIn, notLoggedInNear } from '../credentials/login-required.ts';
import type { SealedCredentialStore } from '../credentials/sealed/sealed-credential-store.ts';
import { HoldfastError, InvalidArgumentError, reworded, StorageUnwritableError } from '../errors.ts';
import { checkNothingInDoubt } from '../refresh/in-doubt.ts';
import type { ReusePolicy } from '../refresh/reuse-policy.ts';
import { Secret } from '../secret.ts';
import { accessTokenOf, checkMovable, departing, tombstoneOf } from './send.ts';
import type { ExportedLogin, ExportOptions } from './types.ts';

/*
 * Exports a login as plain text, for a program that reads it from a file or from its environment. A refresh token has
 * one holder: the export is an access token alone, or the whole login, which is then no longer stored here.
 */

/** The documented format: a record's JSON, plus this `format` member. */
export const EXPORT_FORMAT = 'holdfast-login';

export interface ExportContext {
  readonly credentialStore: SealedCredentialStore;
  readonly policy: ReusePolicy;
  /** Refreshes the stored login if it is due. */
  readonly renew: () => Promise<unknown>;
}

export async function exportLogin(
  id: CredentialId,
  options: ExportOptions,
  context: ExportContext,
): Promise<void> {
  const { credentialStore, policy } = context;
  if (options.mode !== 'move') {
    await context.renew();
    const { credential } = credentialStore.newest(await found(credentialStore, id));
    checkExportable(credential);
    await options.deliver(exported(accessTokenOf(departing(credential))));
    return;
  }
  const before = await found(credentialStore, id);
  const lease = credentialStore.lease(before);
  try {
    const current = await lease.begin(await policy.patience(before.credential, options.signal));
    if (current === undefined) throw notLoggedIn(id);
    const { credential } = current;
    checkMovable(credential);
    checkExportable(credential);
    await checkNothingInDoubt(lease, credential);
    // Reserve space for the tombstone first: a login must not leave if its move cannot be recorded.
    const room = await credentialStore.reserve(current);
    try {
      lease.fence();
      // Deliver first, then remove: whenever this process dies, the login is in at least one place.
      await options.deliver(exported(departing(credential)));
    } finally {
      await room.release();
    }
    const gone = await markMoved(lease, current);
    if (gone === 'followed') {
      throw new StorageUnwritableError(
        `Another process took over the login to ${id.resource} while it was exported; the login stays here.`,
        { hint: 'What was exported is of no use any more: export it again.' },
      );
    }
    if (gone === 'changed') {
      throw new StorageUnwritableError(
        `Somebody logged in to ${id.resource} while the login was exported; the new login stays here.`,
        { hint: 'What was exported is the login before it, which is good where it was taken to.' },
      );
    }
  } finally {
    await lease.release();
  }
}

/**
 * @throws the store's error when the tombstone could not be written; the login is then in two places, and the error
 *   says so
 */
async function markMoved(lease: CredentialLease, current: StoredCredential): Promise<Replaced> {
  const { credential } = current;
  try {
    return await lease.replace(current, tombstoneOf(credential, 'it was exported from this machine.'));
  } catch (cause) {
    // The store may have written the tombstone although its answer was lost.
    const now = await lease.look().catch(() => undefined);
    if (now?.credential.loginRequired?.error === MOVED) return now;
    if (!(cause instanceof HoldfastError)) throw cause;
    throw reworded(
      cause,
      `The login to ${credential.resource} was exported and is still here too. ${cause.message}`,
      {
        hint: 'Use one of the two: the first refresh of one ends the other. Remove what was exported, fix this, then export again.',
      },
    );
  }
}

async function found(credentialStore: SealedCredentialStore, id: CredentialId): Promise<StoredCredential> {
  const held = (await credentialStore.find(id))?.held;
  if (held === undefined) throw await notLoggedInNear(id, credentialStore);
  return held;
}

function exported(credential: Credential): ExportedLogin {
  const { resource, account, tokens } = credential;
  const { received: _received, imported: _imported, ...leaving } = credential;
  const plain = JSON.parse(Buffer.from(serializeCredential(leaving)).toString('utf8')) as object;
  return {
    json: new Secret(JSON.stringify({ format: EXPORT_FORMAT, ...plain }, null, 2)),
    accessToken: tokens.accessToken,
    resource,
    account,
    expiresAt: tokens.expiresAt,
    canRefresh: isRenewable(credential),
  };
}

function checkExportable(credential: Credential): void {
  if (!isKeyBound(credential)) return;
  const { resource, account } = credential;
  throw new InvalidArgumentError(
    `The login to ${resource} is bound to a key (DPoP, RFC 9449), which never leaves its machine in the clear.`,
    {
      hint: `Log in where it is needed: ${loginCommand(resource, account)}. Or hand it over sealed: holdfast send`,
    },
  );
}
