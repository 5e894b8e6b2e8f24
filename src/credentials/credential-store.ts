import type { Credential, CredentialId } from '../credential.ts';
import type { RecordAddress, RecordVersion, Reservation } from '../store/record-store.ts';
import type { MachineUse } from '../system/os/machine-note.ts';
import type { CredentialLease } from './lease/credential-lease.ts';
import type { Lookup, StoredCredential, Undecryptable } from './stored-credential.ts';

export type { Lookup, StoredCredential, Undecryptable } from './stored-credential.ts';

/*
 * The interface of a store of plain credentials, whatever stores and protects them. It has everything that a refresh or
 * another operation needs of a store; no caller above it knows about sealing.
 */

export interface CredentialStore {
  /** Whether other machines use the same records. */
  readonly isShared: boolean;
  /** How long to serve a token from memory before asking the store again, in milliseconds; absent: the default. */
  readonly lookEveryMs: number | undefined;
  /**
   * Finds the credential with that id under the strongest key that has one; `undefined` when no key has.
   *
   * @throws RecordDamagedError, RecordNewerError when the record of the strongest key cannot be opened
   * @throws KeyringLockedError, KeyringDeniedError, KeyringBrokenError, KeyUnavailableError when there is a record, but
   * its sealing key cannot be reached
   */
  find(id: CredentialId): Promise<Lookup | undefined>;
  /** The kids of the keys that have a record with that id; touches no keyring. */
  kidsOf(recordId: string): Promise<readonly string[]>;
  /** The current version of the record. Every write by any process changes it. */
  version(stored: StoredCredential): Promise<RecordVersion | undefined>;
  /**
   * Returns the credential with the newest tokens that this process knows, saved or not.
   *
   * @param seen what the store had when this process last looked
   */
  newest(stored: StoredCredential, seen?: StoredCredential): StoredCredential;
  /** The exclusive right to change or end that credential; not held until `begin`. */
  lease(stored: StoredCredential): CredentialLease;
  /** The ids of the records that a process is changing now. */
  leased(stored: readonly StoredCredential[]): Promise<ReadonlySet<string>>;
  /** The machines that wrote the credential, if only one is meant to write at a time; never throws. */
  machines(stored: StoredCredential): Promise<readonly MachineUse[]>;
  /** Makes sure that the next state can be written, before a server is asked for it. */
  reserve(stored: StoredCredential): Promise<Reservation>;
  /** Every credential, the strongest key first, and the records that could not be decrypted. */
  list(only?: CredentialId): Promise<{ held: StoredCredential[]; undecryptable: Undecryptable[] }>;
  /** The addresses of all records, in no order; touches no keyring. */
  addresses(): Promise<RecordAddress[]>;
  open(
    addresses: readonly RecordAddress[],
  ): Promise<{ held: StoredCredential[]; undecryptable: Undecryptable[] }>;
  /** Retries the writes that the store could not take, in the background. */
  flushSoon(): void;
  /**
   * Retries once more the writes that the store could not take.
   *
   * @returns the credentials that are saved nowhere that outlives this process
   */
  settle(): Promise<readonly Credential[]>;
  close(): Promise<void>;
}
