import { readFileSync } from 'node:fs';
import type { Incarnation } from './fleet.ts';
import type { Call, Sent, Stall } from './worker.ts';

/** What one process of a worker told of itself. */
export interface History {
  readonly incarnation: Incarnation;
  readonly calls: readonly Call[];
  readonly stalls: readonly (readonly [number, number])[];
  /** When it handed a request to the system, by the port that it went from, in the order of time. */
  readonly sent: readonly Sent[];
}

export function historyOf(incarnation: Incarnation): History {
  const calls: Call[] = [];
  const stalls: (readonly [number, number])[] = [];
  const sent: Sent[] = [];
  let text = '';
  try {
    text = readFileSync(incarnation.out, 'utf8');
  } catch {
    // Killed before it could say anything.
  }
  for (const line of text.split('\n').slice(0, -1)) {
    const said: Call | Stall | Sent = JSON.parse(line);
    if ('stalled' in said) stalls.push(said.stalled);
    else if ('sent' in said) sent.push(said);
    else calls.push(said);
  }
  return { incarnation, calls, stalls, sent };
}

/** Who was given each access token, and when first. */
export function serversOf(histories: readonly History[]): Map<string, Map<string, number>> {
  const served = new Map<string, Map<string, number>>();
  for (const { incarnation, calls } of histories) {
    for (const { access, end } of calls) {
      if (access === undefined) continue;
      const by = served.get(access) ?? new Map<string, number>();
      served.set(access, by);
      if (!by.has(incarnation.tag)) by.set(incarnation.tag, end);
    }
  }
  return served;
}
