import type { WaitOptions } from '../system/locks/keyed-mutex.ts';
import type { UnseenLease } from '../system/locks/lease-file.ts';
import type { MachineUse } from '../system/os/machine-note.ts';

/** The address of one record: the kid of the key that seals it, and the record id of its resource and account. */
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
  /**
   * The age of its tokens in milliseconds, by the engine's clock. Absent where the engine has no clock that all
   * machines share.
   */
  readonly ageMs?: number | undefined;
}

/**
 * The exclusive right to change or end one credential. The kernel frees its lock when the holder dies, and never
 * before. An engine on another machine cannot see that. There the lease is a claim that its holder renews; another
 * process may claim it after it expires.
 */
export interface Lease {
  /**
   * The fencing token: each later lease of the same credential has a higher one. Absent where the store counts none.
   */
  readonly epoch?: number | undefined;
  /**
   * The time of the previous claim, in milliseconds by the engine's clock. Present only if its holder never reported
   * the outcome.
   */
  readonly abandonedAt?: number | undefined;
  /**
   * Returns milliseconds since the epoch, by the clock that all holders share. Absent where that is the machine's
   * clock.
   */
  now?(): number;
  /**
   * Callers check right before the first byte of a request leaves. Requests are fenced, answers never are.
   *
   * @throws LeaseLostError when another process may hold the lease by now
   */
  check?(): void;
  /**
   * Callers confirm a moment before `check`. It waits until `announce` has succeeded. It also asks whether this is
   * still the last lease, if the latest answer is more than a second old. The engine's clock may have been set forward,
   * or a second process may run from the same snapshot.
   *
   * @throws LeaseLostError when another process has taken it, the record has changed, or the store does not answer
   */
  confirm?(): Promise<void>;
  /**
   * Starts to tell later claimants that this holder is about to send a request. It overlaps with connecting to the
   * server; `confirm` waits for it.
   *
   * @param only announces nothing, and forbids sending, unless the record still has that version
   */
  announce?(only?: NamedVersion): void;
  /**
   * Returns the note of earlier holders: how their tries went. It is not secret. It may be lost at any time, and then
   * reads as `undefined`.
   */
  note(): Promise<string | undefined>;
  /** @param text at most `MAX_NOTE_BYTES` in UTF-8; the empty text removes the note */
  setNote(text: string): Promise<void>;
  /** Stops renewing without a release: the lease expires as if its holder had died. */
  abandon?(): void;
  /** Safe to call twice. */
  release(): Promise<void>;
}

export const MAX_NOTE_BYTES = 2048;

/** Reserved room for a write that must not fail. */
export interface Reservation {
  /** Frees the room for that write. Safe to call twice. */
  release(): Promise<void>;
}

/** When the wait is over, `lock` throws `LockTimeoutError`. */
export interface LeaseOptions extends WaitOptions {
  /**
   * How long the caller can wait for a holder that claimed the lease and went silent, in milliseconds. Such a holder
   * may be paused with the server's answer in hand. Default 0. Ignored where only the death of a holder frees a lease.
   */
  readonly canWaitMs?: number | undefined;
}

/** Optional data of a write. */
export interface WriteOptions {
  /** The age of the record's tokens, in milliseconds. */
  readonly ageMs?: number | undefined;
  /** The lease of this write. If the engine can, it releases the lease in the same step and saves its note. */
  readonly lease?: Lease | undefined;
  /**
   * The version of the record. Draw it with `newVersion` and reuse it for each retry of one write: the engine then
   * recognises a write whose answer was lost. Default: a new one. Ignored where the store counts versions itself.
   */
  readonly version?: RecordVersion | undefined;
  /** When the record should be refreshed, in milliseconds from now; `Infinity` for never. Only engines store it. */
  readonly dueInMs?: number | undefined;
  /** Writes only if nobody has claimed that id after this epoch. Only engines have claims. */
  readonly onlyIfLast?: number | undefined;
  /** Replaces `onlyIfLast`: writes only if no claim of that id after this epoch may have sent a request. */
  readonly onlyIfUnsentSince?: number | undefined;
}

/** The address and version of a record that was read. */
export interface NamedVersion {
  readonly address: RecordAddress;
  readonly version: RecordVersion;
}

/** The last claim of an id, when it came after the caller's own. */
export interface LaterClaim {
  /** A write with this epoch as `onlyIfLast` succeeds unless another claim comes first. */
  readonly epoch: number;
  /** The age of the claim in milliseconds, by the engine's clock. */
  readonly ageMs: number;
  /** Whether the claim is unreleased: its holder is at work, or went silent. */
  readonly open: boolean;
  /**
   * Whether a claim after the caller's epoch may have sent a request. It is `false` only when no such claim has
   * announced one (`renew` with `sending`), and each that ended was marked unsent.
   */
  readonly mayHaveSent: boolean;
}

/** A server's answer that the store has not saved yet. */
export interface OutboxEntry {
  /** `generation.epoch.random`, as in `12.1790000000000.Zm9v`. The first two numbers order the entries. */
  readonly name: string;
  /** The kid of the key that seals `record`. */
  readonly kid: string;
  /** Sealed, at most 1 MiB. */
  readonly record: string;
}

/**
 * The outcome of a conditional write. `unknown`: the engine broke off; read again to learn whether the write succeeded.
 */
