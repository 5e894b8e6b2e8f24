import { pick, putEntry, write } from './landing.ts';
import { claim } from './lease.ts';
import { type Actor, announce, announces, isAboutToSend } from './protocol.ts';
import { isStrict } from './server.ts';
import {
  CAUSES,
  type Engine,
  type Faults,
  IDLE,
  isInDoubt,
  isMine,
  isSame,
  type Process,
  type State,
} from './state.ts';

/* The faults, and when they can occur. `left` limits the number of each kind. */

export type AddFault = (
  label: string,
  call: FaultCall,
  change: (state: State, own: Process) => string | undefined | void,
) => void;

export type FaultCall =
  | 'crash'
  | 'stop'
  | 'go-on'
  | 'lose'
  | 'write-row'
  | 'write-file'
  | 'write-unknown'
  | 'claim-lost'
  | 'announce-lost'
  | 'announce-unknown'
  | 'refuse';

function take(state: State, kind: keyof Faults): void {
  state.left = { ...state.left, [kind]: state.left[kind] - 1 };
}

/** The faults of a process and of its messages. */
export function faultsOf(before: State, process: Process, actor: Actor, add: AddFault): void {
  const { point, run, message } = process;
  const { left } = before;
  // Without a claim, a stopped or killed process is the same as one that takes no step.
  const isAtRisk = run !== 'crashed' && (process.epoch > 0 || process.repairs);
  if (isAtRisk && left.crashes > 0) add(`is killed while it ${point}`, 'crash', crash);
  if (isAtRisk && run === 'running' && left.stops > 0) {
    add(`is stopped while it ${point}`, 'stop', (state, own) => {
      take(state, 'stops');
      own.run = 'stopped';
    });
  }
  if (run === 'stopped') add('goes on', 'go-on', (_state, own) => void (own.run = 'running'));
  if (run !== 'crashed' && left.losses > 0 && (message === 'request' || message === 'answer')) {
    add(`loses its ${message} on the network`, 'lose', (state, own) => {
      take(state, 'losses');
      state.causes |= CAUSES.lost;
      Object.assign(own, { message: 'none', answer: undefined });
    });
  }
  if (message === 'request' && left.refusals > 0) {
    add('is refused although its token is good', 'refuse', (state, own) => {
      take(state, 'refusals');
      if (state.left.refusals === 0 && isTwice) state.causes |= CAUSES.refusedTwice;
      own.message = 'refusal';
    });
  }
  if (run !== 'running') return;
  ownFaults(before, process, actor, add);
}

/** Set by the configuration: its last refusal is the second one of a good token. */
let isTwice = false;
export function countRefusals({ refusals = 0 }: Partial<Faults>): void {
  isTwice = refusals > 1;
}

function ownFaults(before: State, process: Process, actor: Actor, add: AddFault): void {
  const { left, lease, record } = before;
  const { point, message, base } = process;
  const isWriting = point === 'writes again' || (point === 'has sent' && message === 'answer');
  if (isWriting && left.full > 0) {
    const refused = (machine: number) => (state: State, own: Process) => {
      take(state, 'full');
      own.message = 'none';
      const { answer } = own;
      if (answer === undefined) return;
      putEntry(state, own, answer, machine, actor);
      if (!own.pending) return;
      const { done, epoch, young, stale, run, written, ghost } = own;
      Object.assign(own, IDLE, {
        done: done + 1,
        epoch,
        young,
        stale,
        run,
        written,
        ghost,
        answer,
        pending: true,
      });
    };
    if (actor.store === 'engine')
      add('cannot write its tokens, and puts them into the outbox', 'write-row', refused(-1));
    add(
      'cannot write its tokens, and puts them into a file',
      'write-file',
      refused(actor.machines[actor.index] ?? 0),
    );
    add('writes its tokens, and the word of it is lost', 'write-unknown', (state, own) => {
      take(state, 'full');
      own.message = 'none';
      const { answer } = own;
      if (answer === undefined) return;
      if (write(state, own, answer, actor, { young: own.young }) === 'written' && isMine(state, own)) {
        state.lease = { ...state.lease, open: false };
      }
      own.point = 'has to look again';
    });
  }
  const isUnheld = !lease.open && record?.version === base?.version;
  if (
    point === 'wants the lease' &&
    actor.operation === 'refresh' &&
    left.claims > 0 &&
    isUnheld &&
    process.ghost === 0
  ) {
    add('claims the lease, and the word of it is lost', 'claim-lost', (state, own) => {
      take(state, 'claims');
      claim(state, own, actor);
      const { done, run, written, repairs, epoch } = own;
      Object.assign(own, IDLE, { done: done + 1, run, written, repairs, ghost: epoch });
    });
  }
  if (left.announcements > 0 && announces(actor) && isAboutToSend(before, process, actor)) {
    add('loses its announcement on the way, and sends nothing', 'announce-lost', (state, own) => {
      take(state, 'announcements');
      own.point = actor.rules.announceAwaited ? 'gives back to claim again' : 'has announced';
    });
    add('announces its request, and the word of it is lost', 'announce-unknown', (state, own) => {
      take(state, 'announcements');
      announce(state, own, actor, false);
    });
  }
}

