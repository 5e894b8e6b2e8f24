import { isWhole } from './invariants.ts';
import {
  type Entry,
  IDLE,
  isMine,
  type Login,
  POINTS,
  type Process,
  type State,
  type Stored,
} from './state.ts';

/*
 * Encodes a state as a short text. Equal states have equal texts, which are the keys of the states the search has
 * visited.
 */

/** Removes details that can make no difference any more. */
export function normalize(state: State): void {
  for (const [index, one] of state.processes.entries()) {
    if (one.run === 'crashed' && one.message !== 'request' && one.point !== 'idle') {
      state.processes[index] = { ...IDLE, run: 'crashed', done: one.done };
    }
    if ((one.message === 'answer' || one.message === 'refusal') && one.run === 'crashed') {
      state.processes[index] = { ...IDLE, run: 'crashed', done: one.done };
    }
    if (one.point === 'gives back' && isMine(state, one) && one.home !== undefined) one.home = undefined;
  }
  if (!state.lease.open) state.lease = { ...state.lease, age: 0 };
  const maySend = ({ message, point }: Process) => message === 'request' || point === 'has passed the fence';
  if (!state.processes.some(maySend)) state.latest = 0;
  if (isWhole(state)) state.causes = 0;
}

export function encode(state: State): string {
  const numbers: number[] = [];
  const put = (...of: number[]) => void numbers.push(...of);
  const epochs = ranks(epochsOf(state));
  const versions = ranks(versionsOf(state));
  const login = (of: Login | undefined) => {
    if (of === undefined) return put(0);
    put(1, of.login, of.generation, epochs.get(of.epoch) ?? 0, of.token);
  };
  const stored = (of: Stored | undefined) => {
    login(of);
    if (of !== undefined)
      put(versions.get(of.version) ?? 0, of.kid, Number(of.marked) + 2 * Number(of.moved));
  };
  const entries = (of: readonly Entry[]) => {
    put(of.length);
    for (const entry of of) {
      login(entry);
      put(entry.machine + 1, Number(entry.young));
    }
  };
  const lease = ({ epoch, open, age, sent, note }: State['lease']) =>
    put(
      epochs.get(epoch) ?? 0,
      Number(open),
      age,
      epochs.get(sent) ?? 0,
      note.login,
      note.generation,
      flags(note.refused, note.silent),
    );
  stored(state.record);
  lease(state.lease);
  entries(state.rows);
  entries(state.files);
  put(Number(state.replica !== undefined));
  if (state.replica !== undefined) {
    stored(state.replica.record);
    lease(state.replica.lease);
    entries(state.replica.rows);
  }
  put(
    epochs.get(state.latest) ?? 0,
    state.exported,
    state.newestLogin,
    Number(state.loggedOut),
    state.causes,
  );
  for (const { current, parent, window, ended } of state.families) put(current, parent, flags(window, ended));
  put(...Object.values(state.left));
  for (const one of state.processes) process(one);
  return String.fromCharCode(...numbers);

  function process(one: Process): void {
    put(one.done, POINTS.indexOf(one.point), RUNS.indexOf(one.run), MESSAGES.indexOf(one.message), one.asked);
    stored(one.base);
    put(
      epochs.get(one.epoch) ?? 0,
      flags(
        one.abandoned,
        one.silent,
        one.stale,
        one.refused,
        one.young,
        one.pending,
        one.repairs,
        one.sent.late,
      ),
    );
    put(one.sent.token, epochs.get(one.sent.epoch) ?? 0, epochs.get(one.ghost) ?? 0);
    login(one.answer);
    login(one.home);
    login(one.written);
  }
}

const RUNS = ['running', 'stopped', 'crashed'];
const MESSAGES = ['none', 'request', 'answer', 'refusal'];

function flags(...of: boolean[]): number {
  return of.reduce((sum, one, index) => sum + (one ? 2 ** index : 0), 0);
}

/** Replaces numbers by their ranks, since only their order matters. */
function ranks(of: readonly number[]): Map<number, number> {
  return new Map([...new Set([0, ...of])].sort((a, b) => a - b).map((value, rank) => [value, rank]));
}

function versionsOf({ record, replica, processes }: State): number[] {
  return [record, replica?.record, ...processes.map(({ base }) => base)].flatMap((one) => one?.version ?? []);
}

function epochsOf({ record, lease, rows, files, replica, latest, processes }: State): number[] {
  const logins = [record, replica?.record, ...rows, ...files, ...(replica?.rows ?? [])];
  const leases = [lease.epoch, lease.sent, replica?.lease.epoch ?? 0, replica?.lease.sent ?? 0, latest];
  const held = processes.flatMap(({ epoch, sent, ghost, answer, home, written, base }) => [
    epoch,
    sent.epoch,
    ghost,
    ...[answer, home, written, base].flatMap((one) => one?.epoch ?? []),
  ]);
  return [...logins.flatMap((one) => one?.epoch ?? []), ...leases, ...held];
}
