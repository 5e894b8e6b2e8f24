import { randomBytes } from 'node:crypto';
import { LockTimeoutError, StoreUnreachableError } from '../errors.ts';
import { elapsingMoment } from '../system/clock.ts';
import { machineName } from '../system/machine-name.ts';
import { measure } from '../system/metrics.ts';
import { pause } from '../system/turn.ts';
import { ClaimedLease } from './claimed-lease.ts';
import type { Engine } from './engine.ts';
import { measured } from './measured-engine.ts';
import type {
  CasResult,
  Durability,
  Lease,
  LeaseOptions,
  RecordAddress,
  RecordVersion,
  Reservation,
  Store,
  StoredRecord,
  WriteOptions,
} from './store.ts';

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

/** An engine that is loaded when it is first used. */
export interface LazyEngine {
  readonly id: string;
  readonly tenant: string;
  load(): Promise<Engine>;
}

/** Sealed records in an engine that many machines share. All that engines have in common is here. */
export class EngineStore implements Store {
  readonly id: string;
  readonly tenant: string;
  readonly lookEveryMs: number;
  readonly #load: () => Promise<Engine>;
  readonly #leaseMs: number;
  readonly #patienceMs: number;
  readonly #holder: string;
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
    this.#loading ??= this.#load().then(measured);
    return this.#loading;
  }

  async read(address: RecordAddress): Promise<StoredRecord | undefined> {
    return (await this.engine()).read(address);
  }

  async version(address: RecordAddress): Promise<RecordVersion | undefined> {
    return (await this.engine()).version(address);
  }

  async cas(
    address: RecordAddress,
    expected: RecordVersion | undefined,
    record: string,
    { ageMs = 0, lease }: WriteOptions = {},
  ): Promise<CasResult> {
    const version = newVersion();
    const claimed = lease instanceof ClaimedLease ? lease : undefined;
    return outcomeOf(version, async () => {
      const releases = claimed && { epoch: claimed.epoch, note: claimed.pendingNote };
      const engine = await this.engine();
      const written = await engine.write(address, expected, {
        record,
        version,
        ageMs: Math.max(0, ageMs),
        releases,
      });
      if (written) claimed?.ended();
      return written;
    });
  }

  async remove(address: RecordAddress, expected?: RecordVersion): Promise<boolean> {
    return (await this.engine()).remove(address, expected);
  }

  async move(
    from: RecordAddress,
    to: RecordAddress,
    expected: RecordVersion,
    record: string,
    { ageMs = 0 }: WriteOptions = {},
  ): Promise<CasResult> {
    const version = newVersion();
    return outcomeOf(version, async () =>
      (await this.engine()).move(from, to, expected, { record, version, ageMs: Math.max(0, ageMs) }),
    );
  }

  async quarantine(address: RecordAddress): Promise<string | undefined> {
    const engine = await this.engine();
    const found = await engine.read(address);
    if (found === undefined) return undefined;
    measure({ name: 'set-aside', why: 'damaged' });
    const aside = await engine.setAside(address, found.record, 'damaged');
    await engine.remove(address, found.version);
    return aside;
  }

  async list(): Promise<RecordAddress[]> {
    return (await (await this.engine()).list()).filter(({ kid, id }) => isName(kid) && isName(id));
  }

  async kidsOf(id: string): Promise<string[]> {
    return (await (await this.engine()).kidsOf(id)).filter(isName);
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

  async journal(address: RecordAddress, record: string): Promise<void> {
    measure({ name: 'set-aside', why: 'late' });
    await (await this.engine()).setAside(address, record, 'late');
  }

  async reserve(): Promise<Reservation> {
    // The room is the engine's; what it cannot take is kept by the process until it can.
    return { release: async () => {} };
  }

  async rehearse(): Promise<void> {
    return (await this.engine()).rehearse();
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
    let isHeld = false;
    for (let poll = FIRST_POLL_MS; ; poll = Math.min(poll * 2, LONGEST_POLL_MS)) {
      // The lease counts from before it was asked for: nobody knows when in between the engine granted it.
      const asked = elapsingMoment();
      const answer = await engine.claim(request);
      if (answer.outcome === 'claimed') {
        measure({ name: 'claim', outcome: 'won' });
        return new ClaimedLease(engine, { id, asked, leaseMs: this.#leaseMs, ...answer });
      }
      if (answer.outcome === 'superseded') {
        measure({ name: 'claim', outcome: 'superseded' });
        return undefined;
      }
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
      await pause(Math.min(left, poll * (0.5 + Math.random())), signal);
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

function newVersion(): RecordVersion {
  return randomBytes(12).toString('base64url');
}

/** A write whose answer did not come may have landed. */
async function outcomeOf(version: RecordVersion, write: () => Promise<boolean>): Promise<CasResult> {
  try {
    return (await write()) ? { outcome: 'ok', version } : { outcome: 'conflict' };
  } catch (cause) {
    if (cause instanceof StoreUnreachableError) return { outcome: 'unknown', cause };
    throw cause;
  }
}