function crash(state: State, own: Process): void {
  take(state, 'crashes');
  const { answer, message, sent, done } = own;
  const kept =
    answer !== undefined && [...state.rows, ...state.files].some((entry) => isSame(pick(entry), answer));
  if (isInDoubt(own) && !kept) state.causes |= CAUSES.crashed;
  const goesOn = message === 'request' ? { message, sent, epoch: 0 } : {};
  Object.assign(own, IDLE, { run: 'crashed', done, ...goesOn });
}

/** Events of time, the engine and the windows, which concern no single process. */
export function events(
  before: State,
  { mode, rules, store }: Pick<Actor, 'mode' | 'rules' | 'store'>,
  add: (label: string, call: EventCall, change: (state: State) => void) => void,
): void {
  const { lease, left, processes } = before;
  const isHeld = processes.some(
    ({ run, epoch }) => run === 'running' && epoch !== 0 && epoch === lease.epoch,
  );
  const isWanted = processes.some(({ run, point }) => run === 'running' && point === 'wants the lease');
  if (store === 'engine') {
    if (lease.open && lease.age < 2 && !isHeld && rules.leaseLapses && isWanted) {
      add(
        lease.age === 0 ? 'the lease lapses' : 'the patience is over',
        lease.age === 0 ? 'lapse' : 'patience',
        lapse,
      );
    }
    if (lease.open && lease.age < 2 && left.jumps > 0) {
      add('the clock of the engine jumps forwards', 'jump', (state) => {
        take(state, 'jumps');
        state.lease = { ...lease, age: 2 };
        if (isHeld) state.causes |= CAUSES.clock;
      });
    }
    if (lease.open && left.restarts > 0) {
      add('the engine crashes and comes back', 'restart', (state) => {
        take(state, 'restarts');
        state.lease = { ...lease, age: rules.startFloor ? 0 : 2, open: rules.intent };
      });
    }
    failover(before, add);
  }
  if (left.windows > 0 && before.families.some(({ window }) => window) && !isStrict(mode)) {
    const isEarly = left.windows > 1;
    add(
      isEarly ? 'the server closes its window early' : 'the window is over',
      isEarly ? 'window' : 'window-over',
      (state) => {
        take(state, 'windows');
        if (isEarly) state.causes |= CAUSES.shortWindow;
        closeWindow(state, isEarly);
      },
    );
  }
}

export type EventCall =
  | 'lapse'
  | 'patience'
  | 'jump'
  | 'restart'
  | 'fall-behind'
  | 'take-over'
  | 'window'
  | 'window-over';

function closeWindow(state: State, isEarly: boolean): void {
  state.families = state.families.map((family) => ({ ...family, window: false }));
  const { record } = state;
  const isSpent = state.families.some(({ parent }) => parent !== 0 && parent === record?.token);
  if (isEarly) return;
  if (isSpent) state.causes |= CAUSES.windowOver;
  // The network has kept the request for as long as a window.
  if (state.processes.some(({ message }) => message === 'request')) state.causes |= CAUSES.overtaken;
  state.processes = state.processes.map((one) => ({ ...one, young: false }));
  state.rows = state.rows.map((entry) => ({ ...entry, young: false }));
  state.files = state.files.map((entry) => ({ ...entry, young: false }));
}

/** Time passes, and the holder of the claim does not renew it. */
function lapse(state: State): void {
  const age = state.lease.age + 1;
  state.lease = { ...state.lease, age };
  for (const [index, one] of state.processes.entries()) {
    if (one.run === 'crashed' || one.epoch !== state.lease.epoch) continue;
    state.processes[index] = { ...one, stale: true };
    if (
      !isInDoubt(one) ||
      (one.pending && state.rows.some((entry) => one.answer !== undefined && isSame(entry, one.answer)))
    )
      continue;
    if (one.point === 'has passed the fence') state.causes |= CAUSES.gap;
    const first = (state.causes & CAUSES.lapsed) === 0 ? CAUSES.lapsed : CAUSES.lapsedAgain;
    state.causes |= age === 1 ? first : CAUSES.overslept;
  }
}

function failover(
  before: State,
  add: (label: string, call: EventCall, change: (state: State) => void) => void,
): void {
  const { record, lease, rows, replica } = before;
  if (replica === undefined && before.left.failovers > 0) {
    add('the replica falls behind', 'fall-behind', (state) => {
      take(state, 'failovers');
      state.replica = { record, lease, rows };
    });
  }
  if (replica === undefined || !hasFallenBehind(replica, before)) return;
  add('the replica takes over', 'take-over', (state) => {
    Object.assign(state, { ...replica, replica: undefined });
    state.causes |= CAUSES.forgotten;
    if (replica.lease.open) state.lease = { ...replica.lease, age: 0 };
  });
}

function hasFallenBehind(replica: Engine, { record, lease, rows }: State): boolean {
  return (
    replica.record?.version !== record?.version ||
    replica.lease.epoch !== lease.epoch ||
    replica.rows !== rows
  );
}
