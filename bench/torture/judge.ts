import { availabilityOf } from './availability.ts';
import type { Stored } from './credentials.ts';
import type { Incarnation } from './fleet.ts';
import { historyOf, serversOf } from './history.ts';
import { isStrict, type Mode } from './issuer.ts';
import type { Issued, Presentation } from './server.ts';
import { count, overlaps, type Span } from './troubles.ts';

/*
 * What came of a run, from the authorization server's own log and from what was done to whom when. The workers' own words
 * count only for which token they were given.
 */

export interface Evidence {
  readonly mode: Mode;
  readonly log: readonly Presentation[];
  readonly issued: ReadonlyMap<string, Issued>;
  readonly revokedAt: (family: number) => number | undefined;
  readonly incarnations: readonly Incarnation[];
  readonly spans: readonly Span[];
  /** Which credential each login of the server belongs to: one that has ended is followed by another. */
  readonly credentialOf: readonly number[];
  /** How long an access token lives, in milliseconds. */
  readonly lifeMs: number;
  /** What is stored in the end, and what the server takes for the live refresh token. */
  readonly final: readonly { readonly stored: Stored | undefined; readonly live: string }[];
  /** Each time that a stored generation was lower than one seen before. */
  readonly fell: readonly string[];
  readonly leaks: readonly string[];
}

