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
import { measured } from './measured-engine.ts';
import { isPassing, patiently } from './passing-refusal.ts';

export interface EngineStoreOptions {
  /** How long a claim lasts without being renewed, in milliseconds: so long a crash keeps others waiting. Default 15,000. */
  readonly leaseMs?: number | undefined;
  /** How much longer a holder is waited for that went silent, where that can be afforded, in milliseconds. Default 2 leases. */
  readonly patienceMs?: number | undefined;
  /** For how long a token in memory is served before the engine is asked what others have done. Default 10,000 ms. */
  readonly lookEveryMs?: number | undefined;
}

const LEASE_MS = 15_000;
const LOOK_EVERY_MS = 10_000;

/** Between two looks at a lease that somebody holds, in milliseconds: growing, with jitter. */
const FIRST_POLL_MS = 15;
const LONGEST_POLL_MS = 200;

/** How long a refusal that passes is waited for, where the caller gives no time of its own, in milliseconds. */
const PATIENCE_MS = 20_000;

/** So many calls are made at once of an engine that takes no question for many. */
const CALLS_AT_ONCE = 16;

/** So many names of claims whose answer was lost are kept. */
const MAX_UNANSWERED = 10_000;

/** An engine that is loaded when it is first used. */
export interface LazyEngine {
  readonly id: string;
  readonly tenant: string;
  load(): Promise<Engine>;
}

/** Sealed records in an engine that many machines share. All that engines have in common is here. */
export class EngineStore implements RecordStore {
  readonly id: string;
  readonly tenant: string;
  readonly lookEveryMs: number;
  readonly #load: () => Promise<Engine>;
  readonly #leaseMs: number;
  readonly #patienceMs: number;
  readonly #holder: string;
  /** By id, the names of claims whose answer was lost. */
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

  /** @throws InvalidArgumentError when the package that the engine needs is not installed */
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

  /** `false` also when somebody has claimed that id after `onlyIfLast`. */
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

  /** Keeps a server's answer that could not be stored. `false`: enough newer ones are kept, and this one is not. */
  async putOutbox(id: string, entry: OutboxEntry): Promise<boolean> {
    return this.#patiently((engine) => engine.putOutbox(id, entry));
  }

  /** The newest first. */
  async listOutbox(id: string): Promise<StoredOutboxEntry[]> {
    const entries = await this.#patiently((engine) => engine.listOutbox(id));
    return entries.filter(({ name, kid }) => orderOfName(name) !== undefined && isName(kid));
  }

  async removeOutbox(id: string, names: readonly string[]): Promise<void> {
    if (names.length > 0) await this.#patiently((engine) => engine.removeOutbox(id, names));
  }

  /** Records to be refreshed within that time from now, the earliest first; `after` is the last of the page before. */
  async due(withinMs: number, limit: number, after?: DueRecord): Promise<DueRecord[]> {
    const found = await this.#patiently((engine) => engine.due(withinMs, limit, after));
    return found.filter(({ kid, id }) => isName(kid) && isName(id));
  }

  /** Sets when that record is due and changes nothing else of it. `false`: it has another version. */
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
    // The room is the engine's; what it cannot take is kept by the process until it can.
    return { release: async () => {} };
  }

  async selfTest(): Promise<void> {
    return (await this.engine()).selfTest();
  }

  durability(): Durability {
    return 'disk';
  }

  async close(): Promise<void> {
    // What was never loaded, or could not be, has nothing open.
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
    // A claim whose answer was lost may have landed: under its name it is this process's own, and nobody waits for it.
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

  /** The engine's answer to a claim. While it refuses for a reason that passes, the caller's own time is waited. */
  async #answered(
    engine: Engine,
    request: ClaimRequest,
    end: number,
    signal: AbortSignal | undefined,
  ): Promise<{ readonly asked: ElapsingMoment; readonly answer: ClaimAnswer }> {
    try {
      // The lease counts from before it was asked for: nobody knows when in between the engine granted it.
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

  /** A change whose answer was lost may have landed. */
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
 * Ids and kids of ours are base64url. Whoever can write to the engine needs no key to give a record another name, and names are
 * shown to people.
 */
function isName(name: string): boolean {
  return /^[\w-]{1,200}$/.test(name);
}

/** A version for one write, and for each retry of it. */
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
