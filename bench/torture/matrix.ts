import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import type { EngineName } from './engines.ts';
import type { Mode } from './issuer.ts';
import { isGood, show } from './report.ts';
import { type Progress, type Report, type TortureOptions, torture } from './run.ts';

/** One finished run, as a line of the results file. */
export interface Result {
  readonly engine: EngineName;
  readonly mode: Mode;
  readonly seed: number;
  readonly mixed: boolean;
  readonly faults: number;
  readonly presentations: number;
  readonly avoidable: number;
  readonly withheld: number;
  readonly unavoidable: number;
  readonly ofOldBuild: number;
  readonly violations: readonly string[];
  readonly isStarved: boolean;
  readonly seconds: number;
  /** Of the last minute, when it began and when it ended. */
  readonly load: readonly [number, number];
}

export interface MatrixOptions {
  readonly engines: readonly EngineName[];
  readonly modes: readonly Mode[];
  readonly seeds: readonly number[];
  readonly base: Omit<TortureOptions, 'engine' | 'mode' | 'seed'>;
  /** Takes a line for each run that has finished; the runs that it has already are not done again. */
  readonly file: string | undefined;
}

/**
 * One run for each engine, mode and seed.
 *
 * @param say is given what each run came to
 * @returns all results, those of earlier calls among them; fewer when `signal` ended it
 */
export async function matrix(
  { engines, modes, seeds, base, file }: MatrixOptions,
  signal: AbortSignal,
  say: (text: string) => void,
  hear?: (run: string, progress: Progress) => void,
): Promise<readonly Result[]> {
  const before = file === undefined ? [] : resultsIn(file);
  const results: Result[] = [];
  for (const seed of seeds) {
    for (const engine of engines) {
      for (const mode of modes) {
        if (signal.aborted) return results;
        const isThis = (one: Result) =>
          one.engine === engine && one.mode === mode && one.seed === seed && one.mixed === base.mixed;
        const known = before.find((one) => isThis(one) && one.faults >= base.faults);
        if (known !== undefined) {
          results.push(known);
          continue;
        }
        const options = { ...base, engine, mode, seed };
        const [load = 0] = loadavg();
        const name = `${engine} ${mode} --seed ${seed}`;
        const report = await torture(options, signal, (progress) => hear?.(name, progress));
        // One that was ended early has shown nothing.
        if (signal.aborted) return results;
        const result = resultOf(options, report, load);
        results.push(result);
        if (file !== undefined) appendFileSync(file, `${JSON.stringify(result)}\n`);
        say(isGood(report) ? `${rowOf(result)}\n` : show(options, report));
      }
    }
  }
  return results;
}

/** All runs in one table, and what they come to. */
export function table(results: readonly Result[]): string {
  const sum = (of: (one: Result) => number) => results.reduce((total, one) => total + of(one), 0);
  const others = sum(({ violations, avoidable, withheld }) => violations.length - avoidable - withheld);
  return [
    HEAD,
    ...results.map(rowOf),
    `${results.length} runs: ${sum((one) => one.faults)} faults, ${sum((one) => one.presentations)} presentations, ` +
      `${sum((one) => one.unavoidable)} logins lost that no client can save, ${sum((one) => one.avoidable)} avoidable losses, ` +
      `${sum((one) => one.withheld)} calls withheld, ${Math.max(0, others)} other violations, ` +
      `${results.filter(({ isStarved }) => isStarved).length} starved runs`,
    '',
  ].join('\n');
}

/** Whether every run shows what it should. */
export function areGood(results: readonly Result[]): boolean {
  return results.every(({ violations, isStarved }) => violations.length === 0 && !isStarved);
}

/** A line that was cut short, by a full disk or a kill, counts as no run. */
export function resultsIn(file: string): Result[] {
  if (!existsSync(file)) return [];
  return readFileSync(file, 'utf8')
    .split('\n')
    .flatMap((line) => {
      try {
        return [JSON.parse(line) as Result];
      } catch {
        return [];
      }
    });
}

function resultOf({ engine, mode, seed, mixed }: TortureOptions, report: Report, load: number): Result {
  const { presentations, avoidable, withheld, ofOldBuild, violations, isStarved, seconds } = report;
  const total = (counts: Readonly<Record<string, number>>) =>
    Object.values(counts).reduce((sum, one) => sum + one, 0);
  return {
    engine,
    mode,
    seed,
    mixed,
    faults: total(report.faults),
    presentations,
    avoidable,
    withheld,
    unavoidable: total(report.unavoidable),
    ofOldBuild,
    violations,
    isStarved,
    seconds: Math.round(seconds),
    load: [load, loadavg()[0] ?? 0],
  };
}

const WIDTHS = [10, 15, 11, 7, 10, 9, 8, 6, 5, 12, 8] as const;
const HEAD = columns([
  'engine',
  'mode',
  'seed',
  'faults',
  'presented',
  'avoidable',
  'withheld',
  'other',
  'lost',
  'load',
  'seconds',
]);

function rowOf(one: Result): string {
  const { engine, mode, seed, mixed, faults, presentations, avoidable, withheld, unavoidable } = one;
  const [before, after] = one.load;
  const row = columns([
    engine,
    mixed ? `${mode} mixed` : mode,
    String(seed),
    String(faults),
    String(presentations),
    String(avoidable),
    String(withheld),
    String(Math.max(0, one.violations.length - avoidable - withheld)),
    String(unavoidable),
    `${before.toFixed(1)}..${after.toFixed(1)}`,
    String(one.seconds),
  ]);
  return one.isStarved ? `${row}  starved` : row;
}

function columns(texts: readonly string[]): string {
  return texts
    .map((text, at) => (at < 2 ? text.padEnd(WIDTHS[at] ?? 0) : text.padStart(WIDTHS[at] ?? 0)))
    .join(' ');
}
