import type { Credential, CredentialId } from '../credential.ts';
import type { CredentialStore } from '../credentials/credential-store.ts';
import type { SealingKeys } from '../keyring/sealing-key.ts';
import type { LoginContext } from '../login/save.ts';
import type { ServerSettings } from '../login/server-settings.ts';
import type { ReusePolicy } from '../refresh/reuse-policy.ts';
import type { SharedRefresh } from '../refresh/shared-refresh.ts';
import type { TokenProvider } from '../tokens/token-provider.ts';
import type { BackupFiles } from '../transfer/backups.ts';
import type { HandoverFiles } from '../transfer/sealed-files.ts';
import type { Vault } from './vault.ts';

/** The parts of a vault, as `openVault` connects them. */
export interface VaultParts extends LoginContext {
  readonly keysOf: (keyring: string) => SealingKeys;
  readonly policy: ReusePolicy;
  readonly settings: (name: Pick<Credential, 'resource'>) => Promise<ServerSettings>;
  readonly handover: () => Promise<HandoverFiles>;
  readonly backups: () => Promise<BackupFiles>;
  /** Opens a vault with the same settings that stores its logins in this process's memory only. */
  readonly inMemory: () => { readonly vault: Vault; readonly credentialStore: CredentialStore };
}

/** The same parts, for an operation on one login: its events name that login. */
export function partsFor(parts: VaultParts, { resource, account }: CredentialId): VaultParts {
  return { ...parts, report: (event) => parts.report({ resource, account, ...event }) };
}

/** What the operations of an open vault share. */
export interface OpenVault {
  readonly parts: VaultParts;
  readonly refresh: SharedRefresh;
  readonly tokens: TokenProvider;
  /** Aborts when the vault closes. */
  readonly closing: AbortSignal;
  /** @throws VaultClosedError */
  checkOpen(): void;
}
