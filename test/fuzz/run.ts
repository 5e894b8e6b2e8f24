/*
 * Runs targets one after another in a separate process, so that bench/fuzz.ts can end one that hangs and limit its
 * memory. Prints a line of JSON for each.
 */
import { openSync, writeSync } from 'node:fs';
import { inspect } from 'node:util';
import fc from 'fast-check';
import { RUNS, type Target } from './target.ts';
import { TARGETS } from './targets.ts';

/** Maximum memory of the process, in MiB. It uses about 250 without any input. */
const MOST_MIB = 1_000;

/** The result of one target. */
export interface Report {
  readonly name: string;
  readonly inputs: number;
  readonly ms: number;
  readonly mib: number;
  /** The violation, and how to reproduce it. */
  readonly found?: { readonly text: string; readonly seed: number; readonly path: string } | undefined;
}

const [names = '', seconds, rounds, seed, path = '', journal = ''] = process.argv.slice(2);
const file = openSync(journal, 'w');
for (const name of names.split(',')) {
  const target = TARGETS.find((one) => one.name === name);
  if (target !== undefined) process.stdout.write(`${JSON.stringify(await report(target))}\n`);
}
process.exit();

async function report(target: Target): Promise<Report> {
  const begin = performance.now();
  const passed = () => performance.now() - begin;
  let inputs = 0;
  let found: Report['found'];
  // Records the current input for bench/fuzz.ts, in case the input never ends.
  const note = (of: number, index: number) => writeSync(file, `${of} ${index}`.padEnd(32), 0);
  note(Number(seed), 0);
  const opened = await target.open();
  const goesOn = (round: number) =>
    round === 0 || (rounds === '' ? passed() < Number(seconds) * 1000 : round < Number(rounds));
  for (let round = 0; found === undefined && goesOn(round); round += 1) {
    // Few inputs per seed, so that a slow target checks the time often enough. fast-check takes 32-bit seeds.
    const of = (Number(seed) + round) | 0;
    let index = 0;
    const details = await fc.check(
      opened.property(() => void note(of, index++)),
      path === ''
        ? { seed: of, numRuns: Math.ceil((target.runs ?? RUNS) / 5) }
        : { seed: of, path, numRuns: 1 },
    );
    inputs += details.numRuns;
    if (details.failed) {
      const text = `${await fc.asyncDefaultReportMessage(details)}\n${inspect(details.errorInstance)}`;
      found = { text, seed: of, path: details.counterexamplePath ?? '' };
    }
    if (path !== '') break;
  }
  try {
    await opened.close?.();
  } catch (error) {
    found ??= { text: `Afterwards: ${inspect(error)}`, seed: Number(seed), path: '' };
  }
  const mib = Math.round(process.memoryUsage().rss / 2 ** 20);
  if (mib > MOST_MIB) found ??= { text: `The process has ${mib} MiB.`, seed: Number(seed), path: '' };
  return { name: target.name, inputs, ms: Math.round(passed()), mib, found };
}
