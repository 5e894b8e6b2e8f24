import { randomBytes } from 'node:crypto';
import { LockTimeoutError, StoreUnreachableError } from '../../errors.ts';
import { mapBounded } from '../../system/bounded-map.ts';
import { type ElapsingMoment, elapsingMoment } from '../../system/clock.ts';
import { sleep } from '../../system/locks/keyed-mutex.ts';
import { measure } from '../../system/metric-channel.ts';
import { machineName } from '../../system/os/machine-name.ts';
import { orderOfName } from '../outbox-entry.ts';
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
  WriteOptions,
} from '../record-store.ts';
import { ClaimedLease } from './claimed-lease.ts';
import type {
  ClaimAnswer,
  ClaimRequest,
  DueRecord,
  Engine,
  EngineWrite,
  OutboxEntry,
  StoredOutboxEntry,
  WriteAnswer,
} from './engine.ts';
import type { EngineStoreOptions, LazyEngine } from './engine-store-options.ts';
import { measured } from './measured-engine.ts';
import { isPassing, patiently } from './passing-refusal.ts';

const LEASE_MS = 15_000;
const LOOK_EVERY_MS = 10_000;

/** The pause between two looks at a held lease, in milliseconds. It grows, with jitter. */
const FIRST_POLL_MS = 15;
const LONGEST_POLL_MS = 200;

/** Time limit for retries of a temporary refusal, in milliseconds, where the caller gives none. */
const PATIENCE_MS = 20_000;

/** Maximum number of concurrent calls to an engine without batch requests. */
const CALLS_AT_ONCE = 16;

/** Maximum number of remembered claims whose answer was lost. */
const MAX_UNANSWERED = 10_000;

/** Stores sealed records in an engine that many machines share. Code that all engines have in common belongs here. */
export class EngineStore implements RecordStore {
  readonly id: string;
  readonly tenant: string;
  readonly lookEveryMs: number;
  readonly #load: () => Promise<Engine>;
  readonly #leaseMs: number;
  readonly #patienceMs: number;
  readonly #holder: string;
  /** The names of claims whose answer was lost, by id. */
  readonly #unanswered = new Map<string, string>();
  readonly #onBroken = new Set<() => void>();
  #loading: Promise<Engine> | undefined;

  constructor(engine: Engine | LazyEngine, options: EngineStoreOptions = {}) {
    this.#load = 'load' in engine ? () => engine.load() : async () => engine;
    this.id = engine.id;
    this.tenant = engine.tenant;
    this.#leaseMs = options.leaseMs ?? LEASE_MS;
    this.#patienceMs = options.patienceMs ?? 2 * this.#leaseMs;
    this.lookEveryMs = options.lookEveryMs ?? LOOK_EVERY_MS;
    this.#holder = `${machineName().host}/${process.pid}/${randomBytes(6).toString('base64url')}`;
  }

