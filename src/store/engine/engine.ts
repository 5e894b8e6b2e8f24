import type {
  LaterClaim,
  NamedVersion,
  OutboxEntry,
  RecordAddress,
  RecordVersion,
  StoredRecord,
} from '../record-store.ts';

export type { LaterClaim, NamedVersion, OutboxEntry } from '../record-store.ts';

/*
 * What an engine that many machines share must be able to do. It is small on purpose: how a credential is refreshed once is
 * decided above it (engine-store.ts, refresh/refresh.ts), whatever the engine. Adding one is one file that implements
 * this, and the exported suite `storeContract`.
 */

/** A write of a record, and the claim that the same step may check or end. */
export interface EngineWrite {
  readonly record: string;
  /**
   * Drawn by the caller, new for each write and kept for each retry of it: a write whose answer was lost is recognised by
   * its version, and answered `written` again.
   */
  readonly version: RecordVersion;
  /** How old the record's tokens are, in milliseconds. `read` answers that age, grown by the engine's clock since. */
  readonly ageMs: number;
  /**
   * When the record should be refreshed, in milliseconds from now; `Infinity` for never. Absent: `due` answers it at once,
   * as it does for records that a Holdfast without due times wrote.
   */
  readonly dueInMs?: number | undefined;
  /** A claim that ends in the same step, if it is still the last one. A write lands without regard to it. */
  readonly releases?: ClaimEnd | undefined;
  /** Lands only if nobody has claimed that id after this epoch. */
  readonly onlyIfLast?: number | undefined;
  /** In place of `onlyIfLast`: lands only if no claim of that id after this epoch may have sent a request. */
  readonly onlyIfUnsentSince?: number | undefined;
}

export interface ClaimEnd {
  readonly epoch: number;
  /** For the next holder; `undefined` removes the note. */
  readonly note: string | undefined;
  /** The holder knows that it sent no request under this claim. */
  readonly unsent?: boolean | undefined;
}

export type WriteAnswer =
  | { readonly outcome: 'written' }
  /** The record has another version, or is gone; or something is at the place to move to. Nothing was written. */
  | { readonly outcome: 'conflict' }
  /** Somebody has claimed that id after `onlyIfLast`, or sent after `onlyIfUnsentSince`. Nothing was written. */
  | { readonly outcome: 'followed'; readonly last: LaterClaim };

export interface ClaimRequest {
  readonly id: string;
  /**
   * Drawn by the caller. A claim whose answer was lost is asked for again by the same name: while it is open it is
   * answered `claimed`, with the same epoch and a whole lease from now; once it has ended it is not granted a second time.
   */
  readonly name: string;
  /** Who claims; for people who look into the engine. */
  readonly holder: string;
  /** How long the lease lasts from now, by the engine's clock, in milliseconds. */
  readonly leaseMs: number;
  /** How long after its lapse a claim must rest that was not released, in milliseconds. */
  readonly patienceMs: number;
  /** Claims only while the record there has this version. */
  readonly only?: NamedVersion | undefined;
}

export type ClaimAnswer =
  | {
      readonly outcome: 'claimed';
      /**
       * Higher than that of every earlier claim of this id: the engine's clock in milliseconds since the epoch, or one
       * more than the last where that is higher. After a fail-over to an engine that lacks the last claims, and after a
       * restored backup, later claims therefore still have higher epochs.
       */
      readonly epoch: number;
      readonly note: string | undefined;
      /** Ms since the epoch, by the engine's clock. */
      readonly now: number;
      /** When the claim before was made, in ms since the epoch, where it was never released. */
      readonly abandonedAt: number | undefined;
    }
  /** Somebody holds it, or held it a moment ago and is waited for. Nothing was written. */
  | { readonly outcome: 'held' }
  /** The record has another version, or is gone. Nothing was written. */
  | { readonly outcome: 'superseded' };

export interface StoredOutboxEntry extends OutboxEntry {
  /** Ms since the epoch, by the engine's clock. */
  readonly writtenAt: number;
}

/** So many entries of one id an engine keeps. */
export const MAX_OUTBOX_ENTRIES = 16;

export interface DueRecord extends RecordAddress {
  readonly version: RecordVersion;
  /** Ms since the epoch, by the engine's clock; 0 where it is not known. */
  readonly dueAt: number;
}

/** What an operator asks of an engine: counts and times, nothing that is sealed. */
export interface EngineStatus {
  readonly records: number;
  /** Claims that were not released: refreshes under way, and those whose holder went silent. */
  readonly claims: number;
  /** How long ago the lease of the longest silent one lapsed, in milliseconds; absent when none has. */
  readonly oldestSilentMs: number | undefined;
  /** Records that were written within the last hour: logins and refreshes. */
  readonly writtenLastHour: number;
  /** What was set aside: records that did not open, and answers that came too late. */
  readonly aside: { readonly damaged: number; readonly late: number };
  /** Ms since the epoch, by the engine's clock. */
  readonly now: number;
}

/** One thing about an engine that a person should know before trusting it with logins. */
export interface EngineFinding {
  readonly level: 'ok' | 'warning' | 'error';
  readonly message: string;
  readonly hint?: string | undefined;
  /** A crash of the engine may lose what it acknowledged, or each write waits so that it does not. Told by what runs for long. */
  readonly about?: 'durability' | undefined;
}

