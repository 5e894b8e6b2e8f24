import { fileURLToPath } from 'node:url';
import { storeContract } from 'holdfast/testing';
import {
  type ClaimAnswer,
  type ClaimRequest,
  type Engine,
  type EngineFinding,
  type EngineStatus,
  EngineStore,
  type EngineWrite,
  type RecordAddress,
  type RecordVersion,
  type StoredRecord,
} from 'holdfast/stores';

/*
 * An engine in one file, to start one of your own from: what stands here as a step over two maps is one statement there.
 * docs/stores.md says what each must guarantee. Run it, and it says which duties of a store it keeps:
 * npx tsx examples/engine-of-your-own.ts
 */

interface Row {
  readonly record: string;
  readonly version: RecordVersion;
  readonly obtainedAt: number;
  readonly writtenAt: number;
}

interface Claim {
  epoch: number;
  until: number;
  at: number;
  released: boolean;
  note: string | undefined;
}

/** The engine itself: its rows, its claims, and its clock, which is the only one that decides. */
export class SharedMemory {
  readonly rows = new Map<string, Row>();
  readonly claims = new Map<string, Claim>();
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

/** One process’s way to it. */
export class MemoryEngine implements Engine {
  readonly id = 'memory-engine';
  readonly tenant = 'tests';
  readonly #shared: SharedMemory;

  constructor(shared: SharedMemory) {
    this.#shared = shared;
  }

  async read(address: RecordAddress): Promise<StoredRecord | undefined> {
    const row = this.#shared.rows.get(key(address));
    return row && { record: row.record, version: row.version, ageMs: this.#shared.now() - row.obtainedAt };
  }

  async version(address: RecordAddress): Promise<RecordVersion | undefined> {
    return this.#shared.rows.get(key(address))?.version;
  }

  async write(
    address: RecordAddress,
    expected: RecordVersion | undefined,
    write: EngineWrite,
  ): Promise<boolean> {
    if (this.#shared.rows.get(key(address))?.version !== expected) return false;
    this.#put(address, write);
    if (write.releases !== undefined) this.#release(address.id, write.releases.epoch, write.releases.note);
    return true;
  }

  async remove(address: RecordAddress, expected: RecordVersion | undefined): Promise<boolean> {
    const row = this.#shared.rows.get(key(address));
    if (row === undefined || (expected !== undefined && row.version !== expected)) return false;
    return this.#shared.rows.delete(key(address));
  }

  async move(
    from: RecordAddress,
    to: RecordAddress,
    expected: RecordVersion,
    write: EngineWrite,
  ): Promise<boolean> {
    const { rows } = this.#shared;
    if (rows.get(key(from))?.version !== expected || rows.has(key(to))) return false;
    rows.delete(key(from));
    this.#put(to, write);
    return true;
  }

  async list(): Promise<RecordAddress[]> {
    return [...this.#shared.rows.keys()].map(addressOf);
  }

  async kidsOf(id: string): Promise<string[]> {
    return [...this.#shared.rows.keys()].map(addressOf).flatMap((one) => (one.id === id ? [one.kid] : []));
  }

  async claim({ id, leaseMs, patienceMs, only }: ClaimRequest): Promise<ClaimAnswer> {
    const { rows, claims, startedAt } = this.#shared;
    const now = this.#shared.now();
    if (only !== undefined && rows.get(key(only.address))?.version !== only.version) {
      return { outcome: 'superseded' };
    }
    const before = claims.get(id);
    const silent = before !== undefined && !before.released;
    if (silent && now <= Math.max(before.until, startedAt + leaseMs) + patienceMs) return { outcome: 'held' };
    const claim = { epoch: (before?.epoch ?? 0) + 1, until: now + leaseMs, at: now, released: false };
    claims.set(id, { ...claim, note: before?.note });
    return {
      outcome: 'claimed',
      epoch: claim.epoch,
      now,
      note: before?.note,
      abandonedAt: silent ? before.at : undefined,
    };
  }

  async renew(id: string, epoch: number, leaseMs: number): Promise<boolean> {
    const claim = this.#shared.claims.get(id);
    if (claim?.epoch !== epoch || claim.released) return false;
    claim.until = this.#shared.now() + leaseMs;
    return true;
  }

  async release(id: string, epoch: number, note: string | undefined): Promise<void> {
    this.#release(id, epoch, note);
  }

  async leased(id: string): Promise<boolean> {
    const claim = this.#shared.claims.get(id);
    return claim !== undefined && !claim.released && this.#shared.now() <= claim.until;
  }

  async setAside(_address: RecordAddress, record: string, why: 'damaged' | 'late'): Promise<string> {
    this.#shared.aside.push({ why, record });
    return `aside ${this.#shared.aside.length}`;
  }

  async rehearse(): Promise<void> {
    // Memory takes what it is given.
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
    // Nothing is open.
  }

  #put(address: RecordAddress, { record, version, ageMs }: EngineWrite): void {
    const now = this.#shared.now();
    this.#shared.rows.set(key(address), { record, version, obtainedAt: now - ageMs, writtenAt: now });
  }

  #release(id: string, epoch: number, note: string | undefined): void {
    const claim = this.#shared.claims.get(id);
    if (claim?.epoch !== epoch) return;
    claim.released = true;
    claim.note = note;
  }
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
    const open = () => new EngineStore(new MemoryEngine(shared));
    return { store: open(), reopen: async () => open(), dispose: async () => {} };
  });
  for (const { name, run } of duties) {
    await run();
    console.log(`kept: ${name}`);
  }
}
