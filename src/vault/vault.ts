import type { Credential } from '../credential.ts';
import { CredentialId } from '../credential.ts';
import type { StoredCredential } from '../credentials/credential-store.ts';
import { loginCommand, notLoggedIn } from '../credentials/login-required.ts';
import { OutboxFiles } from '../credentials/outbox/outbox-files.ts';
import { SealedCredentialStore } from '../credentials/sealed/sealed-credential-store.ts';
import type { VaultEvent } from '../credentials/vault-event.ts';
import { withDisplayUrls } from '../display-url.ts';
import { InvalidArgumentError, VaultClosedError } from '../errors.ts';
import type { KeyringOpener, TierReport } from '../keyring/keyring.ts';
import { SealingKeys } from '../keyring/sealing-key.ts';
import type { LoginContext } from '../login/save.ts';
import type { ServerSettings } from '../login/server-settings.ts';
import type { LoginOptions, LoginResult } from '../login/types.ts';
import { Refresh } from '../refresh/refresh.ts';
import type { RefresherOptions, RefresherResult } from '../refresh/refresher-options.ts';
import { ReusePolicy } from '../refresh/reuse-policy.ts';
import type { Secret } from '../secret.ts';
import { MemoryStore } from '../store/memory.ts';
import type { RecordIndex, RecordStore } from '../store/record-store.ts';
import { thisMoment } from '../system/clock.ts';
import { type Environment, processEnvironment } from '../system/environment.ts';
import type { AccessToken, HeadersOptions, TokenHeaders, TokenOptions } from '../tokens/access-token.ts';
import { TokenProvider } from '../tokens/token-provider.ts';
import type { BackupFiles, Backups, ExternalFile } from '../transfer/backups.ts';
import type { HandoverFiles } from '../transfer/sealed-files.ts';
import type {
  ExportOptions,
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
import { summaryOf, summaryOfUndecryptable } from './listing.ts';
import { homeOf, openParts, type StoreName } from './open-parts.ts';
import type {
  ForgetOptions,
  ForgetResult,
  Listing,
  LogoutOptions,
  LogoutResult,
  RekeyOptions,
  RekeyResult,
} from './types.ts';

/** Time limit for a revocation, in milliseconds: a server that hangs must not delay what follows a logout. */
const REVOCATION_TIMEOUT_MS = 10_000;

export interface VaultOptions {
  /** The directory for all data, as an absolute path; else `$HOLDFAST_HOME` and its defaults. */
  readonly home?: string | undefined;
  /**
   * `auto`, `native`, `file`, `memory` or a keyring's id; else `$HOLDFAST_KEYRING`, else `config.json`, else `auto`.
   */
  readonly keyring?: string | undefined;
  /** The keyrings to choose from, the strongest first, instead of this platform's. */
  readonly openers?: readonly KeyringOpener[] | undefined;
  /**
   * The store for the records: `directory`, under `home`; `docker-agent`, that program's own files; a `postgres://` or
   * `redis://` URL; or the caller's own store. Else `$HOLDFAST_STORE`, else `directory`.
   */
  readonly store?: RecordStore | StoreName | undefined;
  /** docker-agent's configuration directory, as an absolute path; else `~/.config/cagent`. */
  readonly dockerAgentDir?: string | undefined;
  /** Receives events that no caller waits for; must not throw. */
  readonly onEvent?: ((event: VaultEvent) => void) | undefined;
  readonly environment?: Environment | undefined;
}

/**
 * Opens the vault. It touches neither disk nor keyring until the first call that needs them.
 *
 * @throws InvalidArgumentError when a directory is not absolute, or no store or keyring has the chosen name
 */
export function openVault(options: VaultOptions = {}): Vault {
  const environment = options.environment ?? processEnvironment();
  const home = homeOf(options, environment);
  const { layout, resolve, resolution, keys, persistent } = openParts(options, environment, home);
  const keysOf = (keyring: string) => new SealingKeys(resolve(keyring), layout, environment);
  const settings = async ({ resource }: Pick<Credential, 'resource'>) =>
    (await import('../login/server-settings.ts')).serverSettings(resource, home, environment);
  const report = ({ type, message, hint }: VaultEvent) =>
    options.onEvent?.({
      type,
      message: withDisplayUrls(message),
      hint: hint === undefined ? undefined : withDisplayUrls(hint),
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
      await revokeTokens(credential, { timeoutMs: REVOCATION_TIMEOUT_MS });
    },
  });
  let files: Promise<HandoverFiles> | undefined;
  const handover = () => {
    files ??= import('../transfer/sealed-files.ts').then(
      ({ HandoverFiles }) => new HandoverFiles({ keys, layout, environment }),
    );
    return files;
  };
  let kept: Promise<BackupFiles> | undefined;
  const backups = () => {
    kept ??= import('../transfer/backups.ts').then(
      ({ BackupFiles }) => new BackupFiles({ keys, layout, environment }),
    );
    return kept;
  };
  const inMemory = () =>
    openVault({
      ...options,
      keyring: 'memory',
      openers: undefined,
      store: new MemoryStore(),
      onEvent: (event) => (event.type === 'memory-only' ? undefined : report(event)),
    });
  return new Vault({
    credentialStore,
    policy,
    keys,
    keysOf,
    resolution,
    settings,
    environment,
    report,
    handover,
    backups,
    inMemory,
  });
}

