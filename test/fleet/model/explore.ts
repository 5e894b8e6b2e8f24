import { decode, encode } from './codec.ts';
import { brokenAtRest, type Excuse, excused, isAlive, isFallingBack, isFresh } from './invariants.ts';
import { FULL, GENERATIONS, type Rules } from './protocol.ts';
import type { Mode } from './server.ts';
import { type Faults, initial, type State } from './state.ts';
import { steps } from './steps.ts';

export interface Explored {
  /** How many states there are that differ in more than the names of the holders. */
  readonly states: number;
  readonly transitions: number;
  /** What is broken, and the fewest steps that lead there. */
  readonly counterexample: Counterexample | undefined;
}

export interface Question {
  readonly mode: Mode;
  readonly faults: Faults;
  /** By default, all of them. */
  readonly rules?: Rules;
  /** By default, the causes that are listed with it. */
  readonly excuse?: Excuse;
}

export interface Counterexample {
  readonly broken: string;
  readonly trace: readonly string[];
}

/** Every state that can be reached, breadth first, so that the first counterexample is a shortest one. */
export function explore({ mode, faults, rules = FULL, excuse = excused }: Question): Explored {
  const start = encode(initial(faults));
  const keys = [start];
  const numbers = new Map([[start, 0]]);
  const from = [-1];
  const targets = new NumberList();
  const begins = [0];
  const result = (counterexample?: Counterexample): Explored => ({
    states: keys.length,
    transitions: targets.length,
    counterexample,
  });
  for (let number = 0; number < keys.length; number += 1) {
    const key = keys[number] as string;
    const before = decode(key);
    // A family that is revoked stays so, whatever is done.
    for (const { label, state, broken } of before.revoked ? [] : steps(before, mode, rules, excuse)) {
      const wrong = broken ?? brokenAtRest(state, mode, excuse);
      const next = encode(state);
      if (wrong !== undefined) {
        const path = [...pathTo(number, keys, from), next];
        return result({ broken: wrong, trace: retell(path, label, { mode, rules, faults }) });
      }
      let known = numbers.get(next);
      if (known === undefined) {
        known = keys.length;
        numbers.set(next, known);
        keys.push(next);
        from.push(number);
      }
      targets.push(known);
    }
    begins.push(targets.length);
  }
  const stuck = stuckState(keys, targets, begins, (state) => isAlive(state, mode) && !excuse(state, mode));
  if (stuck === undefined) return result();
  const trace = retell(pathTo(stuck, keys, from), undefined, { mode, rules, faults });
  return result({ broken: 'From here no continuation stores a fresh token.', trace });
}

/** The first state in which the login is alive, and from which nothing leads to a fresh token. */
function stuckState(
  keys: readonly string[],
  targets: NumberList,
  begins: readonly number[],
  mustGoOn: (state: State) => boolean,
): number | undefined {
  const sources = reversed(keys.length, targets, begins);
  const leads = new Uint8Array(keys.length);
  const open: number[] = [];
  for (const [number, key] of keys.entries()) {
    if (!isFresh(decode(key), GENERATIONS)) continue;
    leads[number] = 1;
    open.push(number);
  }
  for (let number = open.pop(); number !== undefined; number = open.pop()) {
    for (const source of sources(number)) {
      if (leads[source] === 1) continue;
      leads[source] = 1;
      open.push(source);
    }
  }
  for (const [number, key] of keys.entries()) {
    if (leads[number] === 1) continue;
    const state = decode(key);
    if (mustGoOn(state) && !isFallingBack(state)) return number;
  }
  return undefined;
}

/** For each state, those from which a step leads to it. */
function reversed(
  states: number,
  targets: NumberList,
  begins: readonly number[],
): (number: number) => Uint32Array {
  const starts = new Uint32Array(states + 1);
  for (let edge = 0; edge < targets.length; edge += 1) {
    const after = targets.at(edge) + 1;
    starts[after] = (starts[after] ?? 0) + 1;
  }
  for (let number = 1; number <= states; number += 1) {
    starts[number] = (starts[number] ?? 0) + (starts[number - 1] ?? 0);
  }
  const filled = starts.slice();
  const sources = new Uint32Array(targets.length);
  for (let number = 0; number < states; number += 1) {
    for (let edge = begins[number] ?? 0; edge < (begins[number + 1] ?? 0); edge += 1) {
      const target = targets.at(edge);
      const place = filled[target] ?? 0;
      sources[place] = number;
      filled[target] = place + 1;
    }
  }
  return (number) => sources.subarray(starts[number], starts[number + 1]);
}

function pathTo(number: number, keys: readonly string[], from: readonly number[]): string[] {
  const path: string[] = [];
  for (let at = number; at >= 0; at = from[at] ?? -1) path.unshift(keys[at] as string);
  return path;
}

/** The same path with one name for each holder from beginning to end: a key does not tell them apart. */
function retell(
  path: readonly string[],
  last: string | undefined,
  { mode, rules, faults }: { readonly mode: Mode; readonly rules: Rules; readonly faults: Faults },
): string[] {
  let state: State = initial(faults);
  const told: string[] = [];
  for (const [index, key] of path.slice(1).entries()) {
    const isLast = index === path.length - 2 && last !== undefined;
    const step = steps(state, mode, rules, excused).find(
      (one) => encode(one.state) === key && (!isLast || withoutName(one.label) === withoutName(last)),
    );
    if (step === undefined) throw new Error(`The trace breaks off after: ${told.join('; ')}`);
    told.push(step.label);
    state = step.state;
  }
  return told;
}

function withoutName(label: string): string {
  return label.replace(/\b[ABC]\b/, '');
}

/** Millions of numbers in little room. */
class NumberList {
  #numbers = new Uint32Array(1024);
  length = 0;

  push(number: number): void {
    if (this.length === this.#numbers.length) {
      const longer = new Uint32Array(2 * this.length);
      longer.set(this.#numbers);
      this.#numbers = longer;
    }
    this.#numbers[this.length] = number;
    this.length += 1;
  }

  at(index: number): number {
    return this.#numbers[index] ?? 0;
  }
}
