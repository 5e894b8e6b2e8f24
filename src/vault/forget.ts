import type { CredentialId } from '../credential.ts';
import type { Undecryptable } from '../credentials/credential-store.ts';
import type { SealedCredentialStore } from '../credentials/sealed/sealed-credential-store.ts';
import { InvalidArgumentError } from '../errors.ts';
import type { SealingKeys } from '../keyring/sealing-key.ts';
import { summaryOfUndecryptable } from './listing.ts';
import type { ForgetOptions, ForgetResult } from './types.ts';

/* Records whose key is gone: nothing can open them, so nothing can revoke them either. Only a person removes them. */

/** A refresh that is under way elsewhere ends first, at its own timeout. */
const LEASE_WAIT_MS = 100_000;

/** Whether nothing can open the record, as far as can be known from here. */
export function isGone({ error }: Undecryptable): boolean {
  return GONE.has(error.code);
}

/** Records that a person can fix, or that a newer Holdfast can read, are not gone: neither is in this list. */
const GONE = new Set(['key-unavailable', 'record-damaged']);

/**
 * Removes the records that no key opens, and no other.
 *
 * @param name of this login alone; all of them otherwise
 * @throws InvalidArgumentError where a keyring that may have the key is out of reach, unless `confirm` agrees for one login
 */
export async function forget(
  { credentialStore, keys }: { credentialStore: SealedCredentialStore; keys: SealingKeys },
  name: CredentialId | undefined,
  { confirm, signal }: Pick<ForgetOptions, 'confirm' | 'signal'>,
): Promise<ForgetResult> {
  const { undecryptable } = await credentialStore.list(name);
  const away = keys.reports().find(({ tier, outcome }) => tier === 'native' && outcome === 'passed-over');
  if (away !== undefined && (name === undefined ? undecryptable.length > 0 : undecryptable.some(isGone))) {
    const why = `The keyring ${away.id} is out of reach from here, and may have the key of these records: ${away.reason}`;
    if (name === undefined || (await confirm?.(why)) !== true) {
      throw new InvalidArgumentError(why, {
        hint:
          name === undefined
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
