import type { Credential } from '../credential.ts';
import type { HoldfastError } from '../errors.ts';
import type { SealingKey } from '../keyring/sealing-key.ts';
import type { RecordAddress, RecordVersion } from '../store/record-store.ts';

/** A credential as it was read, and what writing it back needs. */
export interface StoredCredential {
  readonly credential: Credential;
  readonly address: RecordAddress;
  readonly version: RecordVersion;
  /** The key that protects it. */
  readonly key: SealingKey;
}

/** A credential that was looked up, and the keys that have a record of its name. */
export interface Lookup {
  readonly held: StoredCredential;
  readonly kids: readonly string[];
}

/** A record that could not be decrypted here, and why. */
export interface Undecryptable extends RecordAddress {
  readonly error: HoldfastError;
  /** The file that it is in, where the store has one for each. */
  readonly file?: string | undefined;
}
