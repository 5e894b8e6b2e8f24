import fc from 'fast-check';
import { expect, test } from 'vitest';
import { RUNS } from './target.ts';
import { TARGETS } from './targets.ts';
import '../support/fixed-seed.ts';

test.each(TARGETS.map((target) => [target.name, target.title, target] as const))(
  '%s: %s',
  async (_name, _title, target) => {
    const opened = await target.open();
    try {
      await fc.assert(opened.property(), { numRuns: target.runs ?? RUNS });
      opened.reached?.();
    } finally {
      await opened.close?.();
    }
  },
);

test('every target of the fuzzer has a different name', () => {
  const names = TARGETS.map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
});
