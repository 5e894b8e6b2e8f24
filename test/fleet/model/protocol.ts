import {
  counts,
  entriesFor,
  giveBack,
  judge,
  newVersion,
  pick,
  removed,
  setAside,
  settled,
  toBringHome,
  type World,
  write,
} from './landing.ts';
import { claim, finish, isClaimable, repaired } from './lease.ts';
import { isGood, revoke } from './server.ts';
import {
  CAUSES,
  IDLE,
  isMine,
  isNewer,
  type Login,
  NO_NOTE,
  type Operation,
  type Process,
  type State,
  type Stored,
  token,
} from './state.ts';

/*
 * The next step of a process (src/refresh/refresh.ts, src/credentials/, src/vault/). Each step is one statement at the
 * store or one message to the server, with the local work before and after it.
 */

/** The call at the end of the step, by which a replay recognises the step. */
export type Call =
  | 'read'
  | 'claim'
  | 'claim-in-vain'
  | 'announce'
  | 'send'
  | 'write'
  | 'move'
  | 'remove'
  | 'release'
  | 'deliver'
  | 'begin'
  | 'none';

export type Change = (state: State, own: Process) => string | undefined | void;
export type Add = (label: string, call: Call, change: Change) => void;

export interface Actor extends World {
  readonly index: number;
  readonly operation: Operation | undefined;
  readonly store: 'engine' | 'lock';
}

export function ownSteps(before: State, process: Process, actor: Actor, add: Add): void {
  const { rules } = actor;
  if (process.pending || process.repairs)
    add('writes what the store has not', 'write', (s, own) => flush(s, own, actor));
  if (actor.store === 'engine' && isMine(before, process) && (process.stale || before.lease.age > 0)) {
    add('renews its lease', 'none', (state, own) => {
      state.lease = { ...state.lease, age: 0 };
      own.stale = false;
    });
  }
  switch (process.point) {
    case 'idle':
      if (actor.operation !== undefined && !process.pending) begin(actor, add);
      return;
    case 'wants the lease':
      want(before, process, actor, add);
      return;
    case 'has claimed':
      add('looks', 'read', (state, own) => look(state, own, actor));
      return;
    case 'holds the lease':
      hold(before, process, actor, add);
      return;
    case 'has looked once more':
      send(before, process, actor, add);
      return;
    case 'has announced':
      passFence(process, actor, add);
      return;
    case 'has passed the fence':
      add('sends its refresh token', 'none', (state, own) => firstByte(state, own, actor.index));
      return;
    case 'has sent':
      hear(process, actor, add);
      return;
    case 'writes again':
      add('writes its tokens', 'write', (state, own) => land(state, own, actor));
      return;
    case 'has to look again':
      add('looks again', 'read', (state, own) => lookAgain(state, own, actor));
      return;
    case 'was followed':
      add('sets its tokens aside', 'read', (state, own) => {
        const answer = own.home ?? own.answer;
        if (answer === undefined) return;
        own.base = state.record;
        const entries = entriesFor(state, actor.index, actor, true);
        if (state.record === undefined) removed(state, own, answer, actor);
        else setAside(state, own, answer, own.home === undefined ? [] : entries, rules);
        afterHome(state, own, actor);
      });
      return;
    case 'was refused':
      add('looks before it marks', 'read', (state, own) => lookRefused(state, own, actor));
      return;
    case 'marks':
      add('marks the login as ended', 'write', (state, own) => mark(state, own, actor));
      return;
    case 'has exported':
      add('leaves a note in place of what it exported', 'write', (state, own) => {
        const { record, lease } = state;
        const isLast = lease.epoch <= own.epoch || !rules.exportIfLast;
        if (record !== undefined && record.version === own.base?.version && isLast) {
          const { generation } = record;
          state.record = {
            ...record,
            login: 0,
            generation: generation + 1,
            token: 0,
            moved: true,
            version: newVersion(),
          };
        } else {
          // The caller is told that the exported tokens are of no use.
          state.exported = 0;
        }
        own.point = 'gives back';
      });
      return;
    case 'gives back':
    case 'gives back to claim again':
      add('gives its claim back', 'release', (state, own) => release(state, own, actor));
  }
}