/** The parts of a vault. */
interface VaultParts extends LoginContext {
  readonly keysOf: (keyring: string) => SealingKeys;
  readonly policy: ReusePolicy;
  readonly settings: (name: Pick<Credential, 'resource'>) => Promise<ServerSettings>;
  readonly handover: () => Promise<HandoverFiles>;
  readonly backups: () => Promise<BackupFiles>;
  readonly inMemory: () => Vault;
}

/** Stores logins to MCP servers sealed, and refreshes each exactly once. Made by `openVault`. */
export class Vault {
  readonly #parts: VaultParts;
  readonly #refresh: Refresh;
  readonly #serving: TokenProvider;
  readonly #ending = new AbortController();
  #closed: Promise<void> | undefined;

  constructor(parts: VaultParts) {
    this.#parts = parts;
    const { credentialStore: store, environment, policy, report } = parts;
    this.#refresh = new Refresh({ store, environment, policy, report });
    this.#serving = new TokenProvider(parts.credentialStore, this.#refresh);
  }

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
  async token(resource: string, options?: TokenOptions): Promise<AccessToken> {
    const access = this.#serving.atOnce(resource, options);
    if (access !== undefined) return access;
    this.#mustBeOpen();
    return this.#serving.token(resource, options ?? {});
  }

  /**
   * Returns the headers for a request to that server. Throws what `token` throws.
   *
   * @throws InvalidArgumentError when the token is bound to a key and `request` is not given
   */
  async headers(resource: string, options?: HeadersOptions): Promise<TokenHeaders> {
    const { token, proof } = await this.token(resource, options);
    if (proof === undefined) return { Authorization: `Bearer ${token.reveal()}` };
    if (options?.request === undefined) {
      throw new InvalidArgumentError(`The token for ${resource} is bound to a key (DPoP, RFC 9449).`, {
        hint: 'Its headers are good for one request: say which. holdfast headers URL --method POST',
      });
    }
    return { Authorization: `DPoP ${token.reveal()}`, DPoP: proof(options.request) };
  }

