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
 * The duties of an engine that many machines share. The interface is small on purpose: the code above it
 * (engine-store.ts, refresh/refresh.ts) makes sure that a credential is refreshed once, with any engine. To add an
 * engine, implement this interface in one file and run the exported suite `storeContract`.
 */

/** A write of a record, and the claim that the same step may check or end. */
export interface EngineWrite {
  readonly record: string;
  /**
   * The caller draws a new version for each write, and reuses it for each retry. A write whose answer was lost is
   * recognised by its version, and returns `written` again.
   */
  readonly version: RecordVersion;
  /**
   * The age of the record's tokens, in milliseconds. `read` returns that age plus the time since, by the engine's
   * clock.
   */
  readonly ageMs: number;
  /**
   * When the record should be refreshed, in milliseconds from now; `Infinity` for never. Absent: `due` returns the
   * record at once, like the records of a Holdfast without due times.
   */
  readonly dueInMs?: number | undefined;
  /** The claim that ends in the same step, if it is still the last one. The write succeeds either way. */
  readonly releases?: ClaimEnd | undefined;
  /** Writes only if nobody has claimed that id after this epoch. */
  readonly onlyIfLast?: number | undefined;
  /** Replaces `onlyIfLast`: writes only if no claim of that id after this epoch may have sent a request. */
  readonly onlyIfUnsentSince?: number | undefined;
}

export interface ClaimEnd {
  readonly epoch: number;
  /** For the next holder; `undefined` removes the note. */
  readonly note: string | undefined;
  /** Whether the holder knows that it sent no request under this claim. */
  readonly unsent?: boolean | undefined;
}

export type WriteAnswer =
  | { readonly outcome: 'written' }
  /** The record has another version or is gone, or the destination of a move is taken. Nothing was written. */
  | { readonly outcome: 'conflict' }
  /** Somebody has claimed that id after `onlyIfLast`, or sent after `onlyIfUnsentSince`. Nothing was written. */
  | { readonly outcome: 'followed'; readonly last: LaterClaim };

export interface ClaimRequest {
  readonly id: string;
  /**
   * The caller draws the name. It reuses the name to ask again for a claim whose answer was lost. While that claim is
   * open, the answer is `claimed`, with the same epoch and a whole lease from now. Once it has ended, it is not granted
   * a second time.
   */
  readonly name: string;
  /** The claiming process, for people who look into the engine. */
  readonly holder: string;
  /** How long the lease lasts from now, by the engine's clock, in milliseconds. */
  readonly leaseMs: number;
  /** How long an unreleased claim must rest after it expires, in milliseconds. */
  readonly patienceMs: number;
  /** Claims only while the stored record has this version. */
  readonly only?: NamedVersion | undefined;
}

export type ClaimAnswer =
  | {
      readonly outcome: 'claimed';
      /**
       * Higher than the epoch of every earlier claim of this id: the engine's clock in milliseconds since the epoch, or
       * one more than the last if that is higher. So later claims have higher epochs even after a restored backup, or
       * after a fail-over to an engine that lacks the last claims.
       */
      readonly epoch: number;
      readonly note: string | undefined;
      /** Milliseconds since the epoch, by the engine's clock. */
      readonly now: number;
      /** The time of the previous claim if it was never released, in milliseconds since the epoch. */
      readonly abandonedAt: number | undefined;
    }
  /** Another process holds the lease, or held it until recently and may come back. Nothing was written. */
  | { readonly outcome: 'held' }
  /** The record has another version, or is gone. Nothing was written. */
  | { readonly outcome: 'superseded' };

export interface StoredOutboxEntry extends OutboxEntry {
  /** Milliseconds since the epoch, by the engine's clock. */
  readonly writtenAt: number;
}

/** Maximum number of outbox entries per id. */
export const MAX_OUTBOX_ENTRIES = 16;

export interface DueRecord extends RecordAddress {
  readonly version: RecordVersion;
  /** Milliseconds since the epoch, by the engine's clock; 0 where it is unknown. */
  readonly dueAt: number;
}

/** Counts and times for an operator. They include nothing that is sealed. */
export interface EngineStatus {
  readonly records: number;
  /** Unreleased claims: refreshes under way, and claims of silent holders. */
  readonly claims: number;
  /** The time since the longest silent lease expired, in milliseconds; absent without a silent holder. */
  readonly oldestSilentMs: number | undefined;
  /** Records that were written within the last hour: logins and refreshes. */
  readonly writtenLastHour: number;
  /** Quarantined records: damaged ones that did not open, and late answers. */
  readonly aside: { readonly damaged: number; readonly late: number };
  /** Milliseconds since the epoch, by the engine's clock. */
  readonly now: number;
}

/** A fact about an engine that a person should know before trusting it with logins. */
export interface EngineFinding {
  readonly level: 'ok' | 'warning' | 'error';
  readonly message: string;
  readonly hint?: string | undefined;
  /**
   * A crash of the engine may lose what it acknowledged, or each write waits to prevent that. Long-running commands
   * report it.
   */
  readonly about?: 'durability' | undefined;
}