function begin({ operation, rules }: Actor, add: Add): void {
  if (operation === 'login') {
    add('is given the tokens of a new login', 'begin', (state, own) => {
      const login = state.families.length + 1;
      const first = token(login, 0);
      state.families = [...state.families, { current: first, parent: 0, window: false, ended: false }];
      own.answer = { login, generation: 0, epoch: 0, token: first };
      own.point = 'wants the lease';
    });
    return;
  }
  add(`begins to ${operation}, and reads`, 'read', (state, own) => {
    const { record } = state;
    own.base = record;
    // A rekey also moves the note that replaces an exported login, since the note is sealed.
    const isMoved = record?.moved === true && operation !== 'rekey';
    if (record === undefined || (record.marked && operation === 'refresh') || isMoved) {
      finish(state, own);
      return;
    }
    own.asked = record.token;
    if (rules.repair && own.written !== undefined && isNewer(own.written, record) && operation !== 'rekey') {
      own.repairs = operation === 'refresh' || operation === 'serve';
      own.asked = own.written.token;
    }
    if (operation === 'serve') finish(state, own);
    else own.point = 'wants the lease';
  });
}

function want(before: State, process: Process, actor: Actor, add: Add): void {
  const { operation, rules } = actor;
  const byVersion = operation === 'refresh' && actor.store === 'engine';
  if (byVersion && before.record?.version !== process.base?.version) {
    add('is told that the record has changed', 'claim', (state, own) => {
      if (own.ghost !== 0 && own.ghost === state.lease.epoch) state.lease = { ...state.lease, open: false };
      own.ghost = 0;
      const { record } = state;
      own.repairs ||=
        rules.repair && record !== undefined && own.written !== undefined && isNewer(own.written, record);
      if (record === undefined || record.marked || record.moved || record.token !== own.asked)
        finish(state, own);
      else own.base = record;
    });
    return;
  }
  if (isClaimable(before, process, actor)) {
    add('claims the lease', 'claim', (state, own) => claim(state, own, actor));
  } else if (operation === 'login') {
    add('goes on without the lease', 'claim-in-vain', (_state, own) => {
      own.point = 'has claimed';
    });
  }
}

/** Reads the record under the lease, under whichever key it is stored now. */
function look(state: State, own: Process, { operation }: Actor): void {
  const { record } = state;
  own.base = record;
  own.point = 'holds the lease';
  if (operation === 'login') return;
  if (record === undefined) own.point = 'gives back';
}

function hold(before: State, process: Process, actor: Actor, add: Add): void {
  const { operation, rules, index } = actor;
  const isRefresh = operation === 'refresh' && actor.store === 'engine';
  const found = operation === 'login' ? undefined : toBringHome(before, process, index, actor, isRefresh);
  if (found !== undefined) {
    const { home, young } = found;
    add('brings home what was not written', 'write', (state, own) => {
      own.home = home;
      const entries = entriesFor(state, index, actor, !isRefresh || own.abandoned);
      const result = write(state, own, home, actor, { young });
      if (result === 'changed') own.point = 'has to look again';
      else if (result === 'followed') {
        own.point = 'was followed';
        return asideInVain(state, home, young);
      } else {
        own.base = state.record;
        settled(state, own, home, entries, rules);
        afterHome(state, own, actor);
      }
      return undefined;
    });
    return;
  }
  switch (operation) {
    case 'refresh':
      if (hasOthers(process)) {
        add('finds other tokens', 'none', (_state, own) => void (own.point = 'gives back'));
      } else if (mustLook(process, actor)) {
        add('looks once more', 'read', (state, own) => {
          own.base = newest(state, own, rules);
          own.point = hasOthers(own) ? 'gives back' : 'has looked once more';
        });
      } else send(before, process, actor, add);
      return;
    case 'rekey':
      if (process.base?.kid === 1) {
        add('finds the record moved', 'none', (_state, own) => void (own.point = 'gives back'));
        return;
      }
      add('moves the record', 'move', (state, own) => {
        const { record, lease } = state;
        const isLast = lease.epoch <= own.epoch;
        if (record !== undefined && record.version === own.base?.version && isLast) {
          state.record = { ...record, kid: 1, version: newVersion() };
        }
        own.point = 'gives back';
      });
      return;
    case 'logout':
      add('revokes the login and removes it', 'remove', (state, own) => {
        const { record, lease } = state;
        if (own.base !== undefined && !own.base.moved && revoke(state, own.base.token, actor.mode))
          state.loggedOut = true;
        const isGone =
          record !== undefined && record.version === own.base?.version && lease.epoch <= own.epoch;
        if (isGone) Object.assign(state, { record: undefined, loggedOut: true });
        own.point = isGone ? 'gives back' : 'gives back to claim again';
      });
      return;
    case 'export':
      exportIt(process, actor, add);
      return;
    case 'login':
      add('saves the new login', 'write', (state, own) => {
        const { record } = state;
        const { answer } = own;
        if (answer === undefined) return;
        if (record?.version !== own.base?.version) {
          own.point = 'has claimed';
          return;
        }
        const generation = (record?.generation ?? 0) + 1;
        const state_ = { kid: record?.kid ?? 0, marked: false, moved: false, version: newVersion() };
        state.record = { ...answer, generation, ...state_ };
        Object.assign(state, { loggedOut: false, newestLogin: answer.login });
        giveBack(state, own);
        own.written = undefined;
        finish(state, own);
      });
  }
}