  /**
   * Logs in, by the browser (OAuth 2.1 authorization code with PKCE) or by a grant that needs no person. It stores the
   * credential under the strongest keyring that works here, and replaces the earlier one after the login has succeeded.
   * Options that are not given come from `config.json` and the environment.
   */
  async login(resource: string, options: LoginOptions): Promise<LoginResult> {
    this.#mustBeOpen();
    const name = CredentialId.of(resource, options.account);
    const settings = await this.#parts.settings(name);
    const merged: LoginOptions = {
      ...options,
      client: options.client ?? settings.client,
      clientMetadataUrl: options.clientMetadataUrl ?? settings.clientMetadataUrl,
      scopes: options.scopes ?? settings.scopes,
      dpop: options.dpop ?? settings.dpop,
      callbackPort: options.callbackPort ?? settings.callbackPort,
      lenient: { ...settings.lenient, ...options.lenient },
      headers: { ...settings.headers, ...options.headers },
    };
    const context = this.#parts;
    const { grant } = merged;
    const held =
      grant === undefined
        ? await (await import('../login/login.ts')).logIn(name, merged, context)
        : await (await import('../login/non-interactive.ts')).logInNonInteractively(
            name,
            { ...merged, grant },
            context,
          );
    this.#serving.forget(name);
    return this.#kept(held);
  }

