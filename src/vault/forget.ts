import type { CredentialId } from '../credential.ts';
import type { Undecryptable } from '../credentials/credential-store.ts';
import type { SealedCredentialStore } from '../credentials/sealed/sealed-credential-store.ts';
import { InvalidArgumentError } from '../errors.ts';
import type { SealingKeys } from '../keyring/sealing-key.ts';
import { summaryOfUndecryptable } from './listing.ts';
import type { ForgetOptions, ForgetResult } from './types.ts';

/* Records whose key is lost: no process can open them, so none can revoke them either. Only a person removes them. */

/** Time limit for the wait for another process's refresh, in milliseconds: the refresh has its own timeout. */
const LEASE_WAIT_MS = 100_000;

/** Whether no key can open the record, as far as this machine knows. */
export function isGone({ error }: Undecryptable): boolean {
  return GONE.has(error.code);
}

/** Leaves out errors that a person can fix, and records that a newer Holdfast can read. */
const GONE = new Set(['key-unavailable', 'record-damaged']);

/**
 * Removes only the records that no key can open.
 *
 * @param id limits it to this login; otherwise all logins
 * @throws InvalidArgumentError when a keyring that may have the key is unreachable, unless `confirm` agrees for one
 * login
 */
export async function forget(
  { credentialStore, keys }: { credentialStore: SealedCredentialStore; keys: SealingKeys },
  id: CredentialId | undefined,
  { confirm, signal }: Pick<ForgetOptions, 'confirm' | 'signal'>,
): Promise<ForgetResult> {
  const { undecryptable } = await credentialStore.list(id);
  const away = keys.reports().find(({ tier, outcome }) => tier === 'native' && outcome === 'passed-over');
  if (away !== undefined && (id === undefined ? undecryptable.length > 0 : undecryptable.some(isGone))) {
    const why = `The keyring ${away.id} is out of reach from here, and may have the key of these records: ${away.reason}`;
    if (id === undefined || (await confirm?.(why)) !== true) {
      throw new InvalidArgumentError(why, {
        hint:
          id === undefined
            ? 'Run it where that keyring works, or remove one login: holdfast logout URL --forget'
            : 'Run it where that keyring works, such as in the desktop session. If its key is gone for good, add: --yes',
      });
    }
  }
  const removed: Undecryptable[] = [];
  const kept: Undecryptable[] = [];
  for (const record of undecryptable) {
    if (!isGone(record)) kept.push(record);
    else if (await removeUnder(credentialStore, record, signal)) removed.push(record);
  }
  return { removed: removed.map(summaryOfUndecryptable), kept: kept.map(summaryOfUndecryptable) };
}

async function removeUnder(
  { recordStore }: SealedCredentialStore,
  { id, kid }: Undecryptable,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const lease = await recordStore.lock(id, { waitMs: LEASE_WAIT_MS, signal });
  try {
    return await recordStore.remove({ id, kid });
  } finally {
    await lease.release();
  }
}