function hasOthers({ base, asked }: Process): boolean {
  return base?.token !== asked || base.marked || base.moved;
}

/** After a claim that was never given back, its entries may have been stored while the process read the outbox. */
function mustLook({ abandoned, sent, point }: Process, { rules, store }: Actor): boolean {
  const isFirst = point === 'holds the lease' && sent.token === 0;
  return store === 'engine' && abandoned && isFirst && rules.lookAfterAbandoned;
}

function exportIt(process: Process, { rules, mode }: Actor, add: Add): void {
  const { base } = process;
  const isInDoubt = (process.abandoned || process.silent) && rules.nothingInDoubt;
  if (base === undefined || base.marked || base.moved || isInDoubt || (rules.fence && process.stale)) {
    add('exports nothing', 'none', (_state, own) => void (own.point = 'gives back'));
    return;
  }
  add('hands the login to another program', 'deliver', (state, own) => {
    state.exported = own.base?.token ?? 0;
    own.point = 'has exported';
    const isUnknown = (state.causes & (CAUSES.clock | CAUSES.forgotten | CAUSES.overtaken)) !== 0;
    const isEnded = state.families.some(({ ended }) => ended);
    return isGood(state, state.exported, mode) || isUnknown || isEnded
      ? undefined
      : 'Spent tokens were exported.';
  });
}

/** A lock is free at once, while the server may not have processed the request of the killed holder yet. */
function mustLetPass(before: State, process: Process, { store, rules, mode }: Actor): boolean {
  if (store !== 'lock' || !process.abandoned || !rules.letPass || mode === 'strict') return false;
  return before.processes.some(({ run, message }) => run === 'crashed' && message === 'request');
}

/** Whether the process has the lease and has nothing left to do before its request. */
export function isAboutToSend(before: State, process: Process, actor: Actor): boolean {
  if (process.point === 'has looked once more') return true;
  if (process.point !== 'holds the lease' || actor.operation !== 'refresh') return false;
  if (toBringHome(before, process, actor.index, actor, actor.store === 'engine') !== undefined) return false;
  return !hasOthers(process) && !mustLook(process, actor) && !mustLetPass(before, process, actor);
}

function send(before: State, process: Process, actor: Actor, add: Add): void {
  if (!isAboutToSend(before, process, actor)) return;
  if (!announces(actor)) return passFence(process, actor, add);
  const label = mayAnnounce(before, process, actor.rules) ? 'announces' : 'is told that it may not announce';
  add(`${label} its request`, 'announce', (state, own) => announce(state, own, actor, true));
}

/** A strict server answers no token twice, so nobody needs to announce a request there. */
export function announces({ store, mode }: Actor): boolean {
  return store === 'engine' && mode !== 'strict';
}

function mayAnnounce(state: State, own: Process, { announceVersion }: Actor['rules']): boolean {
  return isMine(state, own) && (state.record?.version === own.base?.version || !announceVersion);
}

/** Tells the engine that the process is about to send, which also renews its lease. */
export function announce(state: State, own: Process, { rules }: Actor, isAnswered: boolean): void {
  const counts = mayAnnounce(state, own, rules);
  if (counts) state.lease = { ...state.lease, sent: own.epoch, age: 0 };
  const knows = counts && isAnswered;
  if (knows) own.stale = false;
  own.point = knows || !rules.announceAwaited ? 'has announced' : 'gives back to claim again';
}

