import type { Evidence } from './evidence.ts';
import type { History } from './history.ts';
import { isStrict } from './issuer.ts';
import type { Presentation } from './server.ts';
import { overlaps, type Span } from './troubles.ts';

/*
 * Why something may have been so: from what was done to whom when, and never from what is likely.
 */

/** A request whose bytes took so long from its process to the server was held back on the way, in milliseconds. */
const HELD_BACK_MS = 50;

/** After a fail-over, so long it takes at most until whoever runs and knows newer tokens has written them, in milliseconds. */
const NOTICED_MS = 1_500;

/** Between two clocks of one machine, and what is written down of them, in milliseconds. */
const SLACK_MS = 100;

export class Causes {
  readonly #evidence: Evidence;
  readonly #byTag: ReadonlyMap<string, History>;
  readonly #servedBy: ReadonlyMap<string, ReadonlyMap<string, number>>;

  /** @param servedBy who was given each access token, and when first */
  constructor(evidence: Evidence, servedBy: ReadonlyMap<string, ReadonlyMap<string, number>>) {
    this.#evidence = evidence;
    this.#servedBy = servedBy;
    this.#byTag = new Map(evidence.histories.map((history) => [history.incarnation.tag, history]));
  }

  historyOf(tag: string): History | undefined {
    return this.#byTag.get(tag);
  }

