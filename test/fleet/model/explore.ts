import { encode } from './codec.ts';
import { countRefusals } from './faults.ts';
import { brokenAtRest, type Excuse, excused } from './invariants.ts';
import { initial, type State } from './state.ts';
import { type Configuration, faultsIn, NAMES, type Step, steps } from './steps.ts';

export interface Explored {
  readonly states: number;
  readonly transitions: number;
  /** The violation, and the shortest trace to it. */
  readonly counterexample: Counterexample | undefined;
  /** The shortest trace to each state in which nothing is left to do. */
  readonly ends: readonly End[];
}

export interface Counterexample {
  readonly broken: string;
  readonly trace: readonly string[];
}

export interface End {
  readonly state: State;
  readonly trace: readonly Step[];
}

interface Node {
  readonly state: State;
  readonly from: Node | undefined;
  readonly step: Step | undefined;
  readonly depth: number;
}

/**
 * Explores every reachable state, breadth first, so that the first counterexample is a shortest one.
 *
 * @param options.depth the maximum length of a trace; unlimited by default
 */
export function explore(
  configuration: Configuration,
  {
    excuse = excused,
    depth = Number.POSITIVE_INFINITY,
  }: { readonly excuse?: Excuse; readonly depth?: number } = {},
): Explored {
  const { mode, programs } = configuration;
  countRefusals(configuration.faults ?? {});
  const start: Node = {
    state: initial(programs.length, faultsIn(configuration)),
    from: undefined,
    step: undefined,
    depth: 0,
  };
  const seen = new Set([encode(start.state)]);
  let level: Node[] = [start];
  const ends: End[] = [];
  let transitions = 0;
  const result = (counterexample?: Counterexample): Explored => ({
    states: seen.size,
    transitions,
    counterexample,
    ends,
  });
  while (level.length > 0) {
    const next: Node[] = [];
    for (const node of level) {
      if (node.depth >= depth) continue;
      const found = steps(node.state, configuration, excuse);
      const isAtRest = found.every(({ isFault }) => isFault);
      if (isAtRest) {
        const left = unfinished(node.state, configuration);
        const wrong = left ?? brokenAtRest(node.state, mode, excuse);
        if (wrong !== undefined) return result({ broken: wrong, trace: labelsTo(node) });
        ends.push({ state: node.state, trace: stepsTo(node) });
      }
      for (const step of found) {
        transitions += 1;
        const to: Node = { state: step.state, from: node, step, depth: node.depth + 1 };
        if (step.broken !== undefined) return result({ broken: step.broken, trace: labelsTo(to) });
        const key = encode(step.state);
        if (seen.has(key)) continue;
        seen.add(key);
        next.push(to);
      }
    }
    level = next;
  }
  return result();
}

/** Names a process that waits for something that will never come. */
function unfinished({ processes }: State, { programs }: Configuration): string | undefined {
  const stuck = processes.findIndex(
    ({ run, done }, index) => run !== 'crashed' && done < (programs[index]?.length ?? 0),
  );
  return stuck === -1 ? undefined : `${NAMES[stuck] ?? '?'} waits for ever.`;
}

function stepsTo(node: Node): Step[] {
  const path: Step[] = [];
  for (let at: Node | undefined = node; at?.step !== undefined; at = at.from) path.push(at.step);
  return path.reverse();
}

function labelsTo(node: Node): string[] {
  return stepsTo(node).map(({ label }) => label);
}

/** Walks to an end by those random numbers, and ignores violations on the way. */
export function walk(configuration: Configuration, random: () => number): End {
  countRefusals(configuration.faults ?? {});
  let state = initial(configuration.programs.length, faultsIn(configuration));
  const trace: Step[] = [];
  for (;;) {
    const found = steps(state, configuration, excused);
    if (found.every(({ isFault }) => isFault)) return { state, trace };
    const step = found[Math.floor(random() * found.length)] as Step;
    trace.push(step);
    ({ state } = step);
  }
}
