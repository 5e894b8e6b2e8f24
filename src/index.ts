/** Holdfast: log in to an MCP server once; every process that may use the login gets a valid access token. */
export type { Credential } from './credential.ts';
export { canonicalResource } from './credential.ts';
export type { HoldfastErrorCode } from './errors.ts';
export {
  AbortedError,
  CallbackRejectedError,
  HoldfastError,
  InvalidArgumentError,
  InvalidResponseError,
  IssuerMismatchError,
  KeyUnavailableError,
  KeyringAbsentError,
  KeyringBrokenError,
  KeyringDeniedError,
  KeyringLockedError,
  LockTimeoutError,
  LockUnsupportedError,
  LoginCancelledError,
  LoginDeniedError,
  LoginRequiredError,
  LoginTimeoutError,
  NetworkError,
  NotAnMcpServerError,
  OAuthError,
  RecordDamagedError,
  RecordNewerError,
  RefreshLimitedError,
  ResponseTooLargeError,
  ServerUnsupportedError,
  StorageFullError,
  StorageUnreadableError,
  StorageUnsafeError,
  StorageUnwritableError,
  TimeoutError,
  UnsafeUrlError,
  VaultClosedError,
} from './errors.ts';
export type { Keyring, KeyringOpener, KeyringProbe, Lifetime, Tier, TierReport } from './keyring/keyring.ts';
export { Secret } from './secret.ts';
export type {
  CasResult,
  Durability,
  Lease,
  LeaseOptions,
  RecordAddress,
  RecordVersion,
  Reservation,
  Store,
  StoredRecord,
} from './store/store.ts';
export type { Environment } from './system/environment.ts';
export type {
  AccessToken,
  CredentialState,
  CredentialSummary,
  Listing,
  LoginInteraction,
  LoginOptions,
  LoginResult,
  LogoutOptions,
  LogoutResult,
  RekeyOptions,
  RekeyResult,
  TokenOptions,
  UnopenedRecord,
  VaultEvent,
} from './vault/results.ts';
export type { Vault, VaultOptions } from './vault/vault.ts';
export { openVault } from './vault/vault.ts';
