/** From when to when something was so, in milliseconds of the shared clock, and for which worker (absent: for all). */
export interface Span {
  readonly from: number;
  to: number;
  readonly worker?: number | undefined;
  readonly what: 'engine down' | 'partition' | 'lost answers' | 'delay' | 'cut';
}

export function overlaps(span: { readonly from: number; readonly to: number }, from: number, to: number) {
  return span.from <= to && span.to >= from;
}

export function count(counts: Map<string, number>, what: string): void {
  counts.set(what, (counts.get(what) ?? 0) + 1);
}