  /** Revokes the tokens at the server and removes the login. A missing login is not an error. */
  async logout(resource: string, options: LogoutOptions = {}): Promise<LogoutResult> {
    this.#mustBeOpen();
    const name = CredentialId.of(resource, options.account);
    const { logOut } = await import('./logout.ts');
    this.#serving.forget(name);
    try {
      return await logOut(name, options, this.#parts);
    } finally {
      // A concurrent lookup may have found the login before it was removed.
      this.#serving.forget(name);
    }
  }

  /**
   * Removes the records that no key can open any more, for example after the desktop's keyring was replaced. It does
   * not revoke their tokens.
   *
   * @param resource limits it to this login; otherwise all logins
   * @throws InvalidArgumentError when a keyring that may have the key is unreachable, unless `confirm` agrees for one
   * login
   */
  async forget(resource: string | undefined, options: ForgetOptions = {}): Promise<ForgetResult> {
    this.#mustBeOpen();
    const name = resource === undefined ? undefined : CredentialId.of(resource, options.account);
    const { forget } = await import('./forget.ts');
    return forget(this.#parts, name, options);
  }

  /**
   * Re-encrypts the logins with a new key in the same keyring, or, with `to`, with the key of another keyring. After an
   * interruption each login is readable under one of the two keys; run it again for the rest.
   *
   * @throws InvalidArgumentError when `to` names no keyring, or one that does not outlive the process
   * @throws KeyringAbsentError, KeyringLockedError, KeyringDeniedError, KeyringBrokenError when `to` does not work here
   */
  async rekey(options: RekeyOptions = {}): Promise<RekeyResult> {
    this.#mustBeOpen();
    const { rekey } = await import('./rekey.ts');
    this.#parts.credentialStore.checkRekeyable();
    try {
      return await rekey(options, {
        credentialStore: this.#parts.credentialStore,
        policy: this.#parts.policy,
        keys: this.#parts.keys,
        keysOf: this.#parts.keysOf,
        alsoUsed: async () => (await this.#parts.backups()).kids(),
      });
    } finally {
      this.#serving.lookAgain();
      this.#parts.keys.lookAgain(Number.POSITIVE_INFINITY);
    }
  }

  /**
   * Seals a login for another machine, for the code that the other machine shows (`invite`). The blob is safe to share.
   *
   * @throws InvalidArgumentError for an invalid code, and for a login that cannot be sent in that mode
   * @throws LoginRequiredError when there is no login to send
   * @throws LoginCancelledError when `confirm` says that the words differ
   */
  async send(resource: string, options: SendOptions): Promise<SendResult> {
    this.#mustBeOpen();
    const name = CredentialId.of(resource, options.account);
    const { send } = await import('../transfer/send.ts');
    try {
      return await send(name, options, {
        ...this.#leaving(resource, options),
        files: await this.#parts.handover(),
        logInElsewhere: () => this.#logInElsewhere(name, options),
      });
    } finally {
      if (options.mode === 'move') this.#serving.forget(name);
    }
  }

  /**
   * Makes a code for receiving a login here. The sealed key stays stored until a blob has been received with it or it
   * expires, so any process may receive the blob.
   */
  async invite(options: InviteOptions = {}): Promise<HandoverInvitation> {
    this.#mustBeOpen();
    const { invite } = await import('../transfer/receive.ts');
    return invite(options, { ...this.#parts, files: await this.#parts.handover() });
  }

  /**
   * Opens the blob that `send` made for a code of this machine, and stores the login.
   *
   * @param blob as it arrived, with any surrounding text
   * @throws HandoverWrongKeyError, HandoverOpenedError, HandoverExpiredError, HandoverDamagedError,
   * HandoverMismatchError, HandoverNewerError for the reason of the refusal; the code stays valid for the right blob
   */
  async receive(blob: string, options: ReceiveOptions = {}): Promise<ReceiveResult> {
    this.#mustBeOpen();
    const { receive } = await import('../transfer/receive.ts');
    const context = { ...this.#parts, files: await this.#parts.handover() };
    const { held, header, words } = await receive(blob, options, context);
    this.#serving.forget(CredentialId.ofStored(held.credential));
    return { ...this.#kept(held), mode: header.mode, blobWords: words };
  }

  /**
   * Imports a login that another program has made. That program must not use its refresh token any more.
   *
   * @throws InvalidArgumentError when it is not a login that can be stored, or a working login is already here
   * @throws IssuerMismatchError when the server now has another authorization server
   * @throws what discovery, and storing a login, would throw
   */
  async importLogin(foreign: ExternalLogin, options: ImportOptions = {}): Promise<ImportResult> {
    this.#mustBeOpen();
    const { importLogin } = await import('../transfer/import.ts');
    const settings = await this.#parts.settings(CredentialId.of(foreign.resource, options.account));
    const { held, outcome, unconfirmed } = await importLogin(foreign, options, { ...this.#parts, settings });
    this.#serving.forget(CredentialId.ofStored(held.credential));
    return { ...this.#kept(held), outcome, unconfirmed };
  }

  /**
   * Returns the authorization server that an MCP server names now, so that the caller can say whether it issued a login
   * (`issuer` of `adopt`).
   *
   * @throws what discovery throws
   */
  async namedIssuer(
    resource: string,
    options: Pick<ImportOptions, 'account' | 'signal'> = {},
  ): Promise<NamedIssuer> {
    this.#mustBeOpen();
    const { namedIssuer } = await import('../transfer/import.ts');
    const name = CredentialId.of(resource, options.account);
    const settings = await this.#parts.settings(name);
    return namedIssuer(name, options.signal, { ...this.#parts, settings });
  }

  /**
   * Stores a sealed copy of another program's file, before a login is removed from that file. The newest five copies of
   * each file stay.
   *
   * @returns its name; `undefined` when no key outlives this process, and nothing was stored
   * @throws InvalidArgumentError for a file that is too large to store
   * @throws StorageFullError, StorageUnwritableError, StorageUnsafeError
   */
  async keepBackup(file: ExternalFile): Promise<string | undefined> {
    this.#mustBeOpen();
    return (await this.#parts.backups()).keep(file);
  }

  /** Lists the copies of `keepBackup` that can be opened here, the newest first. */
  async backups(): Promise<Backups> {
    this.#mustBeOpen();
    return (await this.#parts.backups()).list();
  }

  /**
   * Passes a login as plain text to the caller.
   *
   * @throws LoginRequiredError when there is no login
   * @throws InvalidArgumentError for a login that cannot be exported in that mode
   */
  async export(resource: string, options: ExportOptions): Promise<void> {
    this.#mustBeOpen();
    const name = CredentialId.of(resource, options.account);
    const { exportLogin } = await import('../transfer/export.ts');
    try {
      await exportLogin(name, options, this.#leaving(resource, options));
    } finally {
      if (options.mode === 'move') this.#serving.forget(name);
    }
  }

  /**
   * Stores what `export` passed out.
   *
   * @throws InvalidArgumentError for other input, and when a working login with that id is already here
   */
  async importExported(
    json: Secret,
    options: Omit<ImportOptions, 'accessTokenOnly'> = {},
  ): Promise<LoginResult> {
    this.#mustBeOpen();
    const { importExported } = await import('../transfer/import.ts');
    const held = await importExported(json, options, this.#parts);
    this.#serving.forget(CredentialId.ofStored(held.credential));
    return this.#kept(held);
  }

  /** Lists every login, and every record that could not be opened, with the reason. */
  async list(): Promise<Listing> {
    this.#mustBeOpen();
    const { held, undecryptable } = await this.#parts.credentialStore.list();
    const now = thisMoment();
    const leased = await this.#parts.credentialStore.leased(held);
    const { copiesAmong } = await import('./copies.ts');
    const copies = await copiesAmong(held, this.#parts.credentialStore);
    return {
      credentials: held
        .map((one) => {
          const summary = summaryOf(this.#parts.credentialStore.newest(one), now, leased.has(one.address.id));
          return { ...summary, machines: copies.get(one) };
        })
        .sort((a, b) => compare(a.resource, b.resource) || compare(a.account, b.account)),
      undecryptable: undecryptable.map(summaryOfUndecryptable),
      unseenLeases: await this.#parts.credentialStore.recordStore.unseenLeases?.(),
    };
  }

  /**
   * Keeps every login of the store fresh, until the signal or `close`. It refreshes each login when it is due: the token
   * that expires first goes first. It never opens a browser. Any number of processes may do so for one store. It waits
   * for a store that becomes unreachable.
   *
   * @throws what `list` throws, when the first look fails in a way that does not pass
   */
  async runRefresher(options: RefresherOptions = {}): Promise<RefresherResult> {
    this.#mustBeOpen();
    const { Refresher } = await import('../refresh/refresher.ts');
    const parts = { store: this.#parts.credentialStore, refresh: this.#refresh, report: this.#parts.report };
    const ends = [this.#ending.signal, ...(options.signal === undefined ? [] : [options.signal])];
    return new Refresher(parts, options).run(AbortSignal.any(ends));
  }

  /** The store of its records. */
  get store(): RecordIndex {
    return this.#parts.credentialStore.recordStore;
  }

  /** The keyrings that were considered so far, the strongest first, and why each was skipped. */
  tiers(): readonly TierReport[] {
    return this.#parts.keys.reports();
  }

  /**
   * Releases what would keep the process alive. A running refresh ends first, so that its answer is stored. The writes
   * that the store did not take are tried once more.
   */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#ending.abort();
    this.#serving.forget();
    for (const { resource, account } of await this.#refresh.close()) {
      this.#parts.report({
        type: 'unpersisted',
        message: `The new tokens of ${resource} could still not be stored, and end with this process.`,
        hint: `If the login does not work any more: ${loginCommand(resource, account)}`,
      });
    }
    await this.#parts.credentialStore.close();
  }

  /** The context for a login that is to leave this machine. */
  #leaving(resource: string, { account, timeoutMs, signal }: TokenOptions) {
    return {
      credentialStore: this.#parts.credentialStore,
      renew: () => this.token(resource, { account, timeoutMs, signal }),
      policy: this.#parts.policy,
    };
  }

  #kept(held: StoredCredential): LoginResult {
    return {
      credential: summaryOf(held, thisMoment(), false),
      keyring: { id: held.key.keyringId, tier: held.key.tier, lifetime: held.key.lifetime },
      tiers: this.#parts.keys.reports(),
    };
  }

  /** Makes a login for another machine in memory, and removes it from there once it has been read. */
  async #logInElsewhere(name: CredentialId, { login, signal }: SendOptions): Promise<Credential> {
    const other = this.#parts.inMemory();
    try {
      await other.login(name.resource, { ...login, account: name.account, signal });
      const found = await other.#parts.credentialStore.find(name);
      if (found === undefined) throw notLoggedIn(name);
      return found.held.credential;
    } finally {
      await other.close();
    }
  }

  #mustBeOpen(): void {
    if (this.#closed !== undefined)
      throw new VaultClosedError('The vault was closed.', { hint: 'Open another one: openVault()' });
  }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
