import type { WaitOptions } from '../system/locks/keyed-mutex.ts';
import type { UnseenLease } from '../system/locks/lease-file.ts';
import type { MachineUse } from '../system/os/machine-note.ts';

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
  /** How old its tokens are by the engine's clock, in milliseconds, where the engine has one that all machines share. */
  readonly ageMs?: number | undefined;
}

/**
 * The exclusive right to change or end one credential. A lock of the kernel is freed when its holder dies, and never before.
 * An engine on another machine cannot know that: there the lease is a claim that its holder renews, and that another may
 * follow once it has lapsed.
 */
export interface Lease {
  /** The fencing token: each later lease of the same credential has a higher one. Absent where the store counts none. */
  readonly epoch?: number | undefined;
  /** When the claim before this one was made, by the engine's clock in ms, where its holder never told how it went. */
  readonly abandonedAt?: number | undefined;
  /** Ms since the epoch, by the clock that all holders share; absent where they share that of the machine. */
  now?(): number;
  /**
   * Asked right before the first byte of a request leaves: a request is fenced, an answer never is.
   *
   * @throws LeaseLostError when another may hold the lease by now
   */
  check?(): void;
  /**
   * Asked a moment before that: whether what `announce` said has come through, and whether this is still the last lease,
   * where that was last found out more than a second ago. The clock of an engine may have been set forwards, or this process
   * be the second one that was resumed from one snapshot.
   *
   * @throws LeaseLostError when another has taken it, the record has changed, or that cannot be found out
   */
  confirm?(): Promise<void>;
  /**
   * Begins to tell those who look at this claim later that its holder is about to send a request. It is on its way while the
   * connection to the server is made; `confirm` waits for it.
   *
   * @param only it is not said, and nothing may be sent, unless the record still has that version
   */
  announce?(only?: NamedVersion): void;
  /**
   * What earlier holders left for later ones: how their tries went. No secret, and no promise: it may be lost at any
   * time, and then reads as `undefined`.
   */
  note(): Promise<string | undefined>;
  /** @param text at most `MAX_NOTE_BYTES` in UTF-8; the empty text removes the note */
  setNote(text: string): Promise<void>;
  /** Holds on to it no longer, and gives nothing back: it lapses, as if its holder had died. */
  abandon?(): void;
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
export interface LeaseOptions extends WaitOptions {
  /**
   * How long the caller can do without, in milliseconds, for the sake of a holder that claimed the lease and went silent: it
   * may be stopped with the server's answer in hand. Default 0. Of no meaning where only the death of a holder frees a lease.
   */
  readonly canWaitMs?: number | undefined;
}

/** What a write may carry besides the record. */
export interface WriteOptions {
  /** How old the record's tokens are, in milliseconds. */
  readonly ageMs?: number | undefined;
  /** The lease under which it is written: where the engine can, the same step gives it back, note and all. */
  readonly lease?: Lease | undefined;
  /**
   * The version that the record gets, drawn with `newVersion` and kept for each retry of one write: then a write whose
   * answer was lost is recognised. Default: a new one. Of no meaning where the store counts its versions itself.
   */
  readonly version?: RecordVersion | undefined;
  /** When the record should be refreshed, in milliseconds from now; `Infinity` for never. Only engines keep it. */
  readonly dueInMs?: number | undefined;
  /** Writes only if nobody has claimed that id after this epoch. Only engines have claims. */
  readonly onlyIfLast?: number | undefined;
  /** In place of `onlyIfLast`: writes only if no claim of that id after this epoch may have sent a request. */
  readonly onlyIfUnsentSince?: number | undefined;
}

/** A record as it was read. */
export interface NamedVersion {
  readonly address: RecordAddress;
  readonly version: RecordVersion;
}

/** The last claim of an id that others have claimed since. */
export interface LaterClaim {
  /** A write that carries this as `onlyIfLast` lands if nobody has claimed since this was answered. */
  readonly epoch: number;
  /** How long ago it was made, by the engine's clock, in milliseconds. */
  readonly ageMs: number;
  /** Whether it was not released yet: its holder is at work, or went silent. */
  readonly open: boolean;
  /**
   * Whether a claim after that epoch may have sent a request. `false` only when none of them has announced one (`renew` with
   * `sending`), and each that ended did so as unsent.
   */
  readonly mayHaveSent: boolean;
}

/** A server's answer that the store has not taken yet. */
export interface OutboxEntry {
  /** `generation.epoch.random`, as in `12.1790000000000.Zm9v`: by the first two numbers entries are ordered. */
  readonly name: string;
  /** The key that `record` is sealed under. */
  readonly kid: string;
  /** Sealed, at most 1 MiB. */
  readonly record: string;
}

/** What a conditional write came to. `unknown`: the engine broke off; read again to learn whether it landed. */
export type CasResult =
  | { readonly outcome: 'ok'; readonly version: RecordVersion }
  | { readonly outcome: 'conflict' }
  /** Somebody has claimed after `onlyIfLast`, or sent after `onlyIfUnsentSince`: nothing was written. */
  | { readonly outcome: 'followed'; readonly last: LaterClaim }
  | { readonly outcome: 'unknown'; readonly cause: unknown };

/** How long a store keeps what it acknowledged. */
export type Durability = 'disk' | 'process';

/** All of a store but the contents of its records: which there are, their versions, their leases, the outbox. */
export interface RecordIndex {
  readonly id: string;
  /** Whose records these are, where one engine keeps those of several. Records are bound to it. */
  readonly tenant?: string | undefined;
  /** For how long a token in memory is served before the store is asked what others have done, in milliseconds. */
  readonly lookEveryMs?: number | undefined;
  /** The version alone, cheaper than `read`. */
  version(address: RecordAddress): Promise<RecordVersion | undefined>;
  /**
   * Removes the record, if it has the expected version when one is given, and nobody has claimed it after `onlyIfLast`;
   * `false` when nothing was removed.
   */
  remove(
    address: RecordAddress,
    expected?: RecordVersion,
    options?: Pick<WriteOptions, 'onlyIfLast'>,
  ): Promise<boolean>;
  /** Absent where records may be sealed under any key. @throws InvalidArgumentError where one is not ours to change */
  checkRekeyable?(): void;
  /** Moves a record that failed authentication out of the way, keeping it whole; answers where it is now. */
  quarantine(address: RecordAddress): Promise<string | undefined>;
  /** Every record of every key, in no order. */
  list(): Promise<RecordAddress[]>;
  /** The file of that record, for a person to look at or remove. Absent where a record is not a file. */
  fileOf?(address: RecordAddress): string;
  /** The keys that have a record of this id: a miss costs no keyring a visit. */
  kidsOf(id: string): Promise<string[]>;
  lock(id: string, options: LeaseOptions): Promise<Lease>;
  /**
   * As `lock`, for a refresh of the record of that version; `undefined` as soon as the record has another one, since then
   * there is nothing to refresh. Absent where `lock` and a look at the record cost no more.
   */
  claim?(address: RecordAddress, expected: RecordVersion, options: LeaseOptions): Promise<Lease | undefined>;
  /** Keeps, for people to look at, an answer that came too late to be of use. Nothing removes it but them. */
  quarantineLate?(address: RecordAddress, record: string): Promise<void>;
  /** Keeps a server's answer that could not be written as a record. `false`: enough newer ones of that id are kept. */
  putOutbox?(id: string, entry: OutboxEntry): Promise<boolean>;
  /** Those of that id, in any order. */
  listOutbox?(id: string): Promise<OutboxEntry[]>;
  removeOutbox?(id: string, names: readonly string[]): Promise<void>;
  /** Whether someone holds that lease now. */
  locked(id: string): Promise<boolean>;
  /** Those of the ids whose lease someone holds now, in one question. Absent where that asks as often as `locked`. */
  lockedAmong?(ids: readonly string[]): Promise<readonly string[]>;
  /** Leases whose holder can be proven neither alive nor dead. Absent where none outlives its holder for long. Never throws. */
  unseenLeases?(): Promise<readonly UnseenLease[]>;
  /** The machines that wrote the record, in the order of their turns. Absent where many machines are meant to. Never throws. */
  machines?(id: string): Promise<readonly MachineUse[]>;
  /**
   * Hears each time that the way to the store broke: another server may answer next, which lacks the last writes. It may hear
   * so more than once of one break. Answers what ends that. Absent where nothing is between.
   */
  onBroken?(listener: () => void): () => void;
  /**
   * Makes sure that one more record can be written, and keeps it so until released. Throws what that write would throw.
   */
  reserve(): Promise<Reservation>;
  /**
   * Writes something of its own, reads it back, compares and removes it: whether a record could be kept now. Throws
   * what a write would throw; leaves no record behind.
   */
  selfTest(): Promise<void>;
  durability(): Durability;
  close(): Promise<void>;
}

/**
 * Where sealed records lie.
 *
 * Failure protocol: a record that is not there is `undefined` (read, version) or `false` (remove). A write that
 * cannot be made throws (`StorageFullError`, `StorageUnwritableError`, `StorageUnsafeError`) and leaves the old
 * record in place, whole. The exported suite `storeContract` (`holdfast/testing`) holds these duties as tests.
 */
export interface RecordStore extends RecordIndex {
  read(address: RecordAddress): Promise<StoredRecord | undefined>;
  /** Each as `read` does, in their order, in one question. Absent where that asks as often as `read`. */
  readMany?(addresses: readonly RecordAddress[]): Promise<(StoredRecord | undefined)[]>;
  /**
   * Writes the record if what is there still has the expected version (`undefined`: if nothing is there).
   * Atomic and durable when it answers `ok`.
   */
  cas(
    address: RecordAddress,
    expected: RecordVersion | undefined,
    record: string,
    options?: WriteOptions,
  ): Promise<CasResult>;
  /**
   * Puts `record` at `to` in place of what is at `from`, if that has the expected version and nothing is at `to`. Whatever
   * comes between, readers find one of the two, and never both: two holders of one chain of refresh tokens would log each
   * other out.
   */
  move(
    from: RecordAddress,
    to: RecordAddress,
    expected: RecordVersion,
    record: string,
    options?: WriteOptions,
  ): Promise<CasResult>;
}
