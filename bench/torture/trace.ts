import type { Evidence } from './evidence.ts';
import type { Presentation } from './server.ts';
import { overlaps, type Span } from './troubles.ts';

/** The end of a trace tells most. */
const MOST_LINES = 50;

/** What happened to a login around one of its presentations, in the order of time. */
export function traced(
  what: string,
  { evidence, servedBy }: TraceParts,
  family: number,
  own: readonly Presentation[],
  at: Presentation | undefined,
): string {
  const { histories, spans, operations, logins } = evidence;
  const credential = logins[family]?.credential;
  const index = at === undefined ? own.length : own.indexOf(at);
  const last = own.slice(Math.max(0, index - 5), index + 2);
  const { begunAt = 0 } = logins[family] ?? {};
  const asked = operations.findLast((one) => one.credential === credential)?.endedAt ?? begunAt;
  // A login that was never refreshed has no presentations: all from its start to the last operation on it is shown.
  const from = (last.length === 0 ? begunAt : Math.min(...last.map(({ connectedAt }) => connectedAt))) - 50;
  const to = (last.at(-1)?.at ?? asked) + 50;
  const ms = (time: number) => (Number.isFinite(time) ? (time - from).toFixed(0) : '…');
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
  // What happened to other workers' network says nothing of this login, and would crowd out what does.
  const involved = new Set(last.map(({ worker }) => Number(worker.split('.')[0])));
  const concerns = ({ worker }: Span) => worker === undefined || involved.has(worker);
  for (const span of spans.filter((one) => concerns(one) && overlaps(one, from, to))) {
    const who = span.worker === undefined ? 'all' : `worker ${span.worker}`;
    const by = span.byMs === undefined ? '' : ` by ${span.byMs} ms`;
    events.push({ at: span.from, text: `${ms(span.from)}..${ms(span.to)} ${span.what}${by} (${who})` });
  }
  for (const { kind, credential: of, askedAt, endedAt, tag, outcome, code } of operations) {
    const isOurs = of === undefined || of === credential;
    if (!isOurs || !overlaps({ from: askedAt, to: endedAt }, from, to)) continue;
    const end = code === undefined ? outcome : `${outcome}, ${code}`;
    events.push({ at: askedAt, text: `${ms(askedAt)}..${ms(endedAt)} worker ${tag} ${kind}: ${end}` });
  }
  for (const login of logins) {
    const landedAt = login.landedAt ?? Number.POSITIVE_INFINITY;
    if (login.credential !== credential || !overlaps({ from: login.begunAt, to: landedAt }, from, to))
      continue;
    events.push({
      at: login.begunAt,
      text: `${ms(login.begunAt)}..${ms(landedAt)} login ${login.family} is stored`,
    });
  }
  const lines = events.toSorted((a, b) => a.at - b.at).map(({ text }) => `    ${text}`);
  // The first lines have the presentation before, the last ones the end.
  if (lines.length > MOST_LINES) lines.splice(MOST_LINES / 2, lines.length - MOST_LINES, '    …');
  return [`credential ${credential}, login ${family}: ${what}`, ...lines].join('\n');
}

export interface TraceParts {
  readonly evidence: Evidence;
  /** Who was given each access token, and when first. */
  readonly servedBy: ReadonlyMap<string, ReadonlyMap<string, number>>;
}
