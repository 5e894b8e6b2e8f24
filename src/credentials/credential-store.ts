import type { Credential, CredentialId } from '../credential.ts';
import type { RecordAddress, RecordVersion, Reservation } from '../store/record-store.ts';
import type { MachineUse } from '../system/os/machine-note.ts';
import type { CredentialLease } from './lease/credential-lease.ts';
import type { Lookup, StoredCredential, Undecryptable } from './stored-credential.ts';

export type { Lookup, StoredCredential, Undecryptable } from './stored-credential.ts';

/*
 * Plain credentials, wherever they are stored and however they are protected there. What a refresh and every other operation
 * needs of a store is here; nobody above knows of sealing.
 */

export interface CredentialStore {
  /** Whether other machines have the same records. */
  readonly isShared: boolean;
  /** How long a token in memory is served before the store is asked again, in milliseconds; absent: the usual time. */
  readonly lookEveryMs: number | undefined;
  /**
   * The credential of that name, under the strongest key that has one; `undefined` when no key has.
   *
   * @throws RecordDamagedError, RecordNewerError when the strongest one does not open
   * @throws KeyringLockedError, KeyringDeniedError, KeyringBrokenError, KeyUnavailableError when there is one, sealed
   *   under a key that cannot be reached
   */
  find(id: CredentialId): Promise<Lookup | undefined>;
  /** The keys that have a record of that name; touches no keyring. */
  kidsOf(recordId: string): Promise<readonly string[]>;
  /** The version of the record now: changes with every write, by whichever process. */
  version(stored: StoredCredential): Promise<RecordVersion | undefined>;
  /**
   * The same credential with the newest tokens that this process knows of, saved or not.
   *
   * @param seen what the store had when this process last looked
   */
  newest(stored: StoredCredential, seen?: StoredCredential): StoredCredential;
  /** The exclusive right to change or end that credential; not held until `begin`. */
  lease(stored: StoredCredential): CredentialLease;
  /** The record ids of those that someone is changing now. */
  leased(stored: readonly StoredCredential[]): Promise<ReadonlySet<string>>;
  /** The machines that wrote the credential, where only one is meant to at a time; never throws. */
  machines(stored: StoredCredential): Promise<readonly MachineUse[]>;
  /** Makes sure that the next state can be written, before a server is asked for it. */
  reserve(stored: StoredCredential): Promise<Reservation>;
  /** Every credential, the strongest key first, and what could not be decrypted. */
  list(only?: CredentialId): Promise<{ held: StoredCredential[]; undecryptable: Undecryptable[] }>;
  /** Where every record is, in no order; touches no keyring. */
  addresses(): Promise<RecordAddress[]>;
  open(
    addresses: readonly RecordAddress[],
  ): Promise<{ held: StoredCredential[]; undecryptable: Undecryptable[] }>;
  /** Tries again, while nobody waits, to write what the store could not take. */
  flushSoon(): void;
  /**
   * Tries once more to write what the store could not take.
   *
   * @returns what is saved nowhere that outlives this process
   */
  settle(): Promise<readonly Credential[]>;
  close(): Promise<void>;
}
