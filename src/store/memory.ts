import { LockTimeoutError } from '../errors.ts';
import { KeyedMutex } from '../system/locks/keyed-mutex.ts';
import type {
  CasResult,
  Durability,
  Lease,
  LeaseOptions,
  RecordAddress,
  RecordStore,
  RecordVersion,
  Reservation,
  StoredRecord,
} from './record-store.ts';

/** Keeps records in this process's memory, for the last tier. They are sealed too, and end with the process. */
export class MemoryStore implements RecordStore {
  readonly id = 'memory';
  readonly #records = new Map<string, StoredRecord & RecordAddress>();
  readonly #quarantined = new Map<string, string>();
  readonly #leases = new KeyedMutex();
  readonly #leased = new Set<string>();
  readonly #notes = new Map<string, string>();
  readonly #epochs = new Map<string, number>();
  #writes = 0;

  async read(address: RecordAddress): Promise<StoredRecord | undefined> {
    return this.#records.get(key(address));
  }

  async version(address: RecordAddress): Promise<RecordVersion | undefined> {
    return this.#records.get(key(address))?.version;
  }

  async cas(address: RecordAddress, expected: RecordVersion | undefined, record: string): Promise<CasResult> {
    if (this.#records.get(key(address))?.version !== expected) return { outcome: 'conflict' };
    this.#writes += 1;
    const version = String(this.#writes);
    this.#records.set(key(address), { ...address, record, version });
    return { outcome: 'ok', version };
  }

  async remove(address: RecordAddress, expected?: RecordVersion): Promise<boolean> {
    const found = this.#records.get(key(address));
    if (found === undefined || (expected !== undefined && found.version !== expected)) return false;
    return this.#records.delete(key(address));
  }

  async move(
    from: RecordAddress,
    to: RecordAddress,
    expected: RecordVersion,
    record: string,
  ): Promise<CasResult> {
    if (this.#records.get(key(from))?.version !== expected) return { outcome: 'conflict' };
    const result = await this.cas(to, undefined, record);
    if (result.outcome === 'ok') this.#records.delete(key(from));
    return result;
  }

  async quarantine(address: RecordAddress): Promise<string | undefined> {
    const found = this.#records.get(key(address));
    if (found === undefined) return undefined;
    const aside = `memory:${key(address)}:${found.version}`;
    this.#quarantined.set(aside, found.record);
    this.#records.delete(key(address));
    return aside;
  }

  async list(): Promise<RecordAddress[]> {
    return [...this.#records.values()].map(({ kid, id }) => ({ kid, id }));
  }

  async kidsOf(id: string): Promise<string[]> {
    return [...this.#records.values()].filter((record) => record.id === id).map(({ kid }) => kid);
  }

  async lock(id: string, options: LeaseOptions): Promise<Lease> {
    const leave = await this.#leases.acquire(
      id,
      options,
      () =>
        new LockTimeoutError(`Another caller held the lease of this credential for ${options.waitMs} ms.`, {
          hint: 'Try again; the lease is freed when its refresh ends.',
        }),
    );
    this.#leased.add(id);
    let held = true;
    const epoch = (this.#epochs.get(id) ?? 0) + 1;
    this.#epochs.set(id, epoch);
    return {
      epoch,
      note: async () => this.#notes.get(id),
      setNote: async (text) => void (text === '' ? this.#notes.delete(id) : this.#notes.set(id, text)),
      release: async () => {
        if (!held) return;
        held = false;
        this.#leased.delete(id);
        leave();
      },
    };
  }

  async locked(id: string): Promise<boolean> {
    return this.#leased.has(id);
  }

  async reserve(): Promise<Reservation> {
    return { release: async () => {} };
  }

  async selfTest(): Promise<void> {
    // Writes to memory need no test.
  }

  durability(): Durability {
    return 'process';
  }

  async close(): Promise<void> {
    this.#records.clear();
    this.#quarantined.clear();
    this.#notes.clear();
  }
}

function key({ kid, id }: RecordAddress): string {
  return `${kid}/${id}`;
}
