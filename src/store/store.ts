import type { WaitOptions } from '../system/turn.ts';

/** Where one record lies: the key that it is sealed under, and the record id of its resource and account. */
export interface RecordAddress {
  readonly kid: string;
  readonly id: string;
}

/** Opaque: two reads with the same version saw the same record. */
export type RecordVersion = string;

export interface StoredRecord {
  /** JWE compact. A store never sees plaintext. */
  readonly record: string;
  readonly version: RecordVersion;
}

/**
 * The exclusive right to refresh one credential, held by one process at a time and freed by the engine when that
 * process dies. It is never taken from a living holder.
 */
export interface Lease {
  /**
   * What earlier holders left for later ones: how their tries went. No secret, and no promise: it may be lost at any
   * time, and then reads as `undefined`.
   */
  note(): Promise<string | undefined>;
  /** @param text at most `MAX_NOTE_BYTES` in UTF-8; the empty text removes the note */
  setNote(text: string): Promise<void>;
  /** Safe to call twice. */
  release(): Promise<void>;
}

export const MAX_NOTE_BYTES = 2048;

/** Room that a write which must not fail will need. */
export interface Reservation {
  /** Gives the room back, for that write. Safe to call twice. */
  release(): Promise<void>;
}

/** When the wait is over, `lock` throws `LockTimeoutError`. */
export type LeaseOptions = WaitOptions;

/** What a conditional write came to. `unknown`: the engine broke off; read again to learn whether it landed. */
export type CasResult =
  | { readonly outcome: 'ok'; readonly version: RecordVersion }
  | { readonly outcome: 'conflict' }
  | { readonly outcome: 'unknown'; readonly cause: unknown };

/** How long a store keeps what it acknowledged. */
export type Durability = 'disk' | 'process';

/**
 * Where sealed records lie.
 *
 * Failure protocol: a record that is not there is `undefined` (read, version) or `false` (remove). A write that
 * cannot be made throws (`StorageFullError`, `StorageUnwritableError`, `StorageUnsafeError`) and leaves the old
 * record in place, whole. The exported suite `storeContract` (`holdfast/testing`) holds these duties as tests.
 */
export interface Store {
  readonly id: string;
  read(address: RecordAddress): Promise<StoredRecord | undefined>;
  /** The version alone, cheaper than `read`. */
  version(address: RecordAddress): Promise<RecordVersion | undefined>;
  /**
   * Writes the record if what is there still has the expected version (`undefined`: if nothing is there).
   * Atomic and durable when it answers `ok`.
   */
  cas(address: RecordAddress, expected: RecordVersion | undefined, record: string): Promise<CasResult>;
  /** Removes the record, if it has the expected version when one is given; `false` when nothing was removed. */
  remove(address: RecordAddress, expected?: RecordVersion): Promise<boolean>;
  /**
   * Puts `record` at `to` in place of what is at `from`, if that has the expected version and nothing is at `to`. Whatever
   * comes between, readers find one of the two, and never both: two holders of one chain of refresh tokens would log each
   * other out.
   */
  move(from: RecordAddress, to: RecordAddress, expected: RecordVersion, record: string): Promise<CasResult>;
  /** Absent where records may be sealed under any key. @throws InvalidArgumentError where one is not ours to change */
  checkRekeyable?(): void;
  /** Moves a record that failed authentication out of the way, keeping it whole; answers where it is now. */
  quarantine(address: RecordAddress): Promise<string | undefined>;
  /** Every record of every key, in no order. */
  list(): Promise<RecordAddress[]>;
  /** The keys that have a record of this id: a miss costs no keyring a visit. */
  kidsOf(id: string): Promise<string[]>;
  lock(id: string, options: LeaseOptions): Promise<Lease>;
  /** Whether someone holds that lease now. */
  locked(id: string): Promise<boolean>;
  /**
   * Makes sure that one more record can be written, and keeps it so until released. Throws what that write would throw.
   */
  reserve(): Promise<Reservation>;
  /**
   * Writes something of its own, reads it back, compares and removes it: whether a record could be kept now. Throws
   * what a write would throw; leaves no record behind.
   */
  rehearse(): Promise<void>;
  durability(): Durability;
  close(): Promise<void>;
}