/**
 * An engine. Every method is one statement, or one step that is as atomic, and is durable when it returns. The engine
 * holds nothing between two calls.
 *
 * Failure protocol: `StoreUnreachableError` when it does not answer (a write may have succeeded nevertheless),
 * `StoreDeniedError` when it refuses, `StoreUnsuitableError` when it cannot keep records as it is, `StorageFullError`
 * when there is no room. Each call ends within the engine's own time limit.
 */
export interface Engine {
  readonly id: string;
  readonly tenant: string;
  read(address: RecordAddress): Promise<StoredRecord | undefined>;
  version(address: RecordAddress): Promise<RecordVersion | undefined>;
  /** Reads each address as `read` does, in order, in one request. Absent: `EngineStore` reads 16 at a time. */
  readMany?(addresses: readonly RecordAddress[]): Promise<(StoredRecord | undefined)[]>;
  /** Writes if the stored record has the expected version (`undefined`: if there is no record). */
  write(
    address: RecordAddress,
    expected: RecordVersion | undefined,
    write: EngineWrite,
  ): Promise<WriteAnswer>;
  /** Removes the record if it has the expected version (when one is given) and nobody claimed it after `onlyIfLast`. */
  remove(
    address: RecordAddress,
    expected: RecordVersion | undefined,
    onlyIfLast?: number,
  ): Promise<WriteAnswer>;
  /** In one step: removes `from` if it has the expected version and `to` is free, and writes `to`. */
  move(
    from: RecordAddress,
    to: RecordAddress,
    expected: RecordVersion,
    write: EngineWrite,
  ): Promise<WriteAnswer>;
  /** Returns every record of this tenant. */
  list(): Promise<RecordAddress[]>;
  kidsOf(id: string): Promise<string[]>;
  /**
   * Returns the records to refresh within that time from now, the earliest first, from an index. `after` is the last
   * record of the previous page.
   */
  due(withinMs: number, limit: number, after?: DueRecord): Promise<DueRecord[]>;
  /** Sets when a record of that version is due, in milliseconds from now, and changes nothing else. */
  reschedule(address: RecordAddress, version: RecordVersion, dueInMs: number): Promise<boolean>;
  /**
   * Claims the lease of that id if it is free: there is no claim; or the last one was released; or `now` is later than
   * `max(its expiry, start of the engine + leaseMs) + patienceMs`. A claim records the intent to send in advance.
   *
   * A lease may end later than its own length from now, because the engine's clock was set back. The first look at such
   * a lease then sets its end to its own length from that moment. So a clock that was set back costs one lease.
   */
  claim(request: ClaimRequest): Promise<ClaimAnswer>;
  /**
   * Ends the claim of that name if it is the last one and open. Its answer was lost, and the caller no longer needs it.
   */
  withdraw(id: string, name: string): Promise<void>;
  /**
   * Extends the lease to `leaseMs` from now, if that claim is the last one and unreleased. With `sending`, the same
   * step records that its holder is about to send a request. With `only`, it does neither unless the record has that
   * version. So a write with `onlyIfUnsentSince` sees the announcement of a later claim, or that announcement sees the
   * write.
   */
  renew(id: string, epoch: number, leaseMs: number, sending?: boolean, only?: NamedVersion): Promise<boolean>;
  /** Ends that claim, if it is the last one. */
  release(id: string, end: ClaimEnd): Promise<void>;
  /** Whether anyone holds the lease now. */
  leased(id: string): Promise<boolean>;
  /** Returns those of the ids whose lease is held now, in one request. Absent: `EngineStore` asks for 16 at a time. */
  leasedAmong?(ids: readonly string[]): Promise<readonly string[]>;
  /**
   * Calls the listener when an idle connection breaks, or when another server answers on it. Failed calls are reported
   * to `EngineStore` anyway.
   */
  onBroken?(listener: () => void): void;
  /**
   * Saves an entry; repeating the name saves it once. Of each id the `MAX_OUTBOX_ENTRIES` newest stay. The entry with
   * the lowest generation gives way, and among equals the one with the lowest epoch.
   *
   * @returns `false` when that is the entry itself, which is then not saved
   */
  putOutbox(id: string, entry: OutboxEntry): Promise<boolean>;
  /** Returns the entries of that id, the newest first. */
  listOutbox(id: string): Promise<StoredOutboxEntry[]>;
  removeOutbox(id: string, names: readonly string[]): Promise<void>;
  /** Quarantines a record for people, and returns where they find it. */
  quarantine(address: RecordAddress, record: string, why: 'damaged' | 'late'): Promise<string>;
  /** Writes as a record is written, reads it back, and removes it. */
  selfTest(): Promise<void>;
  /**
   * Reports on this engine: reachable, schema, durability, eviction, clock. An error that a finding can express is not
   * thrown.
   */
  examine(): Promise<readonly EngineFinding[]>;
  status(): Promise<EngineStatus>;
  /**
   * Creates or updates the tables of the engine. `migration` returns the SQL for that. Both are absent without tables.
   */
  migrate?(): Promise<void>;
  migration?(): string;
  /** Closes what it opened itself; a pool or client of the caller's stays open. Safe to call twice. */
  close(): Promise<void>;
}
