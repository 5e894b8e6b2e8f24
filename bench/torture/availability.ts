import type { Incarnation } from './fleet.ts';
import type { History } from './history.ts';
import type { Evidence } from './judge.ts';
import type { Issued } from './server.ts';
import { count, overlaps } from './troubles.ts';

/** Between what a client believes of a token's end and what the server does, in milliseconds. */
const MARGIN_MS = 100;
/** A token’s age takes so long at most from who writes it to who reads it, when nothing holds it up. */
const SLACK_MS = 250;

/** Whether who had a living token was given one, and nobody a lapsed one. */
export function availabilityOf(
  { issued, revokedAt, lifeMs, credentialOf }: Evidence,
  histories: readonly History[],
  heldUp: (given: Issued, access: string, reader: Incarnation, begin: number) => boolean,
) {
  const failures = new Map<string, number>();
  const faults: string[] = [];
  const waits: number[] = [];
  let [calls, served, withheld] = [0, 0, 0];
  const late = { calls: 0, mostMs: 0 };
  for (const { incarnation, calls: own } of histories) {
    const had = new Map<number, Issued & { readonly at: number }>();
    for (const call of own) {
      calls += 1;
      const { credential, begin, end, access, error } = call;
      const held = had.get(credential);
      const ended = held && revokedAt(held.family);
      const disturbed = incarnation.stops.some((stop) => overlaps(stop, begin, end));
      const livesOn = held !== undefined && held.at <= begin && end < held.askedAt + lifeMs - MARGIN_MS;
      const lived = livesOn && (ended === undefined || end < ended) && !disturbed;
      if (lived) waits.push(end - begin);
      if (error !== undefined) {
        count(failures, error);
        if (lived) {
          withheld += 1;
          faults.push(
            `Worker ${incarnation.tag} was given no token for ${credential} (${error}) though it had a living one.`,
          );
        }
        continue;
      }
      served += 1;
      const given = issued.get(access ?? '');
      if (given === undefined) faults.push(`Worker ${incarnation.tag} was given a token that nobody issued.`);
      else if (credentialOf[given.family] !== credential)
        faults.push(`Worker ${incarnation.tag} got another login’s token.`);
      else {
        had.set(credential, { ...given, at: end });
        if (given.until + SLACK_MS >= begin) continue;
        const lateMs = begin - given.until;
        if (heldUp(given, access ?? '', incarnation, begin)) {
          late.calls += 1;
          late.mostMs = Math.max(late.mostMs, lateMs);
        } else {
          const when = `${lateMs.toFixed(0)} ms before`;
          faults.push(
            `Worker ${incarnation.tag} was given a token for ${credential} that had lapsed ${when}.`,
          );
        }
      }
    }
  }
  const sorted = waits.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
  return {
    faults,
    figures: {
      calls,
      served,
      withheld,
      late,
      failures: Object.fromEntries(failures),
      waits: { calls: waits.length, p50: at(0.5), p99: at(0.99), most: at(1) },
    },
  };
}
