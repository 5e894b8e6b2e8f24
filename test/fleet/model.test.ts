import { describe, expect, test } from 'vitest';
import { CAUSES_LEFT } from './model/causes-left.ts';
import { WORLDS, type World } from './model/configurations.ts';
import { type Counterexample, explore } from './model/explore.ts';
import { type Excuse, excused, never } from './model/invariants.ts';
import { MUTANTS } from './model/mutants.ts';
import { FULL } from './model/rules.ts';
import { MODES } from './model/server.ts';
import { CAUSES } from './model/state.ts';

/*
 * The protocol as a state machine. It explores every order in which a few processes, the network, the server and the
 * engine can take their steps, in several small worlds: refresh, rekey, logout, export and login, one outbox, windows
 * that close, failover, clocks that jump, refusals that pass.
 *
 * Left out: more than three processes, three kinds of faults at once (HOLDFAST_TEST_MODEL=long explores some), windows
 * and old access tokens that expire at different moments on different machines, a refresher that asks again hours after
 * a refusal, a full outbox, and keys that only some machines have.
 */

const isLong = process.env['HOLDFAST_TEST_MODEL'] === 'long';

const worlds = WORLDS.filter((world) => isLong || world.isLong !== true);

describe('a login is lost only for the listed causes, and nobody waits forever', () => {
  test.each(worlds.flatMap((world) => world.modes.map((mode) => [world.title, mode, world] as const)))(
    'loses a login only for the listed causes, and nobody waits forever: %s, at a %s server',
    (_, mode, world) => {
      const { counterexample, states } = explore({ ...world, mode });
      expect(counterexample, told(counterexample)).toBeUndefined();
      // Fewer states would mean that something is no longer explored.
      expect(states).toBeGreaterThan(150);
    },
    900_000,
  );

  test.each(MODES)('loses nothing at a %s server while nothing fails', (mode) => {
    const programs = [['refresh', 'refresh'], ['refresh', 'rekey'], ['refresh']] as const;
    const { counterexample } = explore({ mode, programs }, { excuse: never });
    expect(counterexample, told(counterexample)).toBeUndefined();
  });

  test.each(MODES)('crashes of the engine alone lose nothing at a %s server', (mode) => {
    const programs = [['refresh', 'refresh'], ['refresh']] as const;
    const { counterexample } = explore({ mode, programs, faults: { restarts: 2 } }, { excuse: never });
    expect(counterexample, told(counterexample)).toBeUndefined();
  });
});

describe('a rule of the protocol that is taken away', () => {
  test.each(MUTANTS.map((mutant) => [mutant.title, mutant] as const))('%s', (_, mutant) => {
    const { rule, world, mode, broken } = mutant;
    const { counterexample } = explore({
      ...(typeof world === 'string' ? worldOf(world) : world),
      mode,
      rules: { [rule]: false },
    });
    expect(counterexample, 'The rule seems to be of no use any more.').toBeDefined();
    expect(counterexample?.broken, told(counterexample)).toBe(broken);
  });

  test('every rule of the protocol has a world that needs it', () => {
    expect(MUTANTS.map(({ rule }) => rule).sort()).toEqual(Object.keys(FULL).sort());
  });
});

describe('a cause on the list that costs a login', () => {
  test.each(CAUSES_LEFT.map((left) => [left.title, left] as const))('%s', (_, { cause, world, mode }) => {
    const excuse: Excuse = (state, at) => excused({ ...state, causes: state.causes & ~CAUSES[cause] }, at);
    expect(explore({ ...worldOf(world), mode }, { excuse }).counterexample).toBeDefined();
  });
});

function worldOf(title: string): World {
  const world = WORLDS.find((one) => one.title === title);
  if (world === undefined) throw new Error(`There is no world “${title}”.`);
  return world;
}

/** Shows the violation and the shortest trace to it. */
function told(counterexample: Counterexample | undefined): string {
  return counterexample === undefined
    ? 'Nothing is broken.'
    : [counterexample.broken, ...counterexample.trace].join('\n  ');
}
