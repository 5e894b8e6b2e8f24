import type { Credential, CredentialId } from '../../credential.ts';
import type { SealingKey } from '../../keyring/sealing-key.ts';
import type { LaterClaim, RecordAddress, RecordIndex, WriteOptions } from '../../store/record-store.ts';
import type { Lookup, StoredCredential } from '../stored-credential.ts';

/* The part of a store that its leases and its outbox need. */

export type WriteResult =
  | { readonly outcome: 'written'; readonly stored: StoredCredential }
  /** The record has changed since it was read, or is gone. */
  | { readonly outcome: 'changed' }
  /** Another process has claimed it after `onlyIfLast`. */
  | { readonly outcome: 'followed'; readonly last: LaterClaim };

export interface RecordAccess {
  readonly recordStore: RecordIndex;
  recordStoreOf(key: SealingKey): RecordIndex;
  find(id: CredentialId): Promise<Lookup | undefined>;
  open(addresses: readonly RecordAddress[]): Promise<{ readonly held: readonly StoredCredential[] }>;
  reread(stored: StoredCredential): Promise<StoredCredential | undefined>;
  newest(stored: StoredCredential, seen?: StoredCredential): StoredCredential;
  write(
    stored: StoredCredential,
    next: Credential,
    options?: Pick<WriteOptions, 'lease' | 'onlyIfLast' | 'onlyIfUnsentSince'>,
  ): Promise<WriteResult>;
  moveRecord(
    stored: StoredCredential,
    key: SealingKey,
    onlyIfLast: number | undefined,
  ): Promise<WriteResult | { readonly outcome: 'occupied' }>;
  removeRecord(stored: StoredCredential, onlyIfLast?: number): Promise<boolean>;
  sealed(address: RecordAddress, key: SealingKey, credential: Credential): string;
  unsealed(id: string, kid: string | undefined, record: string): Promise<Credential | undefined>;
}
