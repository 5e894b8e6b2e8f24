import { type Credential, CredentialId } from '../credential.ts';
import { notLoggedIn } from '../credentials/login-required.ts';
import type { LoginResult } from '../login/types.ts';
import type { Secret } from '../secret.ts';
import type { TokenOptions } from '../tokens/access-token.ts';
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
import { defined } from '../values/defined.ts';
import { loginResult } from './listing.ts';
import type { VaultTransfer } from './vault.ts';
import { type OpenVault, partsFor } from './vault-parts.ts';

/** The operations of an open vault that move logins between machines and programs. */
export class Transfer implements VaultTransfer {
  readonly #vault: OpenVault;

  constructor(vault: OpenVault) {
    this.#vault = vault;
  }

  async send(resource: string, options: SendOptions): Promise<SendResult> {
    this.#vault.checkOpen();
    const id = CredentialId.of(resource, options.account);
    const { send } = await import('../transfer/send.ts');
    try {
      return await send(id, options, {
        ...this.#leaving(resource, options),
        files: await this.#vault.parts.handover(),
        logInElsewhere: () => this.#logInElsewhere(id, options),
      });
    } finally {
      if (options.mode === 'move') this.#vault.tokens.forget(id);
    }
  }

  async invite(options: InviteOptions = {}): Promise<HandoverInvitation> {
    this.#vault.checkOpen();
    const { invite } = await import('../transfer/receive.ts');
    return invite(options, { ...this.#vault.parts, files: await this.#vault.parts.handover() });
  }

  async receive(blob: string, options: ReceiveOptions = {}): Promise<ReceiveResult> {
    this.#vault.checkOpen();
    const { receive } = await import('../transfer/receive.ts');
    const context = { ...this.#vault.parts, files: await this.#vault.parts.handover() };
    const { held, header, words } = await receive(blob, options, context);
    this.#vault.tokens.forget(CredentialId.ofStored(held.credential));
    return { ...loginResult(held, this.#vault.parts.keys), mode: header.mode, blobWords: words };
  }

  async import(external: ExternalLogin, options: ImportOptions = {}): Promise<ImportResult> {
    this.#vault.checkOpen();
    const { importLogin } = await import('../transfer/import.ts');
    const settings = await this.#vault.parts.settings(CredentialId.of(external.resource, options.account));
    const { held, outcome, unconfirmed } = await importLogin(external, options, {
      ...this.#vault.parts,
      settings,
    });
    this.#vault.tokens.forget(CredentialId.ofStored(held.credential));
    return { ...loginResult(held, this.#vault.parts.keys), outcome, unconfirmed };
  }

  async namedIssuer(
    resource: string,
    options: Pick<ImportOptions, 'account' | 'signal'> = {},
  ): Promise<NamedIssuer> {
    this.#vault.checkOpen();
    const { namedIssuer } = await import('../transfer/import.ts');
    const id = CredentialId.of(resource, options.account);
    const context = {
      ...partsFor(this.#vault.parts, id),
      settings: await this.#vault.parts.settings(id),
    };
    return namedIssuer(id, options.signal, context);
  }

  async export(resource: string, options: ExportOptions): Promise<void> {
    this.#vault.checkOpen();
    const id = CredentialId.of(resource, options.account);
    const { exportLogin } = await import('../transfer/export.ts');
    try {
      await exportLogin(id, options, this.#leaving(resource, options));
    } finally {
      if (options.mode === 'move') this.#vault.tokens.forget(id);
    }
  }

  async importExported(
    json: Secret,
    options: Omit<ImportOptions, 'accessTokenOnly'> = {},
  ): Promise<LoginResult> {
    this.#vault.checkOpen();
    const { importExported } = await import('../transfer/import.ts');
    const held = await importExported(json, options, this.#vault.parts);
    this.#vault.tokens.forget(CredentialId.ofStored(held.credential));
    return loginResult(held, this.#vault.parts.keys);
  }

  async saveBackup(file: ExternalFile): Promise<string | undefined> {
    this.#vault.checkOpen();
    return (await this.#vault.parts.backups()).keep(file);
  }

  async listBackups(): Promise<Backups> {
    this.#vault.checkOpen();
    return (await this.#vault.parts.backups()).list();
  }

  /** The context for a login that is to leave this machine. */
  #leaving(resource: string, { account, timeoutMs, signal }: TokenOptions) {
    return {
      credentialStore: this.#vault.parts.credentialStore,
      renew: () => this.#vault.tokens.token(resource, defined({ account, timeoutMs, signal })),
      policy: this.#vault.parts.policy,
    };
  }

  /** Makes a login for another machine in memory, and removes it from there once it has been read. */
  async #logInElsewhere(id: CredentialId, { login, signal }: SendOptions): Promise<Credential> {
    const { vault, credentialStore } = this.#vault.parts.inMemory();
    try {
      await vault.login(id.resource, defined({ ...login, account: id.account, signal }));
      const found = await credentialStore.find(id);
      if (found === undefined) throw notLoggedIn(id);
      return found.held.credential;
    } finally {
      await vault.close();
    }
  }
}
