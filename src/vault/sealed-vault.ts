import { CredentialId } from '../credential.ts';
import { loginCommand } from '../credentials/login-required.ts';
import { InvalidArgumentError, VaultClosedError } from '../errors.ts';
import type { LoginOptions, LoginResult } from '../login/types.ts';
import { SharedRefresh } from '../refresh/shared-refresh.ts';
import { thisMoment } from '../system/clock.ts';
import type { AccessToken, HeadersOptions, TokenHeaders, TokenOptions } from '../tokens/access-token.ts';
import { TokenProvider } from '../tokens/token-provider.ts';
import { defined } from '../values/defined.ts';
import { Admin } from './admin.ts';
import { loginResult, summaryOf, summaryOfUndecryptable } from './listing.ts';
import { Transfer } from './transfer.ts';
import type { Listing, LogoutOptions, LogoutResult } from './types.ts';
import type { Vault, VaultAdmin, VaultTransfer } from './vault.ts';
import { type OpenVault, partsFor, type VaultParts } from './vault-parts.ts';

/**
 * The vault that `openVault` makes. Before each operation it checks that it is open, and then loads the operation's
 * code.
 */
export class SealedVault implements Vault {
  readonly transfer: VaultTransfer;
  readonly admin: VaultAdmin;
  readonly #parts: VaultParts;
  readonly #refresh: SharedRefresh;
  readonly #tokens: TokenProvider;
  readonly #ending = new AbortController();
  #closed: Promise<void> | undefined;

  constructor(parts: VaultParts) {
    this.#parts = parts;
    const { credentialStore: store, environment, policy, report } = parts;
    this.#refresh = new SharedRefresh({ store, environment, policy, report });
    this.#tokens = new TokenProvider(store, this.#refresh);
    const open: OpenVault = {
      parts,
      refresh: this.#refresh,
      tokens: this.#tokens,
      closing: this.#ending.signal,
      checkOpen: () => this.#checkOpen(),
    };
    this.transfer = new Transfer(open);
    this.admin = new Admin(open);
  }

  async token(resource: string, options?: TokenOptions): Promise<AccessToken> {
    const access = this.#tokens.atOnce(resource, options);
    if (access !== undefined) return access;
    this.#checkOpen();
    return this.#tokens.token(resource, options ?? {});
  }

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

  async login(resource: string, options: LoginOptions): Promise<LoginResult> {
    this.#checkOpen();
    const id = CredentialId.of(resource, options.account);
    const settings = await this.#parts.settings(id);
    const merged: LoginOptions = defined({
      ...options,
      client: options.client ?? settings.client,
      clientMetadataUrl: options.clientMetadataUrl ?? settings.clientMetadataUrl,
      scopes: options.scopes ?? settings.scopes,
      dpop: options.dpop ?? settings.dpop,
      callbackPort: options.callbackPort ?? settings.callbackPort,
      lenient: { ...settings.lenient, ...options.lenient },
      headers: { ...settings.headers, ...options.headers },
    });
    const context = partsFor(this.#parts, id);
    const { grant } = merged;
    const held =
      grant === undefined
        ? await (await import('../login/login.ts')).logIn(id, merged, context)
        : await (await import('../login/non-interactive.ts')).logInNonInteractively(
            id,
            { ...merged, grant },
            context,
          );
    this.#tokens.forget(id);
    return loginResult(held, this.#parts.keys);
  }

  async logout(resource: string, options: LogoutOptions = {}): Promise<LogoutResult> {
    this.#checkOpen();
    const id = CredentialId.of(resource, options.account);
    const { logOut } = await import('./logout.ts');
    this.#tokens.forget(id);
    try {
      return await logOut(id, options, this.#parts);
    } finally {
      // A concurrent lookup may have found the login before it was removed.
      this.#tokens.forget(id);
    }
  }

  async list(): Promise<Listing> {
    this.#checkOpen();
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

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#ending.abort();
    this.#tokens.forget();
    for (const { resource, account } of await this.#refresh.close()) {
      this.#parts.report({
        type: 'unpersisted',
        message: `The new tokens of ${resource} could still not be stored, and end with this process.`,
        hint: `If the login does not work any more: ${loginCommand(resource, account)}`,
        resource,
        account,
      });
    }
    await this.#parts.credentialStore.close();
  }

  #checkOpen(): void {
    if (this.#closed !== undefined) {
      throw new VaultClosedError('The vault was closed.', { hint: 'Open another one: openVault()' });
    }
  }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
