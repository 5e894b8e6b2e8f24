import { faults, lapse, outages } from './faults.ts';
import type { Excuse } from './invariants.ts';
import { ownSteps, type Rules } from './protocol.ts';
import { type Mode, present } from './server.ts';
import { copy, type Holder, isMine, normalize, type State } from './state.ts';

export interface Step {
  readonly label: string;
  /** Not normalized: the holders stand where they stood. */
  readonly state: State;
  /** The invariant that this step breaks. */
  readonly broken: string | undefined;
}

/** Every step that can be taken from that state. */
export function steps(before: State, mode: Mode, rules: Rules, excused: Excuse): Step[] {
  const found: Step[] = [];
  const add = (label: string, change: (state: State) => string | undefined | void) => {
    const state = copy(before);
    const broken = change(state) ?? undefined;
    normalize(state);
    found.push({ label, state, broken });
  };
  for (const [index, holder] of before.holders.entries()) {
    const name = 'ABC'[index] ?? '?';
    const addFor = (label: string, change: (state: State, holder: Holder) => string | undefined | void) =>
      add(`${name} ${label}`, (state) => change(state, state.holders[index] as Holder));
    if (holder.run === 'running') ownSteps(before, holder, { mode, rules, excused }, addFor);
    faults(before, holder, addFor);
    if (holder.message === 'request') {
      addFor('is answered by the server', (state, own) => {
        present(state, own, mode);
        return state.revoked && !excused(state, mode) ? 'The family was revoked.' : undefined;
      });
    }
  }
  const holds = before.holders.some((holder) => holder.run === 'running' && isMine(before, holder));
  if (before.open && before.age < 2 && !holds && rules.leaseLapses) {
    add(before.age === 0 ? 'the lease lapses' : 'the patience is over', lapse);
  }
  if (before.outages > 0) outages(before, rules, add);
  return found;
}
