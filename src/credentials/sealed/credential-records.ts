import type { Credential, CredentialId } from '../../credential.ts';
import type { HoldfastError } from '../../errors.ts';
import type { SealingKey } from '../../keyring/sealing-key.ts';
import type {
  LaterClaim,
  RecordAddress,
  RecordIndex,
  RecordVersion,
  WriteOptions,
} from '../../store/record-store.ts';

/*
 * Plain credentials at addresses, however they are protected there: sealed records (sealed-records.ts), or the entries of
 * docker-agent's own file (docker-agent-records.ts).
 */

/** A credential as it was read. */
export interface ReadCredential {
  readonly credential: Credential;
  readonly version: RecordVersion;
}

export type RecordWrite =
  | { readonly outcome: 'written'; readonly version: RecordVersion }
  /** The record has changed since it was read, or is gone. */
  | { readonly outcome: 'changed' }
  /** Somebody has claimed it after `onlyIfLast`. */
  | { readonly outcome: 'followed'; readonly last: LaterClaim };

export interface CredentialRecords {
  readonly index: RecordIndex;
  /**
   * @param id for errors
   * @throws RecordDamagedError, RecordNewerError when it does not open
   */
  read(
    address: RecordAddress,
    key: SealingKey,
    id: CredentialId | undefined,
  ): Promise<ReadCredential | undefined>;
  /** Each as `read`, in their order; what that throws of one record is in its place. Throws when the store does not answer. */
  readMany(
    addresses: readonly RecordAddress[],
    key: SealingKey,
    id: CredentialId | undefined,
  ): Promise<readonly (ReadCredential | HoldfastError | undefined)[]>;
  /**
   * Writes it if what is there has that version (`undefined`: if nothing is there). Said again with the same credential, it is
   * the same write, and recognised as such.
   *
   * @throws StorageUnwritableError when it is not known whether the write landed
   */
  write(
    address: RecordAddress,
    key: SealingKey,
    expected: RecordVersion | undefined,
    credential: Credential,
    options: Pick<WriteOptions, 'lease' | 'onlyIfLast' | 'onlyIfUnsentSince'>,
  ): Promise<RecordWrite>;
  /** Writes it at `to`, under that key, in place of what is at `from`. */
  move(
    from: RecordAddress,
    to: RecordAddress,
    key: SealingKey,
    expected: RecordVersion,
    credential: Credential,
    options: Pick<WriteOptions, 'onlyIfLast'>,
  ): Promise<RecordWrite>;
  /** Seals a state for a copy outside of its record, such as in the outbox. */
  sealed(id: string, key: SealingKey, credential: Credential): string;
  /** Opens what `sealed` made. @throws RecordDamagedError, RecordNewerError */
  unsealed(id: string, key: SealingKey, record: string): Credential;
}
