import { LeaseLostError } from '../../errors.ts';
import { type ElapsingMoment, elapsedSince, elapsingMoment } from '../../system/clock.ts';
import { measure } from '../../system/metric-channel.ts';
import type { Lease, NamedVersion } from '../record-store.ts';
import type { ClaimEnd, Engine } from './engine.ts';

/** The share of the lease left for the time between the last look at the clock and the first byte. */
const GUARD_SHARE = 0.1;

/** Renewals within one lease. */
const RENEWALS = 3;

/** How long a holder trusts the engine's last answer about its claim before it sends a request, in milliseconds. */
const CONFIRMED_MS = 1_000;

/**
 * A claim in an engine. The event loop that does the work renews it, so a process that hangs stops renewing. The note
 * stays here until the claim ends; the step that ends the claim writes it. A claim that never ends shows later holders
 * that this holder may have sent a request.
 */
export class ClaimedLease implements Lease {
  readonly epoch: number;
  readonly abandonedAt: number | undefined;
  readonly #engine: Engine;
  readonly #id: string;
  readonly #leaseMs: number;
  #note: string | undefined;
  readonly #begin: ElapsingMoment;
  readonly #now: number;
  #since: ElapsingMoment;
  #sinceWall: number;
  #lost = false;
  /** Whether the holder may have sent a request. */
  #sending = false;
  #announced: Promise<void> | undefined;
  #ended: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(
    engine: Engine,
    claim: {
      readonly id: string;
      readonly epoch: number;
      readonly asked: ElapsingMoment;
      readonly leaseMs: number;
      readonly note: string | undefined;
      readonly now: number;
      readonly abandonedAt: number | undefined;
    },
  ) {
    this.#engine = engine;
    this.#id = claim.id;
    this.epoch = claim.epoch;
    this.#begin = claim.asked;
    this.#now = claim.now;
    this.#since = claim.asked;
    this.#sinceWall = Date.now() - elapsedSince(claim.asked);
    this.#leaseMs = claim.leaseMs;
    this.#note = claim.note;
    this.abandonedAt = claim.abandonedAt;
    this.#renewSoon();
  }

  now(): number {
    return Math.round(this.#now + elapsedSince(this.#begin));
  }

  async note(): Promise<string | undefined> {
    return this.#note;
  }

  async setNote(text: string): Promise<void> {
    this.#note = text === '' ? undefined : text;
  }

  /** The data that the step which ends this claim writes to the engine. */
  get end(): ClaimEnd {
    return { epoch: this.epoch, note: this.#note, unsent: !this.#sending };
  }

  announce(only?: NamedVersion): void {
    this.#sending = true;
    this.#announced = this.#ask(only).then((isSaid) => {
      this.#sending &&= isSaid;
    });
    // `confirm` waits for it, and throws its error.
    this.#announced.catch(() => {});
  }

  get #isOver(): boolean {
    return elapsedSince(this.#since) >= this.#leaseMs * (1 - GUARD_SHARE);
  }

  async confirm(): Promise<void> {
    try {
      await this.#announced;
    } catch (cause) {
      this.#sending = false;
      throw this.#missed(cause);
    }
    // The wall clock jumps when this machine resumes from a snapshot. The other two clocks go on as if nothing had
    // happened.
    const sinceMs = Math.max(elapsedSince(this.#since), Math.abs(Date.now() - this.#sinceWall));
    if (!this.#isOver && sinceMs < CONFIRMED_MS) return this.check();
    try {
      await this.#ask();
    } catch (cause) {
      throw this.#missed(cause);
    }
    this.check();
  }

  check(): void {
    if (!this.#lost && this.#ended === undefined && !this.#isOver) return;
    throw this.#missed();
  }

  #missed(cause?: unknown): LeaseLostError {
    measure({ name: 'claim', outcome: 'lost' });
    return new LeaseLostError('This process did not come to send its request while it held the lease.', {
      cause,
      hint: 'Another one may be refreshing by now; try again.',
    });
  }

  /** Marks the claim as ended by another step of the engine. */
  ended(): void {
    this.#ended ??= Promise.resolve();
    clearTimeout(this.#timer);
  }

  abandon(): void {
    this.ended();
  }

  release(): Promise<void> {
    clearTimeout(this.#timer);
    this.#ended ??= this.#engine.release(this.#id, this.end);
    return this.#ended;
  }

  #renewSoon(): void {
    this.#timer = setTimeout(() => void this.#renew(), this.#leaseMs / RENEWALS);
    this.#timer.unref();
  }

  async #renew(): Promise<void> {
    await this.#renewOnce();
    if (this.#ended === undefined && !this.#lost) this.#renewSoon();
  }

  async #renewOnce(): Promise<void> {
    try {
      await this.#ask();
    } catch {
      // The lease expires if the engine stays unreachable; until then the next try may reach it.
    }
  }

  /**
   * Renews the claim for a whole lease from now.
   *
   * @returns whether it is still the last claim, and the record still has the version in `only`
   */
  async #ask(only?: NamedVersion): Promise<boolean> {
    const [asked, wall] = [elapsingMoment(), Date.now()];
    const isMine = await this.#engine.renew(this.#id, this.epoch, this.#leaseMs, this.#sending, only);
    if (isMine) {
      this.#since = asked;
      this.#sinceWall = wall;
    } else if (this.#ended === undefined) {
      this.#lost = true;
    }
    return isMine;
  }
}
