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
 * Plain credentials at addresses, however they are protected there: as sealed records (sealed-records.ts), or as
 * entries of docker-agent's own file (src/docker-agent/records.ts).
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
  /** Another process has claimed it after `onlyIfLast`. */
  | { readonly outcome: 'followed'; readonly last: LaterClaim };

export interface CredentialRecords {
  readonly index: RecordIndex;
  /**
   * @param id for errors
   * @throws RecordDamagedError, RecordNewerError when the record cannot be opened
   */
  read(
    address: RecordAddress,
    key: SealingKey,
    id: CredentialId | undefined,
  ): Promise<ReadCredential | undefined>;
  /**
   * Reads each like `read`, in the given order, with a record's error in its place.
   *
   * @throws when the store does not answer
   */
  readMany(
    addresses: readonly RecordAddress[],
    key: SealingKey,
    id: CredentialId | undefined,
  ): Promise<readonly (ReadCredential | HoldfastError | undefined)[]>;
  /**
   * Writes the credential if the record has that version (`undefined`: if there is no record). A repeated call with the
   * same credential is recognised as the same write.
   *
   * @throws StorageUnwritableError when it is not known whether the write succeeded
   */
  write(
    address: RecordAddress,
    key: SealingKey,
    expected: RecordVersion | undefined,
    credential: Credential,
    options: Pick<WriteOptions, 'lease' | 'onlyIfLast' | 'onlyIfUnsentSince'>,
  ): Promise<RecordWrite>;
  /** Writes the credential at `to`, under that key, in place of the record at `from`. */
  move(
    from: RecordAddress,
    to: RecordAddress,
    key: SealingKey,
    expected: RecordVersion,
    credential: Credential,
    options: Pick<WriteOptions, 'onlyIfLast'>,
  ): Promise<RecordWrite>;
  /** Seals a state for a copy outside its record, such as in the outbox. */
  sealed(id: string, key: SealingKey, credential: Credential): string;
  /**
   * Opens what `sealed` made.
   *
   * @throws RecordDamagedError, RecordNewerError
   */
  unsealed(id: string, key: SealingKey, record: string): Credential;
}
