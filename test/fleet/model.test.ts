import { describe, expect, test } from 'vitest';
import { CAUSES_LEFT } from './model/causes.ts';
import { type Counterexample, explore } from './model/explore.ts';
import type { Excuse } from './model/invariants.ts';
import { FULL } from './model/protocol.ts';
import { REMOVALS } from './model/removals.ts';
import { MODES, type Mode } from './model/server.ts';
import { CAUSES, type Faults } from './model/state.ts';

/*
 * The claim protocol as a state machine, and every order in which three holders of one login, the network, the server and
 * the engine can take their steps, over two refreshes, with crashes, stops, lost messages and engine crashes at each point.
 *
 * Left out: replay windows that close, a replica promoted without the last writes, logouts and new logins meanwhile, and the
 * moment between the check of the lease and the first byte itself. Those are for real processes at real engines to meet.
 */

const NONE: Faults = { crashes: 0, stops: 0, losses: 0, outages: 0 };

const never: Excuse = () => false;
const overtakenOnly: Excuse = ({ causes }) => (causes & CAUSES.overtaken) !== 0;

/** So many states there are. Fewer would mean that something is not looked at any more. */
const STATES: readonly (readonly [title: string, Faults, Readonly<Record<Mode, number>>])[] = [
  [
    'one crash, one stop, one lost message, one engine crash',
    { crashes: 1, stops: 1, losses: 1, outages: 1 },
    { strict: 71_355, grace: 172_422, replay: 154_796, 'successor-used': 179_860 },
  ],
  [
    'two crashes, two stops',
    { crashes: 2, stops: 2, losses: 0, outages: 0 },
    { strict: 38_710, grace: 109_131, replay: 95_417, 'successor-used': 121_441 },
  ],
  [
    'two crashes, one stop, one lost message',
    { crashes: 2, stops: 1, losses: 1, outages: 0 },
    { strict: 30_068, grace: 58_172, replay: 52_862, 'successor-used': 60_027 },
  ],
  [
    'two stops, one engine crash',
    { crashes: 0, stops: 2, losses: 0, outages: 1 },
    { strict: 24_614, grace: 82_477, replay: 76_157, 'successor-used': 91_790 },
  ],
];

describe.each(STATES)('%s', (_title, faults, states) => {
  test.each(MODES.map((mode) => [mode, states[mode]] as const))(
    'lose no login at a %s server but for the causes listed, and leave a way on from each of the %i states',
    (mode, count) => {
      const found = explore({ mode, faults });
      expect(found.counterexample, told(found.counterexample)).toBeUndefined();
      expect(found.states).toBe(count);
    },
  );
});

describe('whatever the order of the steps', () => {
  test.each(MODES)('nothing is lost at a %s server as long as nothing goes wrong', (mode) => {
    const found = explore({ mode, faults: NONE, excuse: never });
    expect(found.counterexample, told(found.counterexample)).toBeUndefined();
    expect(found.states).toBe(55);
  });

  test.each(MODES)('crashes of the engine alone cost nothing at a %s server', (mode) => {
    const found = explore({ mode, faults: { ...NONE, outages: 3 }, excuse: never });
    expect(found.counterexample, told(found.counterexample)).toBeUndefined();
  });

  test.each(
    MODES.filter((mode) => mode !== 'strict').flatMap((mode) =>
      [{ crashes: 2 }, { stops: 1 }, { losses: 2 }].map((faults) => ({ mode, faults })),
    ),
  )('$faults costs nothing at a $mode server that answers in the order of the claims', ({ mode, faults }) => {
    const found = explore({ mode, faults: { ...NONE, ...faults }, excuse: overtakenOnly });
    expect(found.counterexample, told(found.counterexample)).toBeUndefined();
  });
});

describe('each rule of the protocol is needed', () => {
  test.each(REMOVALS.map((removal) => [removal.title, removal] as const))(
    '%s',
    (_title, { rule, mode, faults, broken, trace }) => {
      const question = { mode, faults: { ...NONE, ...faults } };
      const without = explore({ ...question, rules: { ...FULL, [rule]: false } });
      expect(without.counterexample, 'The rule seems to be of no use any more.').toBeDefined();
      expect(without.counterexample, told(without.counterexample)).toEqual({ broken, trace });
      const full = explore(question);
      expect(full.counterexample, told(full.counterexample)).toBeUndefined();
    },
  );
});

describe('what is excused does happen', () => {
  test.each(CAUSES_LEFT.map((cause) => [cause.title, cause] as const))(
    '%s',
    (_title, { mode, faults, besidesOvertaken, broken, trace }) => {
      const excuse = besidesOvertaken ? overtakenOnly : never;
      const found = explore({ mode, faults: { ...NONE, ...faults }, excuse });
      expect(found.counterexample, told(found.counterexample)).toEqual({ broken, trace });
    },
  );
});

/** For who has broken it: what is wrong, and the shortest way there. */
function told(counterexample: Counterexample | undefined): string {
  return counterexample === undefined
    ? 'Nothing is broken.'
    : [counterexample.broken, ...counterexample.trace].join('\n  ');
}
