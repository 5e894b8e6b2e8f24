import { availabilityOf } from './availability.ts';
import { Causes } from './causes.ts';
import type { Evidence } from './evidence.ts';
import { serversOf } from './history.ts';
import type { Presentation } from './server.ts';
import { traced } from './trace.ts';
import { count, overlaps, type Span } from './troubles.ts';

/*
 * What came of a run, from the authorization server's own log and from what was done to whom when. The workers' own words
 * count only for which token they were given, when a request left them, and what a logout said.
 */

export interface Verdict {
  /** What must not be, one a line, with its trace. */
  readonly violations: readonly string[];
  readonly avoidable: number;
  /** Logins that ended, and that no client could have saved, by cause. */
  readonly unavoidable: Readonly<Record<string, number>>;
  /** Losses, and other faults, that an older build had its part in, where one runs beside today’s. */
  readonly ofOldBuild: number;
  readonly presentations: number;
  readonly generations: number;
  /** Too few presentations for the faults: whatever else was seen, nothing was shown. */
  readonly isStarved: boolean;
  /** Presentations of a token that had been presented before, by cause. */
  readonly repeated: Readonly<Record<string, number>>;
  /** How the operations ended that a worker was told to do, such as `logout: revoked`. */
  readonly operations: Readonly<Record<string, number>>;
  /** Logouts that said “revoked”, and left something alive that nobody had any more, by cause. */
  readonly leftAlive: Readonly<Record<string, number>>;
  readonly calls: number;
  readonly served: number;
  readonly failures: Readonly<Record<string, number>>;
  /** Calls that failed though the process had a living token. */
  readonly withheld: number;
  /** Calls that were given a token that had lapsed, since the network had held up who wrote it or who read it. */
  readonly late: { readonly calls: number; readonly mostMs: number };
  /** Of the calls made while the process had a living token: how long they took, in milliseconds. */
  readonly waits: {
    readonly calls: number;
    readonly p50: number;
    readonly p99: number;
    readonly most: number;
  };
}

/** At least one presentation for so many faults, or the run is worth nothing. */
const FAULTS_A_PRESENTATION = 2;

