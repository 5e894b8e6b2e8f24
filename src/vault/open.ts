import type { Credential } from '../credential.ts';
import { OutboxFiles } from '../credentials/outbox/outbox-files.ts';
import { SealedCredentialStore } from '../credentials/sealed/sealed-credential-store.ts';
import type { VaultEvent } from '../credentials/vault-event.ts';
import { withDisplayUrls } from '../display-url.ts';
import { SealingKeys } from '../keyring/sealing-key.ts';
import { ReusePolicy } from '../refresh/reuse-policy.ts';
import { MemoryStore } from '../store/memory.ts';
import { processEnvironment } from '../system/environment.ts';
import type { BackupFiles } from '../transfer/backups.ts';
import type { HandoverFiles } from '../transfer/sealed-files.ts';
import { SealedVault } from './sealed-vault.ts';
import { homeOf, openParts } from './storage.ts';
import type { Vault, VaultOptions } from './vault.ts';
import type { VaultParts } from './vault-parts.ts';

/** Time limit for a revocation, in milliseconds: a server that hangs must not delay what follows a logout. */
const REVOCATION_TIMEOUT_MS = 10_000;

/**
 * Opens the vault. It touches neither disk nor keyring until the first call that needs them.
 *
 * @throws InvalidArgumentError when a directory is not absolute, or no store or keyring has the chosen name
 */
export function openVault(options: VaultOptions = {}): Vault {
  return new SealedVault(vaultParts(options));
}

/** Makes and connects the parts of a vault. */
function vaultParts(options: VaultOptions): VaultParts {
  const environment = options.environment ?? processEnvironment();
  const home = homeOf(options, environment);
  const { layout, resolve, resolution, keys, persistent } = openParts(options, environment, home);
  const settings = async ({ resource }: Pick<Credential, 'resource'>) =>
    (await import('../login/server-settings.ts')).serverSettings(resource, home, environment);
  const report = (event: VaultEvent) =>
    options.onEvent?.({
      ...event,
      message: withDisplayUrls(event.message),
      ...(event.hint === undefined ? {} : { hint: withDisplayUrls(event.hint) }),
    });
  const policy = new ReusePolicy(async (credential) => (await settings(credential)).replay);
  const credentialStore = new SealedCredentialStore({
    persistent,
    ephemeral: new MemoryStore(),
    keys,
    files: new OutboxFiles(layout, environment),
    report,
    newestCountsForMs: (credential) => policy.newestCountsForMs(credential),
    revoke: async (credential) => {
      const { revokeTokens } = await import('../refresh/revoke.ts');
      await revokeTokens(credential, { timeoutMs: REVOCATION_TIMEOUT_MS, environment });
    },
  });
  let handover: Promise<HandoverFiles> | undefined;
  let backups: Promise<BackupFiles> | undefined;
  const { openers: _native, ...others } = options;
  return {
    credentialStore,
    policy,
    keys,
    keysOf: (keyring) => new SealingKeys(resolve(keyring), layout, environment),
    resolution,
    settings,
    environment,
    report,
    handover: () =>
      (handover ??= import('../transfer/sealed-files.ts').then(
        ({ HandoverFiles }) => new HandoverFiles({ keys, layout, environment }),
      )),
    backups: () =>
      (backups ??= import('../transfer/backups.ts').then(
        ({ BackupFiles }) => new BackupFiles({ keys, layout, environment }),
      )),
    inMemory: () => {
      const parts = vaultParts({
        ...others,
        keyring: 'memory',
        store: new MemoryStore(),
        onEvent: (event) => (event.type === 'memory-only' ? undefined : report(event)),
      });
      return { vault: new SealedVault(parts), credentialStore: parts.credentialStore };
    },
  };
}
