import { describe, expect, test } from 'vitest';
import { WORLDS } from './model/configurations.ts';
import { type End, explore, walk } from './model/explore.ts';
import { isReplayable, replay } from './model/replay.ts';
import type { State } from './model/state.ts';
import type { Configuration } from './model/steps.ts';

/*
 * The real code takes traces of the model step by step, at one engine and one token server. Both must then have stored
 * the same, and the server must have seen the same requests. Each world gives a shortest trace to each kind of end, and
 * some random ones.
 *
 * HOLDFAST_TEST_MODEL=long takes more traces, and HOLDFAST_TEST_SEED others.
 */

const isLong = process.env['HOLDFAST_TEST_MODEL'] === 'long';
const seed = Number(process.env['HOLDFAST_TEST_SEED'] ?? 20261130);
const MOST_ENDS = isLong ? 40 : 2;
const WALKS = isLong ? 20 : 1;

const worlds = WORLDS.filter(({ isLong: only, store }) => only !== true && store !== 'lock').flatMap(
  (world) => world.modes.filter((mode) => !mode.endsWith('unknown')).map((mode) => ({ ...world, mode })),
);

describe(`the code and the model take the same steps to the same end (seed ${seed})`, () => {
  test.each(worlds)(
    '$title, at a $mode server',
    async (world) => {
      const ends = chosen(world);
      // Zero would mean that the harness skips the traces it should try.
      expect(ends.length).toBeGreaterThan(0);
      for (const end of ends) {
        await replay(world, end);
      }
    },
    300_000,
  );
});

function chosen(world: Configuration): readonly End[] {
  const ends = explore(world).ends.filter((end) => isReplayable(world, end));
  const kinds = new Map<string, End>();
  for (const end of ends) if (!kinds.has(kindOf(end))) kinds.set(kindOf(end), end);
  // The longest of the shortest traces come first, since more happens in them.
  const first = [...kinds.values()].sort((a, b) => b.trace.length - a.trace.length).slice(0, MOST_ENDS);
  const random = numbersFrom(seed);
  const walks = Array.from({ length: 20 * WALKS }, () => walk(world, random));
  return [...first, ...walks.filter((end) => isReplayable(world, end)).slice(0, WALKS)];
}

/** The stored state, the server's view of it, and the calls that led to it. */
function kindOf({ state, trace }: End): string {
  const { record, families, loggedOut, rows, files }: State = state;
  const calls = [...new Set(trace.map(({ call }) => call))].sort();
  const what = record && [
    record.login,
    record.generation,
    record.token,
    record.kid,
    record.marked,
    record.moved,
  ];
  return JSON.stringify([what, families, loggedOut, rows.length, files.length, calls]);
}

/** Random numbers that are the same for the same seed (mulberry32). */
function numbersFrom(start: number): () => number {
  let at = start;
  return () => {
    at = (at + 0x6d2b79f5) | 0;
    let mixed = Math.imul(at ^ (at >>> 15), 1 | at);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
