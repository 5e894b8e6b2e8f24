import type { VaultEvent } from '../credentials/vault-event.ts';
import type { KeyringOpener, TierReport } from '../keyring/keyring.ts';
import type { LoginOptions, LoginResult } from '../login/types.ts';
import type { RefresherOptions, RefresherResult } from '../refresh/refresher-options.ts';
import type { Secret } from '../secret.ts';
import type { RecordIndex, RecordStore } from '../store/record-store.ts';
import type { Environment } from '../system/environment.ts';
import type { AccessToken, HeadersOptions, TokenHeaders, TokenOptions } from '../tokens/access-token.ts';
import type {
  Backups,
  ExportOptions,
  ExternalFile,
  ExternalLogin,
  HandoverInvitation,
  ImportOptions,
  ImportResult,
  InviteOptions,
  NamedIssuer,
  ReceiveOptions,
  ReceiveResult,
  SendOptions,
  SendResult,
} from '../transfer/types.ts';
import type {
  ForgetOptions,
  ForgetResult,
  Listing,
  LogoutOptions,
  LogoutResult,
  RekeyOptions,
  RekeyResult,
  StoreName,
} from './types.ts';

export interface VaultOptions {
  /** The directory for all data, as an absolute path; else `$HOLDFAST_HOME` and its defaults. */
  readonly home?: string;
  /**
   * `auto`, `native`, `file`, `memory` or a keyring's id; else `$HOLDFAST_KEYRING`, else `config.json`, else `auto`.
   */
  readonly keyring?: string;
  /** The keyrings to choose from, the strongest first, instead of this platform's. */
  readonly openers?: readonly KeyringOpener[];
  /**
   * The store for the records: `directory`, under `home`; `docker-agent`, that program's own files; a `postgres://` or
   * `redis://` URL; or the caller's own store. Else `$HOLDFAST_STORE`, else `directory`.
   */
  readonly store?: RecordStore | StoreName;
  /** docker-agent's configuration directory, as an absolute path; else `~/.config/cagent`. */
  readonly dockerAgentDir?: string;
  /** Receives events that no caller waits for; must not throw. */
  readonly onEvent?: (event: VaultEvent) => void;
  readonly environment?: Environment;
}

/** Stores logins to MCP servers sealed, and refreshes each exactly once. Made by `openVault`. */
export interface Vault {
  /**
   * Returns a valid access token, refreshed when it is due. It waits while another process or caller refreshes it.
   *
   * @param resource the MCP server's URL, in any spelling
   * @throws LoginRequiredError when only a person can fix it
   * @throws KeyringLockedError, KeyringDeniedError, KeyringBrokenError, KeyUnavailableError when the record cannot be
   * opened
   * @throws NetworkError, TimeoutError, LockTimeoutError (`retryable`) when the token has expired and could not be
   * refreshed now
   * @throws AbortedError for the caller's signal
   */
  token(resource: string, options?: TokenOptions): Promise<AccessToken>;

  /**
   * Returns the headers for a request to that server. Throws what `token` throws.
   *
   * @throws InvalidArgumentError when the token is bound to a key and `request` is not given
   */
  headers(resource: string, options?: HeadersOptions): Promise<TokenHeaders>;

  /**
   * Logs in, by the browser (OAuth 2.1 authorization code with PKCE) or by a grant that needs no person. It stores the
   * credential under the strongest keyring that works here, and replaces the earlier one after the login has succeeded.
   * Options that are not given come from `config.json` and the environment.
   */
  login(resource: string, options: LoginOptions): Promise<LoginResult>;

  /** Revokes the tokens at the server and removes the login. A missing login is not an error. */
  logout(resource: string, options?: LogoutOptions): Promise<LogoutResult>;

  /** Lists every login, and every record that could not be opened, with the reason. */
  list(): Promise<Listing>;

  /**
   * Releases what would keep the process alive. A running refresh ends first, so that its answer is stored. The writes
   * that the store did not take are tried once more.
   */
  close(): Promise<void>;

  /** Moves logins between machines and programs. */
  readonly transfer: VaultTransfer;

  /** Operations for whole stores. */
  readonly admin: VaultAdmin;
}

