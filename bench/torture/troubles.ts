/** From when to when something was so, in milliseconds of the shared clock, and for which worker (absent: for all). */
export interface Span {
  readonly from: number;
  to: number;
  readonly worker?: number | undefined;
  /** Of a clock that was set: by how much, in milliseconds. */
  readonly byMs?: number | undefined;
  readonly what:
    | 'engine down'
    | 'partition'
    | 'lost answers'
    | 'delay'
    | 'cut'
    /** From when the replica got nothing more until it had taken over. */
    | 'fail-over'
    /** The engine's. */
    | 'clock set'
    /** The worker's own. */
    | 'wall clock set';
}

export function overlaps(span: { readonly from: number; readonly to: number }, from: number, to: number) {
  return span.from <= to && span.to >= from;
}

export function count(counts: Map<string, number>, what: string): void {
  counts.set(what, (counts.get(what) ?? 0) + 1);
}

/** One login at the authorization server, as it is named there. Times are milliseconds of the shared clock. */
export interface Login {
  readonly family: number;
  readonly credential: number;
  readonly begunAt: number;
  /** When it was stored. */
  landedAt: number | undefined;
}

/** What a worker was told to do beside its calls, and what it said of it. */
export interface Operation {
  readonly kind: 'rekey' | 'logout' | 'export' | 'import';
  readonly credential: number | undefined;
  readonly askedAt: number;
  readonly endedAt: number;
  readonly tag: string;
  readonly outcome: string;
  readonly code?: string | undefined;
}

/** From when to when there may have been no login, since somebody logged out or moved it away. */
export interface Absence {
  readonly credential: number;
  readonly from: number;
  to: number;
}