/**
 * An engine. Every method is one statement, or one step that is as atomic, and durable when it answers; nothing is held
 * between two of them.
 *
 * Failure protocol: `StoreUnreachableError` when it does not answer (a write may have landed nevertheless),
 * `StoreDeniedError` when it refuses, `StoreUnsuitableError` when it cannot keep records as it is, `StorageFullError` when
 * there is no room. Each call ends within the engine's own time limit.
 */
export interface Engine {
  readonly id: string;
  readonly tenant: string;
  read(address: RecordAddress): Promise<StoredRecord | undefined>;
  version(address: RecordAddress): Promise<RecordVersion | undefined>;
  /** Each as `read` does, in their order, in one question. Absent: they are read 16 at a time. */
  readMany?(addresses: readonly RecordAddress[]): Promise<(StoredRecord | undefined)[]>;
  /** Writes if what is there has the expected version (`undefined`: if nothing is there). */
  write(
    address: RecordAddress,
    expected: RecordVersion | undefined,
    write: EngineWrite,
  ): Promise<WriteAnswer>;
  /** Removes the record, if it has the expected version when one is given, and nobody claimed it after `onlyIfLast`. */
  remove(
    address: RecordAddress,
    expected: RecordVersion | undefined,
    onlyIfLast?: number,
  ): Promise<WriteAnswer>;
  /** In one step: removes `from` if it has the expected version and nothing is at `to`, and writes `to`. */
  move(
    from: RecordAddress,
    to: RecordAddress,
    expected: RecordVersion,
    write: EngineWrite,
  ): Promise<WriteAnswer>;
  /** Every record of this tenant. */
  list(): Promise<RecordAddress[]>;
  kidsOf(id: string): Promise<string[]>;
  /**
   * The records to be refreshed within that time from now, the earliest first, from an index. `after` is the last of the
   * page before.
   */
  due(withinMs: number, limit: number, after?: DueRecord): Promise<DueRecord[]>;
  /** Sets when a record of that version is due, in milliseconds from now, and changes nothing else of it. */
  reschedule(address: RecordAddress, version: RecordVersion, dueInMs: number): Promise<boolean>;
  /**
   * Claims the lease of that id, if nobody has it: no claim is there; or the last was released; or `now` is later than
   * `max(its lapse, start of the engine + leaseMs) + patienceMs`. A claim is the intent to send, written down before.
   *
   * After the engine's clock was set back, the first look at a lease that ends later than its own length from now lets it
   * end that long from then: a clock that went back costs one lease.
   */
  claim(request: ClaimRequest): Promise<ClaimAnswer>;
  /** Ends the claim of that name, if it is the last one and open: a claim whose answer was lost, and is not needed any more. */
  withdraw(id: string, name: string): Promise<void>;
  /**
   * Lets the lease last `leaseMs` from now, if that claim is the last one and was not released. With `sending`, the same
   * step records that its holder is about to send a request; with `only`, it does neither unless the record has that version.
   * So of a write with `onlyIfUnsentSince` and an announcement of a later claim, one finds the other.
   */
  renew(id: string, epoch: number, leaseMs: number, sending?: boolean, only?: NamedVersion): Promise<boolean>;
  /** Ends that claim, if it is the last one. */
  release(id: string, end: ClaimEnd): Promise<void>;
  /** Whether somebody holds the lease now. */
  leased(id: string): Promise<boolean>;
  /** Those of the ids whose lease somebody holds now, in one question. Absent: they are looked at 16 at a time. */
  leasedAmong?(ids: readonly string[]): Promise<readonly string[]>;
  /**
   * Hears when a connection breaks that nobody uses at the moment, or another server answers on it. What a call throws is heard
   * anyway.
   */
  onBroken?(listener: () => void): void;
  /**
   * Keeps an entry; said again with the same name it is kept once. Of one id the `MAX_OUTBOX_ENTRIES` newest stay: the
   * entry with the lowest generation, and of those with the lowest epoch, gives way.
   *
   * @returns `false` when that is the entry itself, which is then not kept
   */
  putOutbox(id: string, entry: OutboxEntry): Promise<boolean>;
  /** Those of that id, the newest first. */
  listOutbox(id: string): Promise<StoredOutboxEntry[]>;
  removeOutbox(id: string, names: readonly string[]): Promise<void>;
  /** Keeps a record aside, for people; answers what they find it by. */
  quarantine(address: RecordAddress, record: string, why: 'damaged' | 'late'): Promise<string>;
  /** Writes as a record is written, reads it back, and undoes it. */
  selfTest(): Promise<void>;
  /** What holds of this engine: reachable, schema, durability, eviction, clock. Throws nothing that a finding can say. */
  examine(): Promise<readonly EngineFinding[]>;
  status(): Promise<EngineStatus>;
  /** Makes, or brings up to date, the tables that it needs, and the text that does so; where it has any. */
  migrate?(): Promise<void>;
  migration?(): string;
  /** Frees what it opened itself; a pool or client of the caller's stays open. Safe to call twice. */
  close(): Promise<void>;
}