export type CasResult =
  | { readonly outcome: 'ok'; readonly version: RecordVersion }
  | { readonly outcome: 'conflict' }
  /** Somebody has claimed after `onlyIfLast`, or sent after `onlyIfUnsentSince`: nothing was written. */
  | { readonly outcome: 'followed'; readonly last: LaterClaim }
  | { readonly outcome: 'unknown'; readonly cause: unknown };

/** How long a store keeps what it acknowledged. */
export type Durability = 'disk' | 'process';

/** All of a store except the contents of its records: their addresses, versions and leases, and the outbox. */
export interface RecordIndex {
  readonly id: string;
  /** The owner of these records, where one engine serves several tenants. Records are bound to their tenant. */
  readonly tenant?: string | undefined;
  /** How long a token in memory is served before the store is checked for other processes' changes, in milliseconds. */
  readonly lookEveryMs?: number | undefined;
  /** Returns the version alone; cheaper than `read`. */
  version(address: RecordAddress): Promise<RecordVersion | undefined>;
  /**
   * Removes the record if it has the expected version (when one is given) and nobody has claimed it after `onlyIfLast`.
   *
   * @returns `false` when nothing was removed
   */
  remove(
    address: RecordAddress,
    expected?: RecordVersion,
    options?: Pick<WriteOptions, 'onlyIfLast'>,
  ): Promise<boolean>;
  /**
   * Absent where records may be sealed under any key.
   *
   * @throws InvalidArgumentError where another program owns the key
   */
  checkRekeyable?(): void;
  /** Moves a record that failed authentication to the quarantine, unchanged. Returns its new address there. */
  quarantine(address: RecordAddress): Promise<string | undefined>;
  /** Returns every record of every key, in no order. */
  list(): Promise<RecordAddress[]>;
  /** Returns the file of that record, for a person to look at or remove. Absent where a record is not a file. */
  fileOf?(address: RecordAddress): string;
  /** Returns the kids that have a record of this id. A miss then needs no keyring. */
  kidsOf(id: string): Promise<string[]>;
  lock(id: string, options: LeaseOptions): Promise<Lease>;
  /**
   * As `lock`, to refresh the record of that version. Returns `undefined` as soon as the record has another version,
   * since then there is nothing to refresh. Absent where `lock` and a read of the record cost no more.
   */
  claim?(address: RecordAddress, expected: RecordVersion, options: LeaseOptions): Promise<Lease | undefined>;
  /** Quarantines an answer that came too late to use, for people to look at. Only people remove it. */
  quarantineLate?(address: RecordAddress, record: string): Promise<void>;
  /**
   * Saves a server's answer that could not be written as a record.
   *
   * @returns `false` when the outbox has enough newer entries of that id
   */
  putOutbox?(id: string, entry: OutboxEntry): Promise<boolean>;
  /** Returns the entries of that id, in any order. */
  listOutbox?(id: string): Promise<OutboxEntry[]>;
  removeOutbox?(id: string, names: readonly string[]): Promise<void>;
  /** Whether anyone holds that lease now. */
  locked(id: string): Promise<boolean>;
  /** Returns those of the ids whose lease is held now, in one request. Absent where that needs one request per id. */
  lockedAmong?(ids: readonly string[]): Promise<readonly string[]>;
  /**
   * Returns leases whose holder may be alive or dead, without proof. Absent where no lease outlives its holder for
   * long. Never throws.
   */
  unseenLeases?(): Promise<readonly UnseenLease[]>;
  /**
   * Returns the machines that wrote the record, in the order of their turns. Absent where many machines may share the
   * store. Never throws.
   */
  machines?(id: string): Promise<readonly MachineUse[]>;
  /**
   * Calls the listener each time the connection to the store breaks: the next server may lack the last writes. One
   * break may call it more than once. Returns a function that removes the listener. Absent where there is no
   * connection.
   */
  onBroken?(listener: () => void): () => void;
  /**
   * Makes sure that one more record can be written, and reserves room for it until released. Throws the errors of that
   * write.
   */
  reserve(): Promise<Reservation>;
  /**
   * Checks whether a record could be saved now: writes a test record, reads it back, compares and removes it. Throws
   * the errors of a write; leaves no record behind.
   */
  selfTest(): Promise<void>;
  durability(): Durability;
  close(): Promise<void>;
}

/**
 * Stores sealed records.
 *
 * Failure protocol: a missing record is `undefined` (read, version) or `false` (remove). A write that fails throws
 * (`StorageFullError`, `StorageUnwritableError`, `StorageUnsafeError`) and leaves the old record in place, whole. The
 * exported suite `storeContract` (`holdfast/testing`) tests these duties.
 */
export interface RecordStore extends RecordIndex {
  read(address: RecordAddress): Promise<StoredRecord | undefined>;
  /** Reads each address as `read` does, in order, in one request. Absent where that needs one request per address. */
  readMany?(addresses: readonly RecordAddress[]): Promise<(StoredRecord | undefined)[]>;
  /**
   * Writes the record if the stored one still has the expected version (`undefined`: if there is no record). Atomic and
   * durable when it returns `ok`.
   */
  cas(
    address: RecordAddress,
    expected: RecordVersion | undefined,
    record: string,
    options?: WriteOptions,
  ): Promise<CasResult>;
  /**
   * Replaces the record at `from` by `record` at `to`, if `from` has the expected version and `to` is free. Even after
   * a crash, readers find one of the two, and never both: two holders of one chain of refresh tokens log each other
   * out.
   */
  move(
    from: RecordAddress,
    to: RecordAddress,
    expected: RecordVersion,
    record: string,
    options?: WriteOptions,
  ): Promise<CasResult>;
}
