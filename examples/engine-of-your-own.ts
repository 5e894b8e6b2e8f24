import { fileURLToPath } from 'node:url';
import {
  type ClaimAnswer,
  type ClaimEnd,
  type ClaimRequest,
  type DueRecord,
  type Engine,
  type EngineFinding,
  type EngineStatus,
  type EngineWrite,
  engineStore,
  MAX_OUTBOX_ENTRIES,
  type NamedVersion,
  type OutboxEntry,
  type RecordAddress,
  type RecordVersion,
  type StoredOutboxEntry,
  type StoredRecord,
  type WriteAnswer,
} from 'holdfast/stores';
import { storeContract } from 'holdfast/testing';

/*
 * An engine in one file, as a start for your own. Each step over two maps here is one statement in a real engine.
 * docs/stores.md lists the guarantees of each statement. Run this file to see which duties of a store it fulfils:
 * npx tsx examples/engine-of-your-own.ts
 */

interface Row {
  readonly record: string;
  readonly version: RecordVersion;
  readonly obtainedAt: number;
  readonly writtenAt: number;
  readonly dueAt: number;
}

interface Claim {
  epoch: number;
  name: string;
  until: number;
  leaseMs: number;
  at: number;
  /** The time of the previous claim, if that was never released. */
  abandonedAt: number | undefined;
  released: boolean;
  /** The last claim that announced a request to the token endpoint, or may have sent one. */
  sentEpoch: number;
  note: string | undefined;
}

/** The due time of a row that `due` never returns. */
const NEVER = Number.MAX_SAFE_INTEGER;

/** The engine itself: its rows, its claims, and its clock. Only this clock decides. */
export class SharedMemory {
  readonly rows = new Map<string, Row>();
  readonly claims = new Map<string, Claim>();
  readonly outbox = new Map<string, Map<string, StoredOutboxEntry>>();
  readonly aside: { readonly why: string; readonly record: string }[] = [];
  startedAt = Number.NEGATIVE_INFINITY;
  #ahead = 0;

  now(): number {
    return Date.now() + this.#ahead;
  }

  advance(ms: number): void {
    this.#ahead += ms;
  }
}

/** One process’s connection to the engine. */
export class MemoryEngine implements Engine {
  readonly id = 'memory-engine';
  readonly tenant = 'tests';
  readonly #shared: SharedMemory;

  constructor(shared: SharedMemory) {
    this.#shared = shared;
  }