/** Moves logins between machines (`send`, `invite`, `receive`) and programs (`import`, `export`). */
export interface VaultTransfer {
  /**
   * Seals a login for another machine, for the code that the other machine shows (`invite`). The blob is safe to share.
   *
   * @throws InvalidArgumentError for an invalid code, and for a login that cannot be sent in that mode
   * @throws LoginRequiredError when there is no login to send
   * @throws LoginCancelledError when `confirm` says that the words differ
   */
  send(resource: string, options: SendOptions): Promise<SendResult>;

  /**
   * Makes a code for receiving a login here. The sealed key stays stored until a blob has been received with it or it
   * expires, so any process may receive the blob.
   */
  invite(options?: InviteOptions): Promise<HandoverInvitation>;

  /**
   * Opens the blob that `send` made for a code of this machine, and stores the login.
   *
   * @param blob as it arrived, with any surrounding text
   * @throws HandoverWrongKeyError, HandoverOpenedError, HandoverExpiredError, HandoverDamagedError,
   * HandoverMismatchError, HandoverNewerError for the reason of the refusal; the code stays valid for the right blob
   */
  receive(blob: string, options?: ReceiveOptions): Promise<ReceiveResult>;

  /**
   * Imports a login that another program has made. That program must not use its refresh token any more.
   *
   * @throws InvalidArgumentError when it is not a login that can be stored, or a working login is already here
   * @throws IssuerMismatchError when the server now has another authorization server
   * @throws what discovery, and storing a login, would throw
   */
  import(external: ExternalLogin, options?: ImportOptions): Promise<ImportResult>;

  /**
   * Returns the authorization server that an MCP server names now, so that the caller can say whether it issued a login
   * (`issuer` of `import`).
   *
   * @throws what discovery throws
   */
  namedIssuer(resource: string, options?: Pick<ImportOptions, 'account' | 'signal'>): Promise<NamedIssuer>;

  /**
   * Passes a login as plain text to the caller.
   *
   * @throws LoginRequiredError when there is no login
   * @throws InvalidArgumentError for a login that cannot be exported in that mode
   */
  export(resource: string, options: ExportOptions): Promise<void>;

  /**
   * Stores a login that `export` has passed to its caller.
   *
   * @throws InvalidArgumentError for other input, and when a working login with that id is already here
   */
  importExported(json: Secret, options?: Omit<ImportOptions, 'accessTokenOnly'>): Promise<LoginResult>;

  /**
   * Stores a sealed copy of another program's file, before a login is removed from that file. The newest five copies of
   * each file stay.
   *
   * @returns its name; `undefined` when no key outlives this process, and nothing was stored
   * @throws InvalidArgumentError for a file that is too large to store
   * @throws StorageFullError, StorageUnwritableError, StorageUnsafeError
   */
  saveBackup(file: ExternalFile): Promise<string | undefined>;

  /** Lists the copies that `saveBackup` stored and that can be opened here, the newest first. */
  listBackups(): Promise<Backups>;
}

/** Operations for a whole store: its keys, its upkeep, and records that no key opens. */
export interface VaultAdmin {
  /**
   * Re-encrypts the logins with a new key in the same keyring, or, with `to`, with the key of another keyring. After an
   * interruption each login is readable under one of the two keys; run it again for the rest.
   *
   * @throws InvalidArgumentError when `to` names no keyring, or one that does not outlive the process
   * @throws KeyringAbsentError, KeyringLockedError, KeyringDeniedError, KeyringBrokenError when `to` does not work here
   */
  rekey(options?: RekeyOptions): Promise<RekeyResult>;

  /**
   * Removes the records that no key can open any more, for example after the desktop's keyring was replaced. It does
   * not revoke their tokens.
   *
   * @param resource limits it to this login; otherwise all logins
   * @throws InvalidArgumentError when a keyring that may have the key is unreachable, unless `confirm` agrees for one
   * login
   */
  forget(resource: string | undefined, options?: ForgetOptions): Promise<ForgetResult>;

  /**
   * Keeps every login of the store fresh, until the signal or `close`. It refreshes each login when it is due: the token
   * that expires first goes first. It never opens a browser. Any number of processes may do so for one store. It waits
   * for a store that becomes unreachable.
   *
   * @throws what `list` throws, when the first look fails in a way that does not pass
   */
  runRefresher(options?: RefresherOptions): Promise<RefresherResult>;

  /** The store of the records. */
  readonly store: RecordIndex;

  /** The keyrings that were considered so far, the strongest first, and why each was skipped. */
  tiers(): readonly TierReport[];
}
