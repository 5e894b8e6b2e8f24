import type { Credential, CredentialId } from '../credential.ts';
import type { StoredCredential } from '../credentials/credential-store.ts';
import type { SealedCredentialStore } from '../credentials/sealed/sealed-credential-store.ts';
import type { VaultEvent } from '../credentials/vault-event.ts';
import {
  InvalidArgumentError,
  KeyringAbsentError,
  StorageUnreadableError,
  StorageUnsafeError,
  StorageUnwritableError,
} from '../errors.ts';
import type { KeyringResolution } from '../keyring/resolve.ts';
import type { SealingKey, SealingKeys } from '../keyring/sealing-key.ts';
import type { Environment } from '../system/environment.ts';
import { defined } from '../values/defined.ts';
import type { LoginOptions } from './types.ts';

/*
 * Saves a new login: checks its storage before anybody is prompted, then writes it.
 */

export interface LoginContext {
  readonly credentialStore: SealedCredentialStore;
  readonly keys: SealingKeys;
  readonly resolution: KeyringResolution;
  readonly environment: Environment;
  readonly report: (event: VaultEvent) => void;
}

/** Finds a usable keyring and checks that a record can be written, before any prompt or token request. */
export async function checkWritable(
  context: LoginContext,
  id: CredentialId,
  options: LoginOptions,
): Promise<void> {
  const { credentialStore, keys, resolution } = context;
  if (credentialStore.isShared && (await resolution.choice()) === 'auto') {
    throw new InvalidArgumentError(
      'These logins are for many machines, and no sealing key is given that all of them have.',
      {
        hint: 'Make one, and let each process have it: holdfast key new --out FILE, then HOLDFAST_SEALING_KEY_FILE=FILE. For this machine alone, name its own keyring, such as --keyring file',
      },
    );
  }
  // Reading shows which keyrings work, without creating a key.
  const found = new Map<string, SealingKey>();
  for await (const key of keys.reachable()) found.set(key.keyringId, key);
  for await (const { keyring, lifetime } of resolution.usable()) {
    if (lifetime === 'process') allowMemory(context, options);
    const key = found.get(keyring.id);
    if (key !== undefined) await credentialStore.checkReplaceable(key, id);
    await credentialStore.selfTest(lifetime);
    return;
  }
  throw new KeyringAbsentError('No keyring at all can be used here.', { hint: 'See: holdfast doctor' });
}

/** Reports that the login will not outlive this process; throws if the caller requires persistence. */
function allowMemory({ keys, report }: LoginContext, { requirePersistence }: LoginOptions): void {
  const message = 'No keyring here can keep a login: nothing would survive this process.';
  const reasons = keys.problems().map((problem) => problem.message);
  if (requirePersistence === true) {
    // If the directory causes the problem, throw its error: the user can fix that.
    const storage = keys
      .problems()
      .map(({ cause }) => cause)
      .find(
        (cause) =>
          cause instanceof StorageUnsafeError ||
          cause instanceof StorageUnwritableError ||
          cause instanceof StorageUnreadableError,
      );
    if (storage !== undefined) throw storage;
    throw new KeyringAbsentError([message, ...reasons].join(' '), {
      hint: 'holdfast doctor says what each keyring lacks. To log in all the same, until this process ends: --allow-memory',
    });
  }
  report(defined({ type: 'memory-only', message, hint: reasons.join(' ') || undefined }));
}

/** Seals a new login with the strongest keyring, and replaces the stored login of that name. */
export async function saveLogin(
  context: LoginContext,
  id: CredentialId,
  options: LoginOptions,
  make: (generation: number) => Credential,
): Promise<StoredCredential> {
  const { credentialStore, keys, report } = context;
  const expected = keys.problems().length;
  const key = await keys.strongest();
  // A keyring that can be read may still refuse the new key, and then the next one may be memory.
  if (key.lifetime === 'process' && keys.problems().length > expected) allowMemory(context, options);
  const { held, quarantined } = await credentialStore.save(key, id, make);
  if (quarantined !== undefined) {
    report({
      type: 'quarantined',
      message: `The record that was there did not open. It was moved to ${quarantined}.`,
    });
  }
  return held;
}