export interface Verdict {
  /** What must not be, one a line, with its trace. */
  readonly violations: readonly string[];
  readonly avoidable: number;
  /** Logins that ended, and that no client could have saved, by cause. */
  readonly unavoidable: Readonly<Record<string, number>>;
  readonly presentations: number;
  readonly generations: number;
  /** Presentations of a token that had been presented before, by cause. */
  readonly repeated: Readonly<Record<string, number>>;
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

/** The end of a trace tells most. */
const MOST_LINES = 50;

export function judge(evidence: Evidence): Verdict {
  const { mode, log, credentialOf } = evidence;
  const histories = evidence.incarnations.map(historyOf);
  const byTag = new Map(histories.map((history) => [history.incarnation.tag, history]));
  const servedBy = serversOf(histories);
  const violations: string[] = [];
  const repeated = new Map<string, number>();
  const unavoidable = new Map<string, number>();
  let avoidable = 0;
  let generations = 0;

  for (const [family, credential] of credentialOf.entries()) {
    const own = log.filter((one) => one.family === family);
    const before = new Map<string, Presentation>();
    let ended = false;
    for (const one of own) {
      const key = `${one.shown.generation}/${one.shown.sibling}`;
      const earlier = before.get(key);
      before.set(key, one);
      if (earlier === undefined) generations += 1;
      // The server may come to the request of a holder that has died only after that of the next one.
      const pair = earlier && inOrderOfSending(earlier, one);
      const cause = pair && causeOf(...pair);
      if (earlier !== undefined && !ended) {
        count(repeated, cause ?? 'without cause');
        if (cause === undefined) {
          violations.push(trace(`A token was presented twice without cause`, family, own, one));
        }
      }
      if (one.outcome !== 'refused' || ended) continue;
      ended = true;
      // A strict server ends what is repeated, and only the loss of the first answer can excuse that.
      const excuse = pair && lossOf(...pair);
      if (isStrict(mode) && excuse !== undefined) count(unavoidable, excuse);
      else {
        avoidable += 1;
        violations.push(trace('A login was lost that could have been saved', family, own, one));
      }
    }
    if (credentialOf.lastIndexOf(credential) !== family) continue;
    const { stored, live } = evidence.final[credential] ?? {};
    const revoked = evidence.revokedAt(family) !== undefined;
    if (stored === undefined) violations.push(`credential ${credential}: nothing is stored in the end`);
    else if (!revoked && stored.loginRequired) {
      avoidable += 1;
      violations.push(trace('A credential wants a login while its family is alive', family, own, own.at(-1)));
    } else if (!revoked && stored.refreshToken !== live) {
      const last = own.at(-1);
      // What the last answer met may be mended by the next refresh, or lost with its holder; the run ended before either.
      const then = Number.POSITIVE_INFINITY;
      const excuse = last && lossOf(last, { ...last, at: then, connectedAt: then });
      if (excuse === undefined)
        violations.push(trace('The stored token is not the live one', family, own, last));
    }
  }
  violations.push(...evidence.fell, ...evidence.leaks.map((place) => `A token was found in ${place}`));
  for (const { tag, crashed } of evidence.incarnations) {
    if (crashed) violations.push(`Worker ${tag} ended by itself.`);
  }
  const availability = availabilityOf(evidence, histories, heldUp);
  violations.push(...availability.faults);
  return {
    violations,
    avoidable,
    unavoidable: Object.fromEntries(unavoidable),
    presentations: log.length,
    generations,
    repeated: Object.fromEntries(repeated),
    ...availability.figures,
  };

  /** Why a token may have been presented again. */
  function causeOf(first: Presentation, second: Presentation): string | undefined {
    const history = byTag.get(first.worker);
    const { killedAt } = history?.incarnation ?? {};
    if (first.fate !== 'whole') return 'its answer was lost on the way';
    // What it had sent reaches the server after its death, too.
    if (killedAt !== undefined && killedAt <= Math.max(first.at, second.at)) {
      return 'its holder was killed';
    }
    const [from, to] = [first.connectedAt, Math.max(first.at, second.at)];
    if (history?.incarnation.stops.some((stop) => overlaps(stop, from, to))) return 'its holder was stopped';
    const away = troubleOf(history?.incarnation.worker, from, to);
    if (away !== undefined) return `the engine was away: ${away}`;
    if (history?.stalls.some(([begin, end]) => overlaps({ from: begin, to: end }, from, to))) {
      return 'its holder was starved of CPU';
    }
    return undefined;
  }

  /** Why the first answer could not be kept from being lost, if it could not. */
  function lossOf(first: Presentation, second: Presentation): string | undefined {
    const access = first.given?.access;
    // Somebody else had it, so it had been written.
    const others = [...(servedBy.get(access ?? '') ?? [])].filter(
      ([tag, at]) => tag !== first.worker && at < second.connectedAt,
    );
    if (others.length > 0) return undefined;
    const cause = causeOf(first, second);
    // An engine that dies and comes back is no excuse: its holder lives, and writes again.
    return cause?.startsWith('the engine was away: engine down') === true ? undefined : cause;
  }

  function troubleOf(worker: number | undefined, from: number, to: number): string | undefined {
    const met = evidence.spans.filter(
      (span) => (span.worker === undefined || span.worker === worker) && overlaps(span, from, to),
    );
    return met.find(({ what }) => what === 'partition')?.what ?? met[0]?.what;
  }

  /** Whether anything came between its answer and who was given it in the end. */
  function heldUp(given: Issued, access: string, reader: Incarnation, begin: number): boolean {
    const writer = byTag.get(log.find((one) => one.given?.access === access)?.worker ?? '');
    const [from, to] = [given.askedAt, begin];
    if (troubleOf(reader.worker, from, to) !== undefined) return true;
    if (writer === undefined) return false;
    const { worker, stops } = writer.incarnation;
    const paused = stops.some((stop) => overlaps(stop, from, to));
    const starved = writer.stalls.some(([start, end]) => overlaps({ from: start, to: end }, from, to));
    return paused || starved || troubleOf(worker, from, to) !== undefined;
  }

  function trace(what: string, family: number, own: readonly Presentation[], at: Presentation | undefined) {
    const index = at === undefined ? own.length : own.indexOf(at);
    const last = own.slice(Math.max(0, index - 5), index + 2);
    const from = Math.min(...last.map(({ connectedAt }) => connectedAt)) - 50;
    const to = (last.at(-1)?.at ?? 0) + 50;
    const zero = from;
    const ms = (time: number) => (Number.isFinite(time) ? (time - zero).toFixed(0) : '…');
    const events: { readonly at: number; readonly text: string }[] = [];
    for (const one of last) {
      const given =
        one.given === undefined ? '' : ` -> ${one.given.generation}/${one.given.sibling} ${one.given.access}`;
      const shown = `${one.shown.generation}/${one.shown.sibling}`;
      const text = `${ms(one.connectedAt)}..${ms(one.at)} worker ${one.worker} presents ${shown}: ${one.outcome}${given} (${one.fate})`;
      events.push({ at: one.at, text });
      const seen = [...(servedBy.get(one.given?.access ?? '') ?? [])];
      for (const [tag, first] of seen) {
        events.push({ at: first, text: `${ms(first)} worker ${tag} is served ${one.given?.access}` });
      }
    }
    for (const { incarnation, stalls } of histories) {
      if (!last.some(({ worker }) => worker === incarnation.tag)) continue;
      const { tag, killedAt } = incarnation;
      if (killedAt !== undefined && killedAt > from && killedAt < to) {
        events.push({ at: killedAt, text: `${ms(killedAt)} worker ${tag} is killed` });
      }
      for (const stop of incarnation.stops.filter((one) => overlaps(one, from, to))) {
        events.push({ at: stop.from, text: `${ms(stop.from)}..${ms(stop.to)} worker ${tag} is stopped` });
      }
      for (const [begin, end] of stalls) {
        if (overlaps({ from: begin, to: end }, from, to)) {
          events.push({ at: begin, text: `${ms(begin)}..${ms(end)} worker ${tag} did not run` });
        }
      }
    }
    for (const span of evidence.spans.filter((one) => overlaps(one, from, to))) {
      const who = span.worker === undefined ? 'all' : `worker ${span.worker}`;
      events.push({ at: span.from, text: `${ms(span.from)}..${ms(span.to)} ${span.what} (${who})` });
    }
    const lines = events.toSorted((a, b) => a.at - b.at).map(({ text }) => `    ${text}`);
    if (lines.length > MOST_LINES) lines.splice(0, lines.length - MOST_LINES, '    …');
    return [`credential ${credentialOf[family]}, login ${family}: ${what}`, ...lines].join('\n');
  }
}

function inOrderOfSending(a: Presentation, b: Presentation): [Presentation, Presentation] {
  return a.connectedAt <= b.connectedAt ? [a, b] : [b, a];
}