  /** Why a token may have been presented again. */
  ofRepetition(first: Presentation, second: Presentation): string | undefined {
    const history = this.#byTag.get(first.worker);
    const { killedAt, worker } = history?.incarnation ?? {};
    if (first.fate !== 'whole') return 'its answer was lost on the way';
    // What it had sent reaches the server after its death, too.
    if (killedAt !== undefined && killedAt <= Math.max(first.at, second.at)) {
      return 'its holder was killed';
    }
    const [from, to] = [first.connectedAt, Math.max(first.at, second.at)];
    if (this.#stopped(first.worker, from, to)) return 'its holder was stopped';
    if (this.isHeldBack(first, second) || this.isHeldBack(second, first)) {
      return 'a request was held back after its fence';
    }
    // Whoever comes second may have claimed before the clock was set.
    const clock = this.#met(worker, from - this.#evidence.leaseMs, to, ['clock set']);
    if (clock !== undefined) return 'the engine’s clock was set';
    if (this.#lostByFailOver(first, second)) return 'a fail-over lost its write';
    const away = this.#away(worker, from, to);
    if (away !== undefined) return `the engine was away: ${away}`;
    return this.#starved(first.worker, from, to) ? 'its holder was starved of CPU' : undefined;
  }

  /** Why the first answer could not be kept from being lost, if it could not. */
  ofLoss(first: Presentation, second: Presentation): string | undefined {
    // Somebody else had it, so it had been written.
    if (this.#wasWritten(first, second.connectedAt)) {
      return this.#lostByFailOver(first, second) ? 'a fail-over lost its write' : undefined;
    }
    const cause = this.ofRepetition(first, second);
    // An engine that dies and comes back is no excuse: its holder lives, and writes again.
    return cause?.startsWith('the engine was away: engine down') === true ? undefined : cause;
  }

  /**
   * Why a login ended, if no client could have saved it.
   *
   * @param own what was presented of it, in the order in which the server decided
   * @param refused the presentation that ended it
   * @param pair it and the one before of the same token, in the order in which they were sent
   */
  ofEnd(
    own: readonly Presentation[],
    refused: Presentation,
    pair: readonly [Presentation, Presentation] | undefined,
  ): string | undefined {
    const { mode, windowMs } = this.#evidence;
    // A strict server ends what is repeated, and only the loss of the first answer can excuse that.
    if (isStrict(mode)) return pair && (this.ofLoss(...pair) ?? this.#claimCutShort(...pair));
    if (pair !== undefined && this.#lostByFailOver(...pair)) return 'a fail-over lost its write';
    if (refused.windowMs !== undefined) {
      const from = refused.at - refused.windowMs;
      const still = this.#stoodStillMs(from, refused.at);
      if (refused.windowMs - still <= windowMs) return 'the window closed while the machine stood still';
      const awayMs = this.#engineAwayMs(from, refused.at);
      if (refused.windowMs - still - awayMs <= windowMs) return 'the window closed while the engine was away';
      return undefined;
    }
    // The server came to an earlier request later, so that its answer counts.
    const { generation, sibling } = refused.shown;
    const given = own.filter((one) => one.given?.generation === generation && one.at <= refused.at);
    const first = given.find((one) => one.given?.sibling === sibling);
    const later = given.filter((one) => (one.given?.sibling ?? 0) > sibling);
    if (first !== undefined && later.some((one) => this.isHeldBack(one, first))) {
      return 'a request was held back after its fence';
    }
    // Set ahead, the engine's clock ended a lease whose request was under way, and the next holder's was decided before it.
    const isUnderWay = (one: Presentation) => first !== undefined && one.connectedAt <= first.connectedAt;
    const wasEnded = (one: Presentation) =>
      this.#evidence.spans.some(
        (span) =>
          span.what === 'clock set' &&
          (span.byMs ?? 0) > 0 &&
          overlaps(span, one.connectedAt, first?.connectedAt ?? one.connectedAt),
      );
    return later.some((one) => isUnderWay(one) && wasEnded(one)) ? 'the engine’s clock was set' : undefined;
  }

  /** Whether nobody has the newest answer, so that nobody can revoke it. */
  ofLife(last: Presentation): string | undefined {
    if (last.fate !== 'whole') return 'its answer was lost on the way';
    const { killedAt } = this.#byTag.get(last.worker)?.incarnation ?? {};
    return killedAt === undefined ? undefined : 'its holder was killed';
  }

  /** Whether `one` had left its process before `other` was sent, and came to the server only after it. */
  isHeldBack(one: Presentation, other: Presentation): boolean {
    const { receivedAt, port } = one;
    if (receivedAt === undefined || port === undefined) return false;
    const sent = this.#byTag
      .get(one.worker)
      ?.sent.findLast((line) => line.port === port && line.sent <= receivedAt);
    if (sent === undefined || receivedAt - sent.sent < HELD_BACK_MS) return false;
    return sent.sent < (other.receivedAt ?? other.connectedAt) && receivedAt > other.connectedAt;
  }

  /**
   * Whether the engine's clock, set ahead, ended the claim of `second` before its lease was over, so that `first` claimed and
   * was answered beside it.
   */
  #claimCutShort(first: Presentation, second: Presentation): string | undefined {
    const from = second.connectedAt - this.#evidence.leaseMs;
    const isCut = this.#evidence.spans.some(
      (span) =>
        span.what === 'clock set' &&
        (span.byMs ?? 0) > 0 &&
        overlaps(span, from, second.connectedAt) &&
        first.connectedAt >= span.from,
    );
    return isCut ? 'the engine’s clock was set' : undefined;
  }

  /** Whatever was wrong with the engine, or the way to it. */
  troubleOf(worker: number | undefined, from: number, to: number): string | undefined {
    return this.#met(worker, from, to)?.what;
  }

  /** As `troubleOf`, but for a fail-over and a clock that was set: those excuse by what they did alone. */
  #away(worker: number | undefined, from: number, to: number): string | undefined {
    const others = ['engine down', 'lost answers', 'delay', 'cut'] as const;
    return (this.#met(worker, from, to, ['partition']) ?? this.#met(worker, from, to, others))?.what;
  }

  #met(
    worker: number | undefined,
    from: number,
    to: number,
    what?: readonly Span['what'][],
  ): Span | undefined {
    return this.#evidence.spans.find(
      (span) =>
        (span.worker === undefined || span.worker === worker) &&
        overlaps(span, from, to) &&
        (what?.includes(span.what) ?? span.what !== 'wall clock set'),
    );
  }

  /** Whether anybody but its holder was given it before then: so it was in the store. */
  #wasWritten({ given, worker }: Presentation, before: number): boolean {
    const served = [...(this.#servedBy.get(given?.access ?? '') ?? [])];
    return served.some(([tag, at]) => tag !== worker && at < before);
  }

  /**
   * Whether its answer was written when the replica got nothing any more, and nobody who knew it came to write it again before
   * the parent was presented.
   */
  #lostByFailOver(first: Presentation, second: Presentation): boolean {
    return this.#evidence.spans.some((span) => {
      if (span.what !== 'fail-over') return false;
      // Its claim went with the engine, so the other one could claim beside it.
      const isUnderWay = (one: Presentation) => overlaps(span, one.connectedAt, one.at);
      if (isUnderWay(second) && first.connectedAt >= span.from) return true;
      if (second.connectedAt < span.from || first.at > span.to) return false;
      if (this.#wasWritten(first, span.from)) return false;
      const isLate =
        this.#stopped(first.worker, first.at, span.from) ||
        this.#starved(first.worker, first.at, span.from) ||
        this.troubleOf(this.#byTag.get(first.worker)?.incarnation.worker, first.at, span.from - 1) !==
          undefined;
      if (first.at < span.from - SLACK_MS && !isLate) return false;
      if (second.connectedAt < span.to + NOTICED_MS) return true;
      const knowers = [first.worker, ...(this.#servedBy.get(first.given?.access ?? '')?.keys() ?? [])];
      return !knowers.some((tag) => this.#ran(tag, span.to, second.connectedAt));
    });
  }

  /** Whether that process lived and ran, and its network worked, all that time. */
  #ran(tag: string, from: number, to: number): boolean {
    const history = this.#byTag.get(tag);
    if (history === undefined) return false;
    const { killedAt, worker } = history.incarnation;
    if (killedAt !== undefined && killedAt < to) return false;
    if (this.#stopped(tag, from, to) || this.#starved(tag, from, to)) return false;
    return this.troubleOf(worker, from + 1, to) === undefined;
  }

  #stopped(tag: string, from: number, to: number): boolean {
    return this.#byTag.get(tag)?.incarnation.stops.some((stop) => overlaps(stop, from, to)) === true;
  }

  #starved(tag: string, from: number, to: number): boolean {
    const stalls = this.#byTag.get(tag)?.stalls ?? [];
    return stalls.some(([begin, end]) => overlaps({ from: begin, to: end }, from, to));
  }

  /** How long nothing ran in the harness between then and then, in milliseconds. */
  /** For how long in that time no process could reach the engine, in milliseconds. */
  #engineAwayMs(from: number, to: number): number {
    const away = this.#evidence.spans
      .filter(({ what, worker }) => worker === undefined && (what === 'engine down' || what === 'partition'))
      .toSorted((a, b) => a.from - b.from);
    let [sum, until] = [0, from];
    for (const span of away) {
      const end = Math.min(span.to, to);
      sum += Math.max(0, end - Math.max(span.from, until));
      until = Math.max(until, end);
    }
    return sum;
  }

  #stoodStillMs(from: number, to: number): number {
    return this.#evidence.stalls.reduce(
      (sum, [begin, end]) => sum + Math.max(0, Math.min(end, to) - Math.max(begin, from)),
      0,
    );
  }
}
