import type { Actor } from './protocol.ts';
import { isPatient } from './server.ts';
import { CAUSES, IDLE, isBusy, isNewer, isSame, NO_NOTE, type Process, type State } from './state.ts';

/* Who may have the lease, and what remains of an operation when it ends. */

export function isClaimable(
  { lease, processes }: State,
  own: Process,
  { store, mode, rules, operation }: Actor,
): boolean {
  if (!lease.open) return true;
  if (store === 'lock')
    return !processes.some(({ run, epoch }) => run !== 'crashed' && epoch === lease.epoch);
  if (own.ghost !== 0 && (own.ghost === lease.epoch || !rules.ghostOnlyWhileLast)) return true;
  const isOperation = operation !== 'refresh' && operation !== 'login';
  const rests =
    isPatient(mode) && rules.patience && operation !== 'login' && (!isOperation || rules.operationsPatience);
  return lease.age >= (rests ? 2 : 1);
}

export function claim(state: State, own: Process, { rules, store, operation }: Actor): void {
  const { lease } = state;
  const isGhost = own.ghost !== 0 && lease.open && own.ghost === lease.epoch;
  own.point = operation === 'refresh' && store === 'engine' ? 'holds the lease' : 'has claimed';
  Object.assign(own, { stale: false, abandoned: false, silent: false, refused: false });
  if (isGhost || (own.ghost !== 0 && !rules.ghostOnlyWhileLast)) {
    own.epoch = own.ghost;
    own.ghost = 0;
    if (isGhost) state.lease = { ...lease, age: 0 };
    return;
  }
  own.ghost = 0;
  for (const [index, other] of state.processes.entries()) {
    if (other.message === 'request')
      state.processes[index] = { ...other, sent: { ...other.sent, late: true } };
  }
  const { note } = lease;
  const isOurs =
    own.base === undefined || (note.login === own.base.login && note.generation === own.base.generation);
  own.epoch = (rules.epochByClock ? highest(state) : lease.epoch) + 1;
  own.abandoned = lease.open;
  own.silent = isOurs && note.silent;
  own.refused = isOurs && note.refused;
  state.lease = { ...lease, epoch: own.epoch, open: true, age: 0, note: NO_NOTE };
}

/** An epoch above all epochs in any history of the engine, since the engine's clock is ahead of them. */
function highest({ lease, replica, record, rows, files, processes, latest }: State): number {
  const logins = [record, replica?.record, ...rows, ...files, ...(replica?.rows ?? [])];
  const held = processes.flatMap(({ epoch, ghost, sent, answer, written, home, base }) => [
    epoch,
    ghost,
    sent.epoch,
    ...[answer, written, home, base].map((one) => one?.epoch ?? 0),
  ]);
  return Math.max(
    lease.epoch,
    replica?.lease.epoch ?? 0,
    latest,
    ...logins.map((one) => one?.epoch ?? 0),
    ...held,
  );
}

function isCurrent({ families }: State, { written }: Pick<Process, 'written'>): boolean {
  return families.some(({ current, ended }) => !ended && current === written?.token);
}

/** Checks whether the writes that a replica had forgotten are stored again. */
export function repaired(state: State, own: Process): void {
  const others = state.processes.filter((one) => one !== own);
  const isNewest = !others.some(
    (one) => one.written !== undefined && own.written !== undefined && isNewer(one.written, own.written),
  );
  const isThere =
    own.written !== undefined && state.record !== undefined && isSame(own.written, state.record);
  if (own.epoch > 0 && own.epoch !== state.lease.epoch) return;
  if (isThere && isNewest && isCurrent(state, own) && !others.some(isBusy)) state.causes &= ~CAUSES.forgotten;
}

/** Ends the operation. The process keeps what it remembers. */
export function finish(state: State, own: Process): void {
  const { done, run, written, ghost, repairs, young } = own;
  Object.assign(own, IDLE, { done: done + 1, run, written, ghost, repairs, young: repairs && young });
  repaired(state, own);
  // The process has looked at what the replica restored, and no process was busy with it.
  const others = state.processes.flatMap((one) => one.written ?? []);
  const isNewest = written !== undefined && !others.some((other) => isNewer(other, written));
  const knows = isNewest && state.record !== undefined && isNewer(written, state.record);
  if (knows && isCurrent(state, { written }) && !repairs && !state.processes.some(isBusy))
    state.causes &= ~CAUSES.forgotten;
}