function passFence({ stale }: Process, { rules }: Actor, add: Add): void {
  if (rules.fence && stale) {
    add('sends nothing: its lease may have passed on', 'none', (_state, own) => {
      own.point = 'gives back to claim again';
    });
    return;
  }
  add('passes the fence', 'send', (_state, own) => void (own.point = 'has passed the fence'));
}

/** Causes for which a token is sent again while its first sender seems well. */
const TWICE = CAUSES.gap | CAUSES.clock | CAUSES.forgotten;

function firstByte(state: State, own: Process, index: number): string | undefined {
  const { base } = own;
  if (base === undefined) return undefined;
  own.point = 'has sent';
  own.message = 'request';
  own.young = true;
  own.silent = false;
  own.sent = { token: base.token, epoch: own.epoch, late: state.lease.epoch !== own.epoch };
  const isTwice = state.processes.some((other, at) => {
    const isUnder = other.message === 'request' || other.message === 'answer';
    return (
      at !== index && isUnder && other.run === 'running' && !other.stale && other.sent.token === base.token
    );
  });
  if (own.written !== undefined && isNewer(own.written, base)) {
    return 'A process sent an older token than one that it had saved.';
  }
  return isTwice && (state.causes & TWICE) === 0
    ? 'A refresh token was sent twice, and the first sender was well.'
    : undefined;
}

function hear({ message, refused }: Process, actor: Actor, add: Add): void {
  const { rules } = actor;
  if (message === 'answer') {
    add('receives new tokens and writes them', 'write', (state, own) => {
      own.message = 'none';
      return land(state, own, actor);
    });
  }
  if (message === 'refusal' && (refused || !rules.refusedTwice)) {
    add('is refused, and looks before it marks', 'read', (state, own) => {
      own.message = 'none';
      lookRefused(state, own, actor);
    });
  } else if (message === 'refusal') {
    add('is refused, waits and looks', 'read', (state, own) => {
      const { base } = own;
      const record = newest(state, own, rules);
      Object.assign(own, { message: 'none', refused: true, base: record });
      // The process asks the engine again, since its last call was before that wait.
      if (actor.store === 'engine' && !isMine(state, own)) own.stale = true;
      const isSameLogin =
        record !== undefined && record.token === base?.token && !record.marked && !record.moved;
      own.point = isSameLogin ? 'holds the lease' : 'gives back';
      if (!isSameLogin) own.refused = false;
    });
  }
  if (message === 'none') {
    add('waits in vain', 'none', (_state, own) => {
      own.silent = true;
      own.point = 'gives back';
    });
  }
  if (message === 'request' && !rules.pauseInDoubt) {
    add('waits no longer, and lets the next one try at once', 'none', (state, own) => {
      giveBack(state, own);
      own.run = 'crashed';
    });
  }
}

/** Writes the server's answer. */
export function land(state: State, own: Process, actor: Actor): string | undefined {
  const { answer } = own;
  if (answer === undefined) return undefined;
  const before = state.record;
  const result = write(state, own, answer, actor, { young: own.young });
  if (result === 'changed' && !actor.rules.writeByVersion) own.point = 'gives back';
  else if (result === 'changed') own.point = 'has to look again';
  else if (result === 'followed') {
    own.point = 'was followed';
    return asideInVain(state, answer, own.young);
  } else {
    settled(state, own, answer, [], actor.rules);
    giveBack(state, own);
    finish(state, own);
    return wentDown(before, answer);
  }
  return undefined;
}

/** An answer may be given up for another one only if another process can have one. */
function asideInVain({ lease }: State, { epoch }: Login, young: boolean): string | undefined {
  if (lease.sent <= epoch) return 'An answer was set aside, and nobody else had asked.';
  return young ? undefined : 'An answer was set aside after the window.';
}

function wentDown(before: Login | undefined, now: Login): string | undefined {
  if (before === undefined || now.login === before.login) {
    return before !== undefined && now.generation < before.generation
      ? 'The stored generation went down.'
      : undefined;
  }
  return 'A newer login was overwritten.';
}

