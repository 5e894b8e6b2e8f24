import type { Rules } from './rules.ts';
import { hasKnownWindow, type Mode, revoke } from './server.ts';
import {
  type Entry,
  isMine,
  isNewer,
  isSame,
  type Login,
  NO_NOTE,
  type Process,
  type State,
} from './state.ts';

/* How an answer gets into the store (src/credentials/outbox/outbox.ts). */

export interface World {
  readonly mode: Mode;
  readonly rules: Rules;
  readonly machines: readonly number[];
}

export type Write = 'written' | 'changed' | 'followed';

let versions = 1;

/** A version that no process has seen. `normalize` renumbers versions. */
export function newVersion(): number {
  versions += 1;
  return versions;
}

/** Writes the answer over the record that the process has read, under the condition of that write. */
export function write(
  state: State,
  own: Process,
  answer: Login,
  { mode, rules }: World,
  { young, unconditional = false }: { readonly young: boolean; readonly unconditional?: boolean },
): Write {
  const { record, lease } = state;
  if (!rules.writeByVersion && !(isMine(state, own) && lease.age === 0)) return 'changed';
  if (record === undefined || record.version !== own.base?.version) return 'changed';
  const isConditional =
    !unconditional &&
    rules.conditionalWrite &&
    hasKnownWindow(mode) &&
    (young || !rules.onlyInWindow) &&
    !record.marked;
  const since = rules.unlessUnsent ? lease.sent : lease.epoch;
  if (isConditional && answer.epoch > 0 && since > answer.epoch) return 'followed';
  state.record = { ...record, ...pick(answer), version: newVersion(), marked: false };
  return 'written';
}

export function pick({ login, generation, epoch, token }: Login): Login {
  return { login, generation, epoch, token };
}

/** Whether the answer should replace what is stored. */
export function counts(answer: Login, stored: Login, rules: Rules): boolean {
  if (answer.login !== stored.login) return !rules.loginOrder;
  if (answer.generation < stored.generation) return !rules.generationOrder;
  if (answer.generation === stored.generation && !rules.siblingOrder) return false;
  return isNewer(answer, stored);
}

/** Compares an unsaved answer with the record. */
export function judge(
  state: State,
  own: Process,
  answer: Login,
  { rules }: World,
): 'removed' | 'there' | 'superseded' | 'write' {
  const { record } = state;
  const before = own.base;
  own.base = record;
  if (record === undefined) return 'removed';
  if (!rules.findByName && before !== undefined && before.kid !== record.kid) return 'removed';
  if (isSame(record, answer)) return 'there';
  if (record.moved || !counts(answer, record, rules)) return 'superseded';
  return 'write';
}

/** The answer is stored, or the store has something newer. */
export function settled(
  state: State,
  own: Process,
  stored: Login,
  entries: readonly Entry[],
  rules: Rules,
): void {
  own.written = pick(stored);
  own.pending = false;
  own.repairs = false;
  removeOutdated(state, stored, entries, rules);
}

export function removeOutdated(state: State, stored: Login, entries: readonly Entry[], rules: Rules): void {
  const isOutdated = (entry: Entry) =>
    entries.some((one) => one.machine === entry.machine && isSame(one, entry)) &&
    (!isNewer(entry, stored) || !rules.removeOnlySuperseded);
  state.rows = state.rows.filter((entry) => !isOutdated(entry));
  state.files = state.files.filter((entry) => !isOutdated(entry));
}

/**
 * Gives the answer up, since another process may have a newer one. The parent token of both is still stored, and the
 * server answers it a third time while its window is open.
 */
export function setAside(
  state: State,
  own: Process,
  answer: Login,
  entries: readonly Entry[],
  rules: Rules,
): void {
  own.written = undefined;
  own.pending = false;
  own.repairs = false;
  removeOutdated(state, answer, entries, rules);
}

/** The login was removed while these tokens were on their way. */
export function removed(state: State, own: Process, answer: Login, { mode, rules }: World): void {
  if (rules.revokeWhenRemoved) revoke(state, answer.token, mode);
  own.written = undefined;
  own.pending = false;
  own.repairs = false;
  removeOutdated(state, answer, [...state.rows, ...state.files], rules);
}

/** The outbox entries that the process can see. */
export function entriesFor(
  state: State,
  index: number,
  { machines }: World,
  rows: boolean,
): readonly Entry[] {
  const login = state.record?.login;
  const files = state.files.filter(({ machine }) => machine === machines[index]);
  return [...(rows ? state.rows : []), ...files].filter((entry) => entry.login === login);
}

/** The newest unsaved state, if it is newer than the record. */
export function toBringHome(
  state: State,
  own: Process,
  index: number,
  world: World,
  isRefresh: boolean,
): { readonly home: Login; readonly young: boolean } | undefined {
  const { base } = own;
  if (base === undefined || base.moved || (!isRefresh && !world.rules.operationsBringHome)) return undefined;
  let found: { readonly home: Login; readonly young: boolean } | undefined;
  const consider = (home: Login, young: boolean) => {
    if (isNewer(home, found?.home ?? base)) found = { home, young };
  };
  for (const entry of entriesFor(state, index, world, !isRefresh || own.abandoned)) {
    consider(pick(entry), entry.young);
  }
  if (own.written !== undefined && world.rules.repair) consider(own.written, true);
  return found;
}

/** Puts an answer into the outbox when the store does not accept it. */
export function putEntry(state: State, own: Process, answer: Login, machine: number, { rules }: World): void {
  if (!rules.outbox) {
    own.answer = undefined;
    own.point = 'gives back';
    return;
  }
  const entry: Entry = { ...pick(answer), machine, young: own.young };
  const place = machine === -1 ? 'rows' : 'files';
  state[place] = [...state[place], entry];
  own.pending = true;
}

/** Ends the claim, in the step that writes or in a separate one. */
export function giveBack(state: State, own: Process, note: State['lease']['note'] = NO_NOTE): void {
  if (!isMine(state, own)) return;
  state.lease = { ...state.lease, open: false, note };
}
