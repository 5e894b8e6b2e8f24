import { appendFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { areGood, matrix, type Result, resultsIn, table } from '../../bench/torture/matrix.ts';
import { DEFAULTS } from '../../bench/torture/run.ts';
import { temporaryDirectory } from '../support/homes/home.ts';

/* Many runs of the storm in a row (`npm run torture -- --matrix --resume FILE`). */

function finished(more: Partial<Result> = {}): Result {
  return {
    engine: 'directory',
    mode: 'grace',
    seed: 1,
    mixed: false,
    faults: 1000,
    presentations: 900,
    avoidable: 0,
    withheld: 0,
    unavoidable: 2,
    ofOldBuild: 0,
    violations: [],
    isStarved: false,
    seconds: 60,
    load: [0.5, 1.5],
    ...more,
  };
}

/** Starts with these results in its file and the signal aborted, so that no run begins. */
async function resumed(file: string, seeds: readonly number[]) {
  const said: string[] = [];
  const options = { engines: ['directory'], modes: ['grace'], seeds, base: DEFAULTS, file } as const;
  const over = new AbortController();
  const results = await matrix(options, over.signal, (text) => said.push(text));
  return { results, said };
}

test('does not repeat a run that the file has, whatever a kill made of the last line', async () => {
  const file = join(await temporaryDirectory(), 'results.jsonl');
  const lines = [finished(), finished({ seed: 2 })].map((one) => JSON.stringify(one));
  await writeFile(file, `${lines.join('\n')}\n`);
  await appendFile(file, '{"engine":"direc');
  expect(resultsIn(file)).toHaveLength(2);
  const { results, said } = await resumed(file, [1, 2]);
  expect(results.map(({ seed }) => seed)).toEqual([1, 2]);
  expect(said).toEqual([]);
});

test('prints every seed with its load, and the sum of all runs', () => {
  const red = finished({ seed: 7, avoidable: 1, withheld: 1, violations: ['lost', 'withheld', 'other'] });
  const text = table([finished(), red, finished({ seed: 8, isStarved: true })]);
  expect(text).toContain('0.5..1.5');
  expect(text).toMatch(/^directory +grace +7 +1000 +900 +1 +1 +1 +2/m);
  expect(text).toMatch(/ 8 .* starved$/m);
  expect(text).toContain('3 runs: 3000 faults, 2700 presentations, 6 logins lost that no client can save');
  expect(text).toContain('1 avoidable losses, 1 calls withheld, 1 other violations, 1 starved runs');
});

test('passes only if every run passes, and none was starved', () => {
  expect(areGood([finished()])).toBe(true);
  expect(areGood([finished(), finished({ violations: ['lost'] })])).toBe(false);
  expect(areGood([finished({ isStarved: true })])).toBe(false);
});
