import type { Causes } from './causes.ts';
import type { Evidence } from './evidence.ts';
import type { Incarnation } from './fleet.ts';
import type { History } from './history.ts';
import type { Issued } from './server.ts';
import { count, overlaps } from './troubles.ts';

/** Between what a client believes of a token's end and what the server does, in milliseconds. */
const MARGIN_MS = 100;
/** A token’s age takes so long at most from who writes it to who reads it, when nothing holds it up. */
const SLACK_MS = 250;

interface Held extends Issued {
  readonly at: number;
  readonly access: string;
  /** A token is dated from before it was read, so it may be thought older by as long as that took, in milliseconds. */
  tookMs: number;
}

/** Whether who had a living token was given one, and nobody a lapsed one. */
export function availabilityOf(evidence: Evidence, causes: Causes) {
  const { issued, revokedAt, lifeMs, logins, histories, absences, operations, log, spans } = evidence;
  const failures = new Map<string, number>();
  const faults: string[] = [];
  const waits: number[] = [];
  let [calls, served, withheld, ofOldBuild] = [0, 0, 0, 0];
  const late = { calls: 0, mostMs: 0 };
  const writers = new Map(log.map((one) => [one.given?.access, one.worker]));
  // A wall clock that is set ahead makes its process think tokens older, and an engine that is away then gives no newer one.
  const isAhead = ({ incarnation }: History, from: number, to: number) =>
    spans.some(
      (span) =>
        span.what === 'wall clock set' &&
        span.worker === incarnation.worker &&
        (span.byMs ?? 0) > 0 &&
        overlaps(span, from, to),
    );
  const isAbsent = (credential: number, from: number, to: number) =>
    absences.some((one) => one.credential === credential && overlaps(one, from, to));

  for (const history of histories) {
    const { incarnation, calls: own } = history;
    const blame = (what: string) => {
      if (incarnation.old) ofOldBuild += 1;
      else faults.push(`Worker ${incarnation.tag} ${what}`);
    };
    const had = new Map<number, Held>();
    for (const call of own) {
      calls += 1;
      const { credential, begin, end, access, error } = call;
      const held = had.get(credential);
      const ended = held && revokedAt(held.family);
      const isAlive = held !== undefined && held.at <= begin && (ended === undefined || end < ended);
      const marginMs = MARGIN_MS + (held?.tookMs ?? 0);
      const lived =
        isAlive &&
        end < held.askedAt + lifeMs - marginMs &&
        !disturbed(history, begin, end) &&
        !isAhead(history, held.askedAt, end);
      if (lived) waits.push(end - begin);
      if (error !== undefined) {
        count(failures, error);
        if (lived && !isAbsent(credential, held.at, end)) {
          if (!incarnation.old) withheld += 1;
          blame(`was given no token for ${credential} (${error}) though it had a living one.`);
        }
        continue;
      }
      served += 1;
      const given = issued.get(access ?? '');
      if (given === undefined || access === undefined) blame('was given a token that nobody issued.');
      else if (logins[given.family]?.credential !== credential) blame('got another login’s token.');
      else {
        const tookMs = Math.max(end - begin, held?.access === access ? held.tookMs : 0);
        had.set(credential, { ...given, access, at: end, tookMs });
        if (given.until + SLACK_MS >= begin) continue;
        const lateMs = begin - given.until;
        if (heldUp(given, access, incarnation, end)) {
          late.calls += 1;
          late.mostMs = Math.max(late.mostMs, lateMs);
        } else {
          const when = `${lateMs.toFixed(0)} ms before`;
          blame(`was given a token for ${credential} that had lapsed ${when}.`);
        }
      }
    }
  }
  const sorted = waits.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
  return {
    faults,
    ofOldBuild,
    figures: {
      calls,
      served,
      withheld,
      late,
      failures: Object.fromEntries(failures),
      waits: { calls: waits.length, p50: at(0.5), p99: at(0.99), most: at(1) },
    },
  };

  /** Whether anything came between its answer and who was given it in the end. */
  function heldUp(given: Issued, access: string, reader: Incarnation, to: number): boolean {
    const from = given.askedAt;
    // The token of a login from elsewhere is dated by a wall clock: nothing else is known to both sides.
    const { credential } = logins[given.family] ?? {};
    const isImported = operations.some(
      (one) =>
        one.kind === 'import' &&
        one.credential === credential &&
        overlaps({ from: one.askedAt, to: one.endedAt }, from, to),
    );
    if (isImported) return true;
    if (causes.troubleOf(reader.worker, from, to) !== undefined) return true;
    const writer = causes.historyOf(writers.get(access) ?? '');
    if (writer === undefined) return false;
    return disturbed(writer, from, to) || causes.troubleOf(writer.incarnation.worker, from, to) !== undefined;
  }
}

/** Whether it was stopped, or did not run, between then and then. */
function disturbed({ incarnation, stalls }: History, from: number, to: number): boolean {
  const isStopped = incarnation.stops.some((stop) => overlaps(stop, from, to));
  return isStopped || stalls.some(([begin, end]) => overlaps({ from: begin, to: end }, from, to));
}
