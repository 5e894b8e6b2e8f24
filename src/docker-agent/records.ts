import { type Credential, type CredentialId, DEFAULT_ACCOUNT } from '../credential.ts';
import type {
  CredentialRecords,
  ReadCredential,
  RecordWrite,
} from '../credentials/sealed/credential-records.ts';
import { SealedRecords } from '../credentials/sealed/sealed-records.ts';
import { HoldfastError } from '../errors.ts';
import type { SealingKey } from '../keyring/sealing-key.ts';
import type { RecordAddress, RecordVersion } from '../store/record-store.ts';
import type { DockerAgentStore } from './docker-agent-store.ts';

/**
 * Stores credentials of the default account as entries of docker-agent's own file, which is sealed as a whole. Stores
 * those of other accounts as records of ours.
 */
export class DockerAgentRecords implements CredentialRecords {
  readonly index: DockerAgentStore;
  readonly #others: SealedRecords;

  constructor(store: DockerAgentStore) {
    this.index = store;
    this.#others = new SealedRecords(store.others);
  }

  async read(
    address: RecordAddress,
    key: SealingKey,
    id: CredentialId | undefined,
  ): Promise<ReadCredential | undefined> {
    const entry = await this.index.entry(address.id);
    if (entry === undefined) return this.#others.read(address, key, id);
    return entry.kid === address.kid ? entry : undefined;
  }

  async readMany(
    addresses: readonly RecordAddress[],
    key: SealingKey,
    id: CredentialId | undefined,
  ): Promise<readonly (ReadCredential | HoldfastError | undefined)[]> {
    const found: (ReadCredential | HoldfastError | undefined)[] = [];
    // All entries share one file, which is read once.
    for (const address of addresses) {
      try {
        found.push(await this.read(address, key, id));
      } catch (error) {
        if (!(error instanceof HoldfastError)) throw error;
        found.push(error);
      }
    }
    return found;
  }

  async write(
    address: RecordAddress,
    key: SealingKey,
    expected: RecordVersion | undefined,
    credential: Credential,
  ): Promise<RecordWrite> {
    if (credential.account !== DEFAULT_ACCOUNT) {
      return this.#others.write(address, key, expected, credential, {});
    }
    const record = this.sealed(address.id, key, credential);
    const result = await this.index.putEntry(address, expected, { credential, key, record });
    return result.outcome === 'ok' ? { outcome: 'written', version: result.version } : { outcome: 'changed' };
  }

  async move(): Promise<RecordWrite> {
    return this.index.checkRekeyable();
  }

  sealed(id: string, key: SealingKey, credential: Credential): string {
    return this.#others.sealed(id, key, credential);
  }

  unsealed(id: string, key: SealingKey, record: string): Credential {
    return this.#others.unsealed(id, key, record);
  }
}