  async read(address: RecordAddress): Promise<StoredRecord | undefined> {
    const row = this.#shared.rows.get(key(address));
    if (row === undefined) return undefined;
    // If the clock was set back, the age is at least the age at the time of writing.
    const seen = Math.max(this.#shared.now(), row.writtenAt);
    return { record: row.record, version: row.version, ageMs: seen - row.obtainedAt };
  }

  async version(address: RecordAddress): Promise<RecordVersion | undefined> {
    return this.#shared.rows.get(key(address))?.version;
  }

  async write(
    address: RecordAddress,
    expected: RecordVersion | undefined,
    write: EngineWrite,
  ): Promise<WriteAnswer> {
    const there = this.#shared.rows.get(key(address))?.version;
    if (there === write.version) return { outcome: 'written' };
    if (there !== expected) return { outcome: 'conflict' };
    const followed = this.#followed(address.id, write);
    if (followed !== undefined) return followed;
    this.#put(address, write);
    return { outcome: 'written' };
  }

  async remove(
    address: RecordAddress,
    expected: RecordVersion | undefined,
    onlyIfLast?: number,
  ): Promise<WriteAnswer> {
    const row = this.#shared.rows.get(key(address));
    if (row === undefined || (expected !== undefined && row.version !== expected))
      return { outcome: 'conflict' };
    const followed = this.#followed(address.id, { onlyIfLast });
    if (followed !== undefined) return followed;
    this.#shared.rows.delete(key(address));
    return { outcome: 'written' };
  }

  async move(
    from: RecordAddress,
    to: RecordAddress,
    expected: RecordVersion,
    write: EngineWrite,
  ): Promise<WriteAnswer> {
    const { rows } = this.#shared;
    if (rows.get(key(to))?.version === write.version) return { outcome: 'written' };
    if (rows.get(key(from))?.version !== expected || rows.has(key(to))) return { outcome: 'conflict' };
    const followed = this.#followed(from.id, write);
    if (followed !== undefined) return followed;
    rows.delete(key(from));
    this.#put(to, write);
    return { outcome: 'written' };
  }

  async list(): Promise<RecordAddress[]> {
    return [...this.#shared.rows.keys()].map(addressOf);
  }

  async kidsOf(id: string): Promise<string[]> {
    return [...this.#shared.rows.keys()].map(addressOf).flatMap((one) => (one.id === id ? [one.kid] : []));
  }

  async due(withinMs: number, limit: number, after?: DueRecord): Promise<DueRecord[]> {
    const before = this.#shared.now() + withinMs;
    return [...this.#shared.rows]
      .map(([at, { version, dueAt }]) => ({ ...addressOf(at), version, dueAt }))
      .filter(({ dueAt }) => dueAt < NEVER && dueAt <= before)
      .sort(inOrder)
      .filter((one) => after === undefined || inOrder(one, after) > 0)
      .slice(0, limit);
  }

  async reschedule(address: RecordAddress, version: RecordVersion, dueInMs: number): Promise<boolean> {
    const row = this.#shared.rows.get(key(address));
    if (row?.version !== version) return false;
    this.#shared.rows.set(key(address), { ...row, dueAt: this.#dueAt(dueInMs) });
    return true;
  }

  async claim({ id, name, leaseMs, patienceMs, only }: ClaimRequest): Promise<ClaimAnswer> {
    const { rows, claims, startedAt } = this.#shared;
    const now = this.#shared.now();
    if (only !== undefined && rows.get(key(only.address))?.version !== only.version) {
      return { outcome: 'superseded' };
    }
    const before = claims.get(id);
    if (before?.name === name) {
      if (before.released) return { outcome: 'held' };
      before.until = now + leaseMs;
      const { epoch, note, abandonedAt } = before;
      return { outcome: 'claimed', epoch, now, note, abandonedAt };
    }
    const silent = before !== undefined && !before.released;
    if (silent) {
      before.until = Math.min(before.until, now + before.leaseMs);
      if (now <= Math.max(before.until, startedAt + leaseMs) + patienceMs) return { outcome: 'held' };
    }
    const epoch = Math.max((before?.epoch ?? 0) + 1, Math.floor(now));
    const kept = { note: before?.note, sentEpoch: before?.sentEpoch ?? 0 };
    const abandonedAt = silent ? before.at : undefined;
    const until = now + leaseMs;
    claims.set(id, { ...kept, epoch, name, until, leaseMs, at: now, abandonedAt, released: false });
    return { outcome: 'claimed', epoch, now, note: kept.note, abandonedAt };
  }

  async withdraw(id: string, name: string): Promise<void> {
    const claim = this.#shared.claims.get(id);
    if (claim?.name === name) claim.released = true;
  }

  async renew(
    id: string,
    epoch: number,
    leaseMs: number,
    sending = false,
    only?: NamedVersion,
  ): Promise<boolean> {
    const { rows, claims } = this.#shared;
    if (only !== undefined && rows.get(key(only.address))?.version !== only.version) return false;
    const claim = claims.get(id);
    if (claim?.epoch !== epoch || claim.released) return false;
    claim.until = this.#shared.now() + leaseMs;
    claim.leaseMs = leaseMs;
    if (sending) claim.sentEpoch = epoch;
    return true;
  }

  async release(id: string, end: ClaimEnd): Promise<void> {
    this.#release(id, end);
  }

  async leased(id: string): Promise<boolean> {
    const claim = this.#shared.claims.get(id);
    return claim !== undefined && !claim.released && this.#shared.now() <= claim.until;
  }

  async putOutbox(id: string, entry: OutboxEntry): Promise<boolean> {
    const entries = this.#shared.outbox.get(id) ?? new Map<string, StoredOutboxEntry>();
    this.#shared.outbox.set(id, entries);
    if (!entries.has(entry.name)) entries.set(entry.name, { ...entry, writtenAt: this.#shared.now() });
    const surplus = [...entries.values()].sort(newestFirst).slice(MAX_OUTBOX_ENTRIES);
    for (const { name } of surplus) entries.delete(name);
    return entries.has(entry.name);
  }

  async listOutbox(id: string): Promise<StoredOutboxEntry[]> {
    return [...(this.#shared.outbox.get(id)?.values() ?? [])].sort(newestFirst);
  }

  async removeOutbox(id: string, names: readonly string[]): Promise<void> {
    for (const name of names) this.#shared.outbox.get(id)?.delete(name);
  }

  async quarantine(_address: RecordAddress, record: string, why: 'damaged' | 'late'): Promise<string> {
    this.#shared.aside.push({ why, record });
    return `aside ${this.#shared.aside.length}`;
  }

  async selfTest(): Promise<void> {
    // Memory accepts every record.
  }

  async examine(): Promise<readonly EngineFinding[]> {
    return [];
  }

  async status(): Promise<EngineStatus> {
    const now = this.#shared.now();
    const claims = [...this.#shared.claims.values()].filter(({ released }) => !released);
    const silent = claims.map(({ until }) => now - until).filter((ms) => ms > 0);
    const hourAgo = now - 3_600_000;
    const aside = (kind: string) => this.#shared.aside.filter(({ why }) => why === kind).length;
    return {
      records: this.#shared.rows.size,
      claims: claims.length,
      oldestSilentMs: silent.length === 0 ? undefined : Math.max(...silent),
      writtenLastHour: [...this.#shared.rows.values()].filter(({ writtenAt }) => writtenAt > hourAgo).length,
      aside: { damaged: aside('damaged'), late: aside('late') },
      now,
    };
  }

  async close(): Promise<void> {
    // Nothing to close.
  }

  /** The claim made, or the request sent, after that epoch, if any. */
  #followed(
    id: string,
    { onlyIfLast, onlyIfUnsentSince }: Pick<EngineWrite, 'onlyIfLast' | 'onlyIfUnsentSince'>,
  ): WriteAnswer | undefined {
    const since = onlyIfUnsentSince ?? onlyIfLast;
    const last = this.#shared.claims.get(id);
    if (since === undefined || last === undefined || last.epoch <= since) return undefined;
    const { epoch, at, released, sentEpoch } = last;
    const mayHaveSent = sentEpoch > since;
    if (onlyIfUnsentSince !== undefined && !mayHaveSent) return undefined;
    const ageMs = Math.max(0, this.#shared.now() - at);
    return { outcome: 'followed', last: { epoch, ageMs, open: !released, mayHaveSent } };
  }

  #dueAt(dueInMs: number): number {
    return Math.min(NEVER, this.#shared.now() + dueInMs);
  }

  #put(address: RecordAddress, { record, version, ageMs, dueInMs, releases }: EngineWrite): void {
    const now = this.#shared.now();
    const dueAt = dueInMs === undefined ? 0 : this.#dueAt(dueInMs);
    this.#shared.rows.set(key(address), { record, version, obtainedAt: now - ageMs, writtenAt: now, dueAt });
    if (releases !== undefined) this.#release(address.id, releases);
  }

  #release(id: string, { epoch, note, unsent = false }: ClaimEnd): void {
    const claim = this.#shared.claims.get(id);
    if (claim?.epoch !== epoch) return;
    claim.released = true;
    claim.note = note;
    if (!unsent) claim.sentEpoch = epoch;
  }
}

function inOrder(a: DueRecord, b: DueRecord): number {
  return a.dueAt - b.dueAt || (key(a) < key(b) ? -1 : Number(key(a) > key(b)));
}

/** By generation, then by epoch. */
function newestFirst(a: OutboxEntry, b: OutboxEntry): number {
  const [generation = 0, epoch = 0] = a.name.split('.').map(Number);
  const [other = 0, otherEpoch = 0] = b.name.split('.').map(Number);
  return other - generation || otherEpoch - epoch;
}

function key({ kid, id }: RecordAddress): string {
  return `${kid}/${id}`;
}

function addressOf(text: string): RecordAddress {
  const [kid = '', id = ''] = text.split('/');
  return { kid, id };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const duties = storeContract(async () => {
    const shared = new SharedMemory();
    const open = () => engineStore(new MemoryEngine(shared));
    return { store: open(), reopen: async () => open(), dispose: async () => {} };
  });
  for (const { name, run } of duties) {
    await run();
    console.log(`kept: ${name}`);
  }
}