export function judge(evidence: Evidence): Verdict {
  const { log, logins } = evidence;
  const servedBy = serversOf(evidence.histories);
  const causes = new Causes(evidence, servedBy);
  const violations: string[] = [];
  const repeated = new Map<string, number>();
  const unavoidable = new Map<string, number>();
  let [avoidable, ofOldBuild, generations] = [0, 0, 0];

  const trace = (what: string, family: number, own: readonly Presentation[], at: Presentation | undefined) =>
    traced(what, { evidence, servedBy }, family, own, at);
  /** An older build is not judged, nor what today’s build made of what it had done. */
  const blame = (
    what: string,
    isLoss: boolean,
    family: number,
    own: readonly Presentation[],
    at?: Presentation,
  ) => {
    if (hasOldPart(own, at)) {
      ofOldBuild += 1;
      return;
    }
    if (isLoss) avoidable += 1;
    violations.push(trace(what, family, own, at));
  };
  const hasOldPart = (own: readonly Presentation[], at: Presentation | undefined) => {
    const from = (at?.shown.generation ?? Number.POSITIVE_INFINITY) - 1;
    const isOld = ({ worker }: Presentation) => causes.historyOf(worker)?.incarnation.old === true;
    return own.some((one) => one.shown.generation >= from && isOld(one));
  };

  for (const { family, credential } of logins) {
    const own = log.filter((one) => one.family === family);
    const replacedAt = logins.find(
      (one) => one.credential === credential && one.family > family && one.landedAt !== undefined,
    )?.begunAt;
    const before = new Map<string, Presentation>();
    let ended = false;
    for (const one of own) {
      const key = `${one.shown.generation}/${one.shown.sibling}`;
      const earlier = before.get(key);
      before.set(key, one);
      if (earlier === undefined) generations += 1;
      // After a logout, and after another login in its place, it is not to be saved.
      const loggedOutAt = evidence.loggedOutAt(family);
      if ((loggedOutAt !== undefined && loggedOutAt <= one.at) || (replacedAt ?? one.at) < one.at)
        ended = true;
      // The server may come to the request of a holder that has died only after that of the next one.
      const pair = earlier && inOrderOfSending(earlier, one);
      const cause = pair && causes.ofRepetition(...pair);
      if (earlier !== undefined && !ended) {
        count(repeated, cause ?? 'without cause');
        if (cause === undefined) blame('A token was presented twice without cause', false, family, own, one);
      }
      if (one.outcome !== 'refused' || ended) continue;
      ended = true;
      const excuse = causes.ofEnd(own, one, pair);
      if (excuse === undefined) blame('A login was lost that could have been saved', true, family, own, one);
      else count(unavoidable, excuse);
    }
  }

  for (const [credential, found] of evidence.final.entries()) {
    if (found === undefined) {
      violations.push(`credential ${credential}: nothing is stored in the end`);
      continue;
    }
    const { stored, family = -1, live } = found;
    if (stored.isMoved === true) {
      violations.push(`credential ${credential}: it is moved away in the end, and nobody took it back`);
      continue;
    }
    const own = log.filter((one) => one.family === family);
    const last = own.at(-1);
    if (family !== -1 && evidence.revokedAt(family) !== undefined) continue;
    if (stored.loginRequired) {
      blame('A credential wants a login while its family is alive', true, family, own, last);
    } else if (stored.refreshToken !== live) {
      // What the last answer met may be mended by the next refresh, or lost with its holder; the run ended before either.
      const then = Number.POSITIVE_INFINITY;
      const excuse = last && causes.ofLoss(last, { ...last, at: then, connectedAt: then });
      if (excuse === undefined) blame('The stored token is not the live one', false, family, own, last);
    }
  }

  const { operations, leftAlive, faults: ofLogouts } = logoutsOf(evidence, causes, trace);
  violations.push(...ofLogouts, ...evidence.seen);
  violations.push(...evidence.leaks.map((place) => `A token was found in ${place}`));
  for (const { incarnation } of evidence.histories) {
    const { tag, crashed, old } = incarnation;
    if (crashed && !old) violations.push(`Worker ${tag} ended by itself.`);
  }
  const availability = availabilityOf(evidence, causes);
  violations.push(...availability.faults);
  return {
    violations,
    avoidable,
    unavoidable: Object.fromEntries(unavoidable),
    ofOldBuild: ofOldBuild + availability.ofOldBuild,
    presentations: log.length,
    generations,
    isStarved: log.length * FAULTS_A_PRESENTATION < evidence.faults,
    repeated: Object.fromEntries(repeated),
    operations,
    leftAlive,
    ...availability.figures,
  };
}

/** A logout that said “revoked” left nothing alive, unless nobody has it. */
function logoutsOf(
  { operations, logins, log, spans, loggedOutAt, revokedAt }: Evidence,
  causes: Causes,
  trace: (what: string, family: number, own: readonly Presentation[], at: Presentation | undefined) => string,
) {
  const outcomes = new Map<string, number>();
  const leftAlive = new Map<string, number>();
  const faults: string[] = [];
  for (const { kind, credential, askedAt, outcome, code } of operations) {
    count(outcomes, `${kind}: ${code ?? outcome}`);
    if (kind !== 'logout' || outcome !== 'revoked') continue;
    const ended = logins.findLast(
      (one) => one.credential === credential && (one.landedAt ?? Number.POSITIVE_INFINITY) <= askedAt,
    );
    if (ended === undefined) continue;
    const { family, landedAt = 0 } = ended;
    if (loggedOutAt(family) !== undefined || revokedAt(family) !== undefined) continue;
    const own = log.filter((one) => one.family === family);
    const last = own.findLast((one) => one.given !== undefined);
    const excuse = last === undefined ? lostBeforeUse(spans, landedAt, askedAt) : causes.ofLife(last);
    if (excuse === undefined)
      faults.push(trace('A logout said “revoked”, and left it alive', family, own, last));
    else count(leftAlive, excuse);
  }
  return { operations: Object.fromEntries(outcomes), leftAlive: Object.fromEntries(leftAlive), faults };
}

/** Why nobody has a login that was stored and never refreshed. */
function lostBeforeUse(spans: readonly Span[], landedAt: number, until: number): string | undefined {
  const isLost = spans.some(
    (span) => span.what === 'fail-over' && overlaps(span, landedAt, landedAt) && span.to <= until,
  );
  return isLost ? 'a fail-over lost its write' : undefined;
}

function inOrderOfSending(a: Presentation, b: Presentation): [Presentation, Presentation] {
  return a.connectedAt <= b.connectedAt ? [a, b] : [b, a];
}
