import { printable } from '../../quote.ts';

const UNITS = [
  ['year', 31_536_000_000],
  ['month', 2_592_000_000],
  ['day', 86_400_000],
  ['hour', 3_600_000],
  ['minute', 60_000],
  ['second', 1000],
] as const;

/** A relative time, such as `in 42 minutes` or `3 days ago`. Both arguments in milliseconds since the epoch. */
export function relativeTime(moment: number, now: number): string {
  const words = new Intl.RelativeTimeFormat('en', { numeric: 'always' });
  const difference = moment - now;
  for (const [unit, ms] of UNITS) {
    if (Math.abs(difference) >= ms) return words.format(Math.trunc(difference / ms), unit);
  }
  return difference < 0 ? 'just now' : 'in a moment';
}

/** A time as programs read it, in ISO 8601. The argument in milliseconds since the epoch. */
export function isoTime(moment: number | undefined): string | undefined {
  return moment === undefined ? undefined : new Date(moment).toISOString();
}

/**
 * Columns as wide as their widest cell, but the last one is not padded. A cell stays on its line, whatever it contains.
 */
export function table(cells: readonly (readonly string[])[]): string {
  const rows = cells.map((row) => row.map(printable));
  const widths: number[] = [];
  for (const row of rows) {
    for (const [index, cell] of row.entries()) widths[index] = Math.max(widths[index] ?? 0, cell.length);
  }
  return rows
    .map((row) =>
      row
        .map((cell, index) => (index === row.length - 1 ? cell : cell.padEnd(widths[index] ?? 0)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/**
 * Breaks text at spaces so that no line is wider than `columns`, and indents the lines after the first. A wider word
 * stays whole: a cut path or command cannot be copied.
 */
export function wrap(text: string, columns: number | undefined, indent: number): string {
  const width = columns === undefined ? Number.POSITIVE_INFINITY : columns - indent;
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width)
      lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines.join(`\n${' '.repeat(indent)}`);
}

/** Groups things by their reason, in the order in which the reasons first appear. */
export function byReason<T extends { readonly reason: string }>(things: readonly T[]): readonly T[][] {
  const groups = new Map<string, T[]>();
  for (const thing of things) groups.set(thing.reason, [...(groups.get(thing.reason) ?? []), thing]);
  return [...groups.values()];
}

export function plural(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`;
}
