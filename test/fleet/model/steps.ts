import { normalize } from './codec.ts';
import { type EventCall, events, type FaultCall, faultsOf } from './faults.ts';
import type { Excuse } from './invariants.ts';
import { type Call, ownSteps } from './protocol.ts';
import { FULL, type Rules } from './rules.ts';
import { answer, givenTo, type Mode } from './server.ts';
import { type Faults, NO_FAULTS, type Operation, type Process, type State } from './state.ts';

/** A small world: the operations of each process in order, the server, and the possible faults. */
export interface Configuration {
  readonly mode: Mode;
  /** By default a claim in an engine; `lock` is a lock of the kernel. */
  readonly store?: 'engine' | 'lock';
  readonly programs: readonly (readonly Operation[])[];
  /** The machine of each process. By default all are on one. */
  readonly machines?: readonly number[];
  readonly faults?: Partial<Faults>;
  readonly rules?: Partial<Record<keyof Rules, boolean>>;
}

export interface Step {
  readonly label: string;
  /** The process, or -1 for an event of no single process. */
  readonly who: number;
  readonly call: Call | FaultCall | EventCall | 'serve';
  readonly isFault: boolean;
  readonly state: State;
  readonly broken: string | undefined;
}

/** Violations of the protocol itself, whatever failed before. */
const ALWAYS = new Set([
  'Spent tokens were exported.',
  'Tokens were marked as refused that nobody had sent.',
  'An answer was set aside, and nobody else had asked.',
  'An answer was set aside after the window.',
]);

export const NAMES = 'ABC';

export function faultsIn({ faults }: Configuration): Faults {
  return { ...NO_FAULTS, ...faults };
}

/** Returns every step that is possible in that state. */
export function steps(before: State, configuration: Configuration, excuse: Excuse): Step[] {
  const { mode, store = 'engine', programs } = configuration;
  const rules: Rules = { ...FULL, ...configuration.rules };
  const machines = configuration.machines ?? programs.map(() => 0);
  const found: Step[] = [];
  const add = (
    who: number,
    label: string,
    call: Step['call'],
    isFault: boolean,
    change: (state: State, own: Process) => string | undefined | void,
  ) => {
    const state: State = { ...before, processes: before.processes.map((one) => ({ ...one })) };
    const own = (state.processes[who] ?? state.processes[0]) as Process;
    const broken = change(state, own) ?? undefined;
    normalize(state);
    const isExcused = broken !== undefined && !ALWAYS.has(broken) && excuse(state, mode);
    found.push({ label, who, call, isFault, state, broken: isExcused ? undefined : broken });
  };
  for (const [who, process] of before.processes.entries()) {
    const operation = programs[who]?.[process.done];
    const actor = { index: who, operation, store, mode, rules, machines };
    const told = (label: string) => `${NAMES[who] ?? '?'} ${label}`;
    if (process.run === 'running') {
      ownSteps(before, process, actor, (label, call, change) => add(who, told(label), call, false, change));
    }
    faultsOf(before, process, actor, (label, call, change) =>
      add(who, told(label), call, call !== 'go-on', change),
    );
    if (process.message === 'request') {
      add(who, told('is answered by the server'), 'serve', false, (state, own) => {
        const wasEnded = state.families.some(({ ended }) => ended);
        answer(state, own, mode, store === 'lock');
        if (own.message === 'answer' && own.base !== undefined) {
          const { login, generation } = own.base;
          own.answer = {
            login,
            generation: generation + 1,
            epoch: own.sent.epoch,
            token: givenTo(state, own),
          };
        }
        const isEnded = state.families.some(({ ended }) => ended);
        return isEnded && !wasEnded && !excuse(state, mode) ? 'The server ended the login.' : undefined;
      });
    }
  }
  events(before, { mode, rules, store }, (label, call, change) =>
    add(-1, label, call, call !== 'lapse' && call !== 'patience', (state) => change(state)),
  );
  return found;
}
