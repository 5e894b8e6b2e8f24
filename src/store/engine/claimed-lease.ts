import { LeaseLostError } from '../../errors.ts';
import { type ElapsingMoment, elapsedSince, elapsingMoment } from '../../system/clock.ts';
import { measure } from '../../system/metric-channel.ts';
import type { Lease, NamedVersion } from '../record-store.ts';
import type { ClaimEnd, Engine } from './engine.ts';

/** So much of the lease is given up for what lies between the last look at the clock and the first byte. */
const GUARD_SHARE = 0.1;

/** Renewed so often within one lease. */
const RENEWALS = 3;

/** For so long what the engine said of a claim is believed right before a request leaves, in milliseconds. */
const CONFIRMED_MS = 1_000;

/**
 * A claim in an engine, renewed by the event loop that does the work: a process that hangs stops renewing. What is noted is
 * kept here until the claim ends, and written in that same step; a claim that never ends is the note that something was
 * about to be sent.
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
  /** Whether it may have sent a request. */
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

  /** What the step that ends this claim writes down. */
  get end(): ClaimEnd {
    return { epoch: this.epoch, note: this.#note, unsent: !this.#sending };
  }

  announce(only?: NamedVersion): void {
    this.#sending = true;
    this.#announced = this.#ask(only).then((isSaid) => {
      this.#sending &&= isSaid;
    });
    // `confirm` waits for it, and throws what it throws.
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
    // The wall clock jumps where a snapshot of this machine was resumed, while the other two went on as if nothing had been.
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

  /** The engine has ended the claim in another step. */
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
      // The lease expires if the engine stays away; until then the next try may reach it.
    }
  }

  /** Whether it is still the last claim, of a record that has that version, and lasts a whole lease from now. */
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
