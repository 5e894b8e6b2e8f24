import type { Credential } from '../credential.ts';
import type { HoldfastError } from '../errors.ts';
import type { SealingKey } from '../keyring/sealing-key.ts';
import type { RecordAddress, RecordVersion } from '../store/record-store.ts';

/** A credential as it was read, with the data that writing it back needs. */
export interface StoredCredential {
  readonly credential: Credential;
  readonly address: RecordAddress;
  readonly version: RecordVersion;
  /** The key that protects it. */
  readonly key: SealingKey;
}

/** A credential that was looked up, and the kids of all keys that have a record with its id. */
export interface Lookup {
  readonly held: StoredCredential;
  readonly kids: readonly string[];
}

/** A record that could not be decrypted here, and the reason. */
export interface Undecryptable extends RecordAddress {
  readonly error: HoldfastError;
  /** The file that contains it, if the store has one file for each record. */
  readonly file?: string | undefined;
}
