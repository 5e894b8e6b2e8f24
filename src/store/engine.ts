import type { RecordAddress, RecordVersion, StoredRecord } from './store.ts';

/*
 * What an engine that many machines share must be able to do. It is small on purpose: how a credential is refreshed once is
 * decided above it (engine-store.ts, vault/refresh-once.ts), whatever the engine. Adding one is one file that implements
 * this, and the exported suite `storeContract`.
 */

/** What to write a record with, and what the same step gives back. */
export interface EngineWrite {
  readonly record: string;
  /** Drawn by the caller, new for each write, so that a write whose outcome is unknown is recognised afterwards. */
  readonly version: RecordVersion;
  /** How old the record's tokens are, in milliseconds. `read` answers that age, grown by the engine's clock since. */
  readonly ageMs: number;
  /** A claim that ends in the same step, if it is still the last one. A write lands without regard to it. */
  readonly releases?: { readonly epoch: number; readonly note: string | undefined } | undefined;
}

export interface ClaimRequest {
  readonly id: string;
  /** Who claims; for people who look into the engine. */
  readonly holder: string;
  /** How long the lease lasts from now, by the engine's clock, in milliseconds. */
  readonly leaseMs: number;
  /** How long after its lapse a claim must rest that was not released, in milliseconds. */
  readonly patienceMs: number;
  /** Claims only while the record there has this version. */
  readonly only?: { readonly address: RecordAddress; readonly version: RecordVersion } | undefined;
}

export type ClaimAnswer =
  | {
      readonly outcome: 'claimed';
      /** Higher than that of every earlier claim of this id. */
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
  /** Writes if what is there has the expected version (`undefined`: if nothing is there). `false`: it has another. */
  write(address: RecordAddress, expected: RecordVersion | undefined, write: EngineWrite): Promise<boolean>;
  /** Removes the record, if it has the expected version when one is given. */
  remove(address: RecordAddress, expected: RecordVersion | undefined): Promise<boolean>;
  /** In one step: removes `from` if it has the expected version and nothing is at `to`, and writes `to`. */
  move(from: RecordAddress, to: RecordAddress, expected: RecordVersion, write: EngineWrite): Promise<boolean>;
  /** Every record of this tenant. */
  list(): Promise<RecordAddress[]>;
  kidsOf(id: string): Promise<string[]>;
  /**
   * Claims the lease of that id, if nobody has it: no claim is there; or the last was released; or `now` is later than
   * `max(its lapse, start of the engine + leaseMs) + patienceMs`. A claim is the intent to send, written down before.
   */
  claim(request: ClaimRequest): Promise<ClaimAnswer>;
  /** Lets the lease last `leaseMs` from now, if that claim is the last one and was not released. */
  renew(id: string, epoch: number, leaseMs: number): Promise<boolean>;
  /** Gives it back, if that claim is the last one; keeps the note for the next. */
  release(id: string, epoch: number, note: string | undefined): Promise<void>;
  /** Whether somebody holds the lease now. */
  leased(id: string): Promise<boolean>;
  /** Keeps a record aside, for people; answers what they find it by. */
  setAside(address: RecordAddress, record: string, why: 'damaged' | 'late'): Promise<string>;
  /** Writes as a record is written, reads it back, and undoes it. */
  rehearse(): Promise<void>;
  /** What holds of this engine: reachable, schema, durability, eviction, clock. Throws nothing that a finding can say. */
  examine(): Promise<readonly EngineFinding[]>;
  status(): Promise<EngineStatus>;
  /** Makes, or brings up to date, the tables that it needs, and the text that does so; where it has any. */
  migrate?(): Promise<void>;
  migration?(): string;
  /** Frees what it opened itself; a pool or client of the caller's stays open. Safe to call twice. */
  close(): Promise<void>;
}