  /**
   * Loads the engine once.
   *
   * @throws InvalidArgumentError when the package that the engine needs is not installed
   */
  engine(): Promise<Engine> {
    this.#loading ??= this.#load().then((engine) => {
      const broken = () => {
        for (const listener of this.#onBroken) listener();
      };
      engine.onBroken?.(broken);
      return measured(engine, (error) => {
        if (error instanceof StoreUnreachableError) broken();
      });
    });
    return this.#loading;
  }

  onBroken(listener: () => void): () => void {
    this.#onBroken.add(listener);
    return () => void this.#onBroken.delete(listener);
  }

  async read(address: RecordAddress): Promise<StoredRecord | undefined> {
    return this.#patiently((engine) => engine.read(address));
  }

  readMany(addresses: readonly RecordAddress[]): Promise<(StoredRecord | undefined)[]> {
    return this.#patiently(async (engine) =>
      engine.readMany === undefined
        ? mapBounded(addresses, CALLS_AT_ONCE, (address) => engine.read(address))
        : engine.readMany(addresses),
    );
  }

  async version(address: RecordAddress): Promise<RecordVersion | undefined> {
    return (await this.engine()).version(address);
  }

  async cas(
    address: RecordAddress,
    expected: RecordVersion | undefined,
    record: string,
    options: WriteOptions = {},
  ): Promise<CasResult> {
    const write = engineWrite(record, options);
    return this.#changed(write.version, options.lease, (engine) => engine.write(address, expected, write));
  }

  /** Returns `false` also when somebody has claimed that id after `onlyIfLast`. */
  async remove(
    address: RecordAddress,
    expected?: RecordVersion,
    { onlyIfLast }: Pick<WriteOptions, 'onlyIfLast'> = {},
  ): Promise<boolean> {
    const answer = await this.#patiently((engine) => engine.remove(address, expected, onlyIfLast));
    return answer.outcome === 'written';
  }

  async move(
    from: RecordAddress,
    to: RecordAddress,
    expected: RecordVersion,
    record: string,
    options: WriteOptions = {},
  ): Promise<CasResult> {
    const write = engineWrite(record, options);
    return this.#changed(write.version, options.lease, (engine) => engine.move(from, to, expected, write));
  }

  /**
   * Saves a server's answer that could not be stored.
   *
   * @returns `false` when the outbox has enough newer entries, and did not save this one
   */
  async putOutbox(id: string, entry: OutboxEntry): Promise<boolean> {
    return this.#patiently((engine) => engine.putOutbox(id, entry));
  }

  /** Returns the newest first. Skips entries whose name or kid is malformed. */
  async listOutbox(id: string): Promise<StoredOutboxEntry[]> {
    const entries = await this.#patiently((engine) => engine.listOutbox(id));
    return entries.filter(({ name, kid }) => orderOfName(name) !== undefined && isName(kid));
  }

  async removeOutbox(id: string, names: readonly string[]): Promise<void> {
    if (names.length > 0) await this.#patiently((engine) => engine.removeOutbox(id, names));
  }

  /**
   * Returns the records to refresh within that time from now, the earliest first. `after` is the last record of the
   * previous page.
   */
  async due(withinMs: number, limit: number, after?: DueRecord): Promise<DueRecord[]> {
    const found = await this.#patiently((engine) => engine.due(withinMs, limit, after));
    return found.filter(({ kid, id }) => isName(kid) && isName(id));
  }

  /**
   * Sets the due time of that record, and changes nothing else. Returns `false` when the record has another version.
   */
  async reschedule(address: RecordAddress, version: RecordVersion, dueInMs: number): Promise<boolean> {
    return (await this.engine()).reschedule(address, version, dueInMs);
  }

  async quarantine(address: RecordAddress): Promise<string | undefined> {
    const engine = await this.engine();
    const found = await engine.read(address);
    if (found === undefined) return undefined;
    measure({ name: 'set-aside', why: 'damaged' });
    const aside = await engine.quarantine(address, found.record, 'damaged');
    await engine.remove(address, found.version);
    return aside;
  }

  async list(): Promise<RecordAddress[]> {
    return (await this.#patiently((engine) => engine.list())).filter(
      ({ kid, id }) => isName(kid) && isName(id),
    );
  }

  async kidsOf(id: string): Promise<string[]> {
    return (await this.#patiently((engine) => engine.kidsOf(id))).filter(isName);
  }

  async lock(id: string, options: LeaseOptions): Promise<Lease> {
    const lease = await this.#claim(id, undefined, options);
    if (lease !== undefined) return lease;
    throw new StoreUnreachableError(`The store ${this.id} gave no sense when asked for a lease.`);
  }

  claim(
    address: RecordAddress,
    expected: RecordVersion,
    options: LeaseOptions,
  ): Promise<ClaimedLease | undefined> {
    return this.#claim(address.id, { address, version: expected }, options);
  }

  async locked(id: string): Promise<boolean> {
    return (await this.engine()).leased(id);
  }

  async lockedAmong(ids: readonly string[]): Promise<readonly string[]> {
    const engine = await this.engine();
    if (engine.leasedAmong !== undefined) return engine.leasedAmong(ids);
    const leased = await mapBounded(ids, CALLS_AT_ONCE, (id) => engine.leased(id));
    return ids.filter((_, at) => leased[at] === true);
  }

  async quarantineLate(address: RecordAddress, record: string): Promise<void> {
    measure({ name: 'set-aside', why: 'late' });
    await (await this.engine()).quarantine(address, record, 'late');
  }

  async reserve(): Promise<Reservation> {
    // The engine has the room. If it is full, this process keeps the answer until the engine has room again.
    return { release: async () => {} };
  }

  async selfTest(): Promise<void> {
    return (await this.engine()).selfTest();
  }

  durability(): Durability {
    return 'disk';
  }

  async close(): Promise<void> {
    // An engine that was never loaded, or failed to load, has nothing open.
    await (await this.#loading?.catch(() => undefined))?.close();
  }

  async #claim(
    id: string,
    only: { readonly address: RecordAddress; readonly version: RecordVersion } | undefined,
    { waitMs, signal, canWaitMs = 0 }: LeaseOptions,
  ): Promise<ClaimedLease | undefined> {
    const engine = await this.engine();
    const end = performance.now() + waitMs;
    const patienceMs = canWaitMs >= this.#patienceMs ? this.#patienceMs : 0;
    const request = { id, holder: this.#holder, leaseMs: this.#leaseMs, patienceMs, only };
    // A claim whose answer was lost may have succeeded. Asking by its name again returns it, so this process need not
    // wait.
    const lost = this.#unanswered.get(id);
    this.#unanswered.delete(id);
    let name = lost ?? newVersion();
    let isHeld = false;
    for (let poll = FIRST_POLL_MS; ; poll = Math.min(poll * 2, LONGEST_POLL_MS)) {
      const { asked, answer } = await this.#answered(engine, { ...request, name }, end, signal);
      if (answer.outcome === 'claimed') {
        measure({ name: 'claim', outcome: 'won' });
        return new ClaimedLease(engine, { id, asked, leaseMs: this.#leaseMs, ...answer });
      }
      if (answer.outcome === 'superseded') {
        measure({ name: 'claim', outcome: 'superseded' });
        if (name === lost) await engine.withdraw(id, lost).catch(() => this.#remember(id, lost));
        return undefined;
      }
      if (name === lost) name = newVersion();
      if (!isHeld) measure({ name: 'claim', outcome: 'held' });
      isHeld = true;
      const left = end - performance.now();
      if (left <= 0) {
        throw new LockTimeoutError(
          `Another process has held the lease of this credential for ${waitMs} ms.`,
          {
            hint: `Try again: it passes on when its refresh ends, or at most ${this.#leaseMs + patienceMs} ms after its holder died.`,
          },
        );
      }
      await sleep(Math.min(left, poll * (0.5 + Math.random())), signal);
    }
  }

  /**
   * Returns the engine's answer to a claim. Retries temporary refusals for as long as the caller is willing to wait.
   */
  async #answered(
    engine: Engine,
    request: ClaimRequest,
    end: number,
    signal: AbortSignal | undefined,
  ): Promise<{ readonly asked: ElapsingMoment; readonly answer: ClaimAnswer }> {
    try {
      // The lease counts from before the request, because only the engine knows when it granted the lease.
      return await patiently(
        async () => {
          const asked = elapsingMoment();
          return { asked, answer: await engine.claim(request) };
        },
        end - performance.now(),
        signal,
      );
    } catch (error) {
      this.#remember(request.id, request.name);
      throw error;
    }
  }

  #remember(id: string, name: string): void {
    this.#unanswered.set(id, name);
    const [oldest] = this.#unanswered.keys();
    if (this.#unanswered.size > MAX_UNANSWERED && oldest !== undefined) this.#unanswered.delete(oldest);
  }

  async #patiently<T>(step: (engine: Engine) => Promise<T>): Promise<T> {
    const engine = await this.engine();
    return patiently(() => step(engine), PATIENCE_MS);
  }

  /** Turns a lost answer into `unknown`: the change may have succeeded. */
  async #changed(
    version: RecordVersion,
    lease: Lease | undefined,
    change: (engine: Engine) => Promise<WriteAnswer>,
  ): Promise<CasResult> {
    try {
      const answer = await this.#patiently(change);
      if (answer.outcome !== 'written') return answer;
      if (lease instanceof ClaimedLease) lease.ended();
      return { outcome: 'ok', version };
    } catch (cause) {
      if (cause instanceof StoreUnreachableError || isPassing(cause)) return { outcome: 'unknown', cause };
      throw cause;
    }
  }
}

/**
 * Our ids and kids are base64url. Anyone with write access to the engine can rename a record without a key, and names
 * are shown to people.
 */
function isName(name: string): boolean {
  return /^[\w-]{1,200}$/.test(name);
}

/** Returns a version for one write and all its retries. */
export function newVersion(): RecordVersion {
  return randomBytes(12).toString('base64url');
}

function engineWrite(
  record: string,
  { ageMs = 0, dueInMs, lease, version, onlyIfLast, onlyIfUnsentSince }: WriteOptions,
): EngineWrite {
  return {
    record,
    version: version ?? newVersion(),
    ageMs: Math.max(0, ageMs),
    dueInMs,
    onlyIfLast,
    onlyIfUnsentSince,
    releases: lease instanceof ClaimedLease ? lease.end : undefined,
  };
}
