import { CredentialId } from '../credential.ts';
import type { TierReport } from '../keyring/keyring.ts';
import type { RefresherOptions, RefresherResult } from '../refresh/refresher-options.ts';
import type { RecordIndex } from '../store/record-store.ts';
import type { ForgetOptions, ForgetResult, RekeyOptions, RekeyResult } from './types.ts';
import type { VaultAdmin } from './vault.ts';
import type { OpenVault } from './vault-parts.ts';

/** The operations of an open vault for its whole store. */
export class Admin implements VaultAdmin {
  readonly #vault: OpenVault;

  constructor(vault: OpenVault) {
    this.#vault = vault;
  }

  async rekey(options: RekeyOptions = {}): Promise<RekeyResult> {
    this.#vault.checkOpen();
    const { rekey } = await import('./rekey.ts');
    this.#vault.parts.credentialStore.checkRekeyable();
    try {
      return await rekey(options, {
        credentialStore: this.#vault.parts.credentialStore,
        policy: this.#vault.parts.policy,
        keys: this.#vault.parts.keys,
        keysOf: this.#vault.parts.keysOf,
        alsoUsed: async () => (await this.#vault.parts.backups()).kids(),
      });
    } finally {
      this.#vault.tokens.lookAgain();
      this.#vault.parts.keys.lookAgain(Number.POSITIVE_INFINITY);
    }
  }

  async forget(resource: string | undefined, options: ForgetOptions = {}): Promise<ForgetResult> {
    this.#vault.checkOpen();
    const id = resource === undefined ? undefined : CredentialId.of(resource, options.account);
    const { forget } = await import('./forget.ts');
    return forget(this.#vault.parts, id, options);
  }

  async runRefresher(options: RefresherOptions = {}): Promise<RefresherResult> {
    this.#vault.checkOpen();
    const { Refresher } = await import('../refresh/refresher.ts');
    const parts = {
      store: this.#vault.parts.credentialStore,
      refresh: this.#vault.refresh,
      report: this.#vault.parts.report,
    };
    const ends = [this.#vault.closing, ...(options.signal === undefined ? [] : [options.signal])];
    return new Refresher(parts, options).run(AbortSignal.any(ends));
  }

  get store(): RecordIndex {
    return this.#vault.parts.credentialStore.recordStore;
  }

  tiers(): readonly TierReport[] {
    return this.#vault.parts.keys.reports();
  }
}
