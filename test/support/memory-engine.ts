import { StoreUnreachableError } from '../../src/errors.ts';
import type {
  ClaimAnswer,
  ClaimRequest,
  Engine,
  EngineFinding,
  EngineWrite,
} from '../../src/store/engine.ts';
import type { RecordAddress, RecordVersion, StoredRecord } from '../../src/store/store.ts';

interface Row {
  readonly record: string;
  readonly version: RecordVersion;
  readonly obtainedAt: number;
}

interface Claim {
  epoch: number;
  until: number;
  at: number;
  released: boolean;
  note: string | undefined;
}

/** What several processes would share: the rows, and one clock that a test may move. */
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

/** One process’s way to it, which can be cut. */
export class MemoryEngine implements Engine {
  readonly id = 'memory-engine';
  readonly tenant = 'tests';
  readonly #shared: SharedMemory;
  /** What does not come through any more: those calls fail, as on a network that is down. */
  readonly cut = new Set<keyof Engine>();
  /** Each call, in order. */
  readonly calls: (keyof Engine)[] = [];

  constructor(shared: SharedMemory) {
    this.#shared = shared;
  }

  async read(address: RecordAddress): Promise<StoredRecord | undefined> {
    this.#call('read');
    const row = this.#shared.rows.get(key(address));
    return row && { record: row.record, version: row.version, ageMs: this.#shared.now() - row.obtainedAt };
  }

  async version(address: RecordAddress): Promise<RecordVersion | undefined> {
    this.#call('version');
    return this.#shared.rows.get(key(address))?.version;
  }

  async write(
    address: RecordAddress,
    expected: RecordVersion | undefined,
    write: EngineWrite,
  ): Promise<boolean> {
    this.#call('write');
    if (this.#shared.rows.get(key(address))?.version !== expected) return false;
    this.#put(address, write);
    if (write.releases !== undefined) this.#release(address.id, write.releases.epoch, write.releases.note);
    return true;
  }

  async remove(address: RecordAddress, expected: RecordVersion | undefined): Promise<boolean> {
    this.#call('remove');
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
    this.#call('move');
    const { rows } = this.#shared;
    if (rows.get(key(from))?.version !== expected || rows.has(key(to))) return false;
    rows.delete(key(from));
    this.#put(to, write);
    return true;
  }

  async list(): Promise<RecordAddress[]> {
    this.#call('list');
    return [...this.#shared.rows.keys()].map(addressOf);
  }

  async kidsOf(id: string): Promise<string[]> {
    this.#call('kidsOf');
    return [...this.#shared.rows.keys()].map(addressOf).flatMap((one) => (one.id === id ? [one.kid] : []));
  }

  async claim({ id, leaseMs, patienceMs, only }: ClaimRequest): Promise<ClaimAnswer> {
    this.#call('claim');
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
      note: before?.note,
      abandonedAt: silent ? before.at : undefined,
    };
  }

  async renew(id: string, epoch: number, leaseMs: number): Promise<boolean> {
    this.#call('renew');
    const claim = this.#shared.claims.get(id);
    if (claim?.epoch !== epoch || claim.released) return false;
    claim.until = this.#shared.now() + leaseMs;
    return true;
  }

  async release(id: string, epoch: number, note: string | undefined): Promise<void> {
    this.#call('release');
    this.#release(id, epoch, note);
  }

  async leased(id: string): Promise<boolean> {
    this.#call('leased');
    const claim = this.#shared.claims.get(id);
    return claim !== undefined && !claim.released && this.#shared.now() <= claim.until;
  }

  async setAside(_address: RecordAddress, record: string, why: 'damaged' | 'late'): Promise<string> {
    this.#call('setAside');
    this.#shared.aside.push({ why, record });
    return `aside ${this.#shared.aside.length}`;
  }

  async rehearse(): Promise<void> {
    this.#call('rehearse');
  }

  async examine(): Promise<readonly EngineFinding[]> {
    return [];
  }

  async close(): Promise<void> {
    // Nothing is open.
  }

  #put(address: RecordAddress, { record, version, ageMs }: EngineWrite): void {
    this.#shared.rows.set(key(address), { record, version, obtainedAt: this.#shared.now() - ageMs });
  }

  #release(id: string, epoch: number, note: string | undefined): void {
    const claim = this.#shared.claims.get(id);
    if (claim?.epoch !== epoch) return;
    claim.released = true;
    claim.note = note;
  }

  #call(name: keyof Engine): void {
    this.calls.push(name);
    if (this.cut.has(name)) throw new StoreUnreachableError('The network to the engine is down.');
  }
}

function key({ kid, id }: RecordAddress): string {
  return `${kid}/${id}`;
}

function addressOf(text: string): RecordAddress {
  const [kid = '', id = ''] = text.split('/');
  return { kid, id };
}