function lookAgain(state: State, own: Process, actor: Actor): void {
  const answer = own.home ?? own.answer;
  if (answer === undefined) return;
  const entries = own.home === undefined ? [] : entriesFor(state, actor.index, actor, true);
  const verdict = judge(state, own, answer, actor);
  if (verdict === 'removed') removed(state, own, answer, actor);
  else if (verdict === 'write') {
    own.point = own.home === undefined ? 'writes again' : 'holds the lease';
    own.home = undefined;
    return;
  } else if (state.record !== undefined) settled(state, own, state.record, entries, actor.rules);
  afterHome(state, own, actor);
}

/** Continues the operation with the stored record, once the unsaved answer is stored or no longer wanted. */
function afterHome(state: State, own: Process, { operation }: Actor): void {
  const wasHome = own.home !== undefined;
  const { record } = state;
  own.home = undefined;
  const isOver =
    !wasHome ||
    record === undefined ||
    (operation === 'refresh' && (record.token !== own.asked || record.marked));
  own.point = isOver ? 'gives back' : 'holds the lease';
  if (!wasHome) own.answer = undefined;
}

/** The stored state, or a newer one that this process saw written. It then writes that one again. */
function newest({ record }: State, own: Process, rules: Actor['rules']): Stored | undefined {
  if (record === undefined || own.written === undefined || !rules.repair || !isNewer(own.written, record))
    return record;
  own.repairs = true;
  return { ...record, ...own.written };
}

function lookRefused(state: State, own: Process, { rules }: Actor): void {
  const { base } = own;
  const record = newest(state, own, rules);
  own.base = record;
  const isSameLogin = record !== undefined && record.token === base?.token && !record.moved;
  own.point = record !== undefined && (isSameLogin || !rules.lookBeforeMark) ? 'marks' : 'gives back';
}

function mark(state: State, own: Process, { mode, rules }: Actor): string | undefined {
  const { record, lease } = state;
  if (record?.version !== own.base?.version) {
    own.point = 'was refused';
    return undefined;
  }
  own.point = 'gives back';
  if (record === undefined || (lease.epoch > own.epoch && rules.lookBeforeMark)) return undefined;
  if (own.sent.token !== record.token) return 'Tokens were marked as refused that nobody had sent.';
  if (own.base !== undefined)
    state.record = { ...record, ...pick(own.base), marked: true, version: newVersion() };
  return isGood(state, record.token, mode)
    ? 'The login was marked as ended while its token is good.'
    : undefined;
}

/** Retries in the background what the store did not accept, or has forgotten. */
function flush(state: State, own: Process, actor: Actor): string | undefined {
  const answer = own.pending ? own.answer : own.written;
  if (answer === undefined) return undefined;
  const { base, point } = own;
  const entries = entriesFor(state, actor.index, actor, true);
  const verdict = judge(state, own, answer, actor);
  let broken: string | undefined;
  if (verdict === 'removed') removed(state, own, answer, actor);
  else if (verdict !== 'write') {
    if (state.record !== undefined) settled(state, own, state.record, entries, actor.rules);
  } else {
    const before = state.record;
    const result = write(state, own, answer, actor, { young: own.young });
    if (result === 'followed') setAside(state, own, answer, entries, actor.rules);
    else {
      settled(state, own, answer, entries, actor.rules);
      broken = counts(answer, before ?? answer, actor.rules) ? wentDown(before, answer) : undefined;
    }
  }
  own.base = base;
  repaired(state, own);
  if (point !== 'idle') return broken;
  giveBack(state, own);
  const { done, run, written, ghost } = own;
  Object.assign(own, IDLE, { done, run, written, ghost });
  return broken;
}

function release(state: State, own: Process, { operation, mode }: Actor): void {
  const { base, refused, abandoned, point } = own;
  const silent = own.silent || (operation === 'export' && abandoned);
  const note =
    base === undefined || (!refused && !silent)
      ? NO_NOTE
      : { login: base.login, generation: base.generation, refused, silent };
  if (isMine(state, own) && own.sent.token !== 0 && mode !== 'strict') {
    state.lease = { ...state.lease, sent: own.epoch };
  }
  giveBack(state, own, note);
  if (point === 'gives back') finish(state, own);
  else
    Object.assign(own, {
      point: 'wants the lease',
      epoch: 0,
      stale: false,
      abandoned: false,
      silent: false,
      refused: false,
    });
}
