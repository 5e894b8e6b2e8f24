/** Holdfast: log in to an MCP server once; every process that may use the login gets a valid access token. */
export type { AssertionSource, ClientAuthMethod } from './credential.ts';
export { canonicalResource } from './credential.ts';
export type { VaultEvent } from './credentials/vault-event.ts';
export type { AnyHoldfastError, HoldfastErrorCode, HoldfastErrorOptions } from './errors.ts';
export {
  AbortedError,
  CallbackRejectedError,
  HandoverDamagedError,
  HandoverExpiredError,
  HandoverMismatchError,
  HandoverNewerError,
  HandoverOpenedError,
  HandoverWrongKeyError,
  HoldfastError,
  InsufficientScopeError,
  InvalidArgumentError,
  InvalidResponseError,
  IssuerMismatchError,
  isHoldfastError,
  KeyringAbsentError,
  KeyringBrokenError,
  KeyringDeniedError,
  KeyringLockedError,
  KeyUnavailableError,
  LeaseLostError,
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
  StoreDeniedError,
  StoreUnreachableError,
  StoreUnsuitableError,
  TimeoutError,
  TokenRenewedError,
  UnsafeUrlError,
  VaultClosedError,
} from './errors.ts';
export type { TransferMode } from './handover/transfer-mode.ts';
export type { Keyring, KeyringOpener, KeyringProbe, Lifetime, Tier, TierReport } from './keyring/keyring.ts';
export type {
  ClientOptions,
  CredentialState,
  CredentialSummary,
  DeviceCode,
  GrantOptions,
  LoginHosts,
  LoginInteraction,
  LoginOptions,
  LoginResult,
} from './login/types.ts';
export type { Leniency } from './oauth/leniency.ts';
export type {
  RefreshedLogin,
  RefresherOptions,
  RefresherResult,
  RefresherStates,
} from './refresh/refresher-options.ts';
export { Secret } from './secret.ts';
export type {
  CasResult,
  Durability,
  Lease,
  LeaseOptions,
  RecordAddress,
  RecordIndex,
  RecordStore,
  RecordVersion,
  Reservation,
  StoredRecord,
  WriteOptions,
} from './store/record-store.ts';
export type { Environment } from './system/environment.ts';
export type { WaitOptions } from './system/locks/keyed-mutex.ts';
export type { UnseenLease } from './system/locks/lease-file.ts';
export type { RefresherState } from './system/metric-channel.ts';
export type { MachineUse } from './system/os/machine-note.ts';
export type {
  AccessToken,
  HeadersOptions,
  ProofRequest,
  TokenHeaders,
  TokenOptions,
} from './tokens/access-token.ts';
export type {
  Backup,
  Backups,
  ExportedLogin,
  ExportOptions,
  ExternalClient,
  ExternalFile,
  ExternalLogin,
  HandoverInvitation,
  ImportOptions,
  ImportResult,
  InviteOptions,
  NamedIssuer,
  ReceiveOffer,
  ReceiveOptions,
  ReceiveResult,
  SendOptions,
  SendResult,
} from './transfer/types.ts';
export { openVault } from './vault/open.ts';
export type {
  EngineUrl,
  ForgetOptions,
  ForgetResult,
  Listing,
  LogoutOptions,
  LogoutResult,
  RekeyOptions,
  RekeyResult,
  StoreName,
  UndecryptableRecord,
} from './vault/types.ts';
export type { Vault, VaultAdmin, VaultOptions, VaultTransfer } from './vault/vault.ts';
