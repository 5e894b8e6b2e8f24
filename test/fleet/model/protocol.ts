import type { Excuse } from './invariants.ts';
import { isGood, type Mode } from './server.ts';
import { CAUSES, DEAD, type Holder, isMine, LIVE, PARENT, rest, SENT, type State, UNSENT } from './state.ts';

/*
 * The claim protocol (docs/fleet.md, src/refresh/refresh.ts, src/store/engine.ts): what a holder does next by itself. Each
 * statement at the engine is one step; that its answer may not come is the outage (faults.ts).
 */

/** What the protocol consists of. Each can be taken away, to see what it is there for. */
export interface Rules {
  /** Of two answers to one refresh token, that of the later claim stays; without it, the one that was written first. */
  readonly siblingOrder: boolean;
  /** An answer that comes late takes no later generation's place. */
  readonly laterGenerationStays: boolean;
  readonly checkAtFirstByte: boolean;
  /** Where the server is strict, a silent claim is followed only after a further rest. */
  readonly patience: boolean;
  /** After an engine's start each open claim has a whole lease before it. */
  readonly startFloor: boolean;
  /** The answer is written if the record is the one that was read; without it, while the lease is held. */
  readonly commitByVersion: boolean;
  readonly commitRetry: boolean;
  /** The claim is durable before anything is sent, so that whoever is next knows of it, whatever became of the engine. */
  readonly intent: boolean;
  /** A request without an answer is not presented again while the server may still be at it. */
  readonly pauseInDoubt: boolean;
  readonly leaseLapses: boolean;
  /** Who is refused looks whether that was the token which is stored now, before it marks the record. */
  readonly rereadRefused: boolean;
}

export const FULL: Rules = {
  siblingOrder: true,
  laterGenerationStays: true,
  checkAtFirstByte: true,
  patience: true,
  startFloor: true,
  commitByVersion: true,
  commitRetry: true,
  intent: true,
  pauseInDoubt: true,
  leaseLapses: true,
  rereadRefused: true,
};

/** Two refreshes of the one login. */
export const GENERATIONS = 2;

export type AddFor = (
  label: string,
  change: (state: State, holder: Holder) => string | undefined | void,
) => void;

/** What a holder does next by itself. */
export function ownSteps(
  before: State,
  holder: Holder,
  { mode, rules, excused }: { readonly mode: Mode; readonly rules: Rules; readonly excused: Excuse },
  add: AddFor,
): void {
  switch (holder.point) {
    case 'idle':
      if (before.marked) return;
      // After the last refresh that is looked at, there is still what was spilled to be brought home.
      if (before.generation === GENERATIONS && holder.spillGeneration === 0) return;
      add('reads the record and wants the lease', (state, own) => {
        const { generation, standing } = state;
        Object.assign(own, { point: 'lease-wanted', current: true, generation, standing });
      });
      return;
    case 'lease-wanted':
      if (!holder.current) add('is told that the record has changed', (_state, own) => rest(own));
      else if (isClaimable(before, mode, rules)) add('claims', claim);
      return;
    case 'lease-held':
      if (isMine(before, holder) && holder.stale) add('renews its lease', renew);
      if (holder.spillGeneration > 0) add('brings home what was spilled', bringHome);
      else if (holder.generation === GENERATIONS) add('has nothing to bring home any more', giveUp);
      else if (rules.checkAtFirstByte && holder.stale) add('sends nothing: its lease has lapsed', giveUp);
      else add('sends its refresh token', (state, own) => send(state, own, excused(state, mode)));
      return;
    case 'request-sent':
      if (holder.message === 'answer') add('receives new tokens', receive);
      if (holder.message === 'refusal') {
        add('receives a refusal', (_state, own) => {
          Object.assign(own, { point: 'refusal-received', message: 'none' });
        });
      }
      if (holder.message === 'none') add('waits in vain, notes the doubt', giveUp);
      if (holder.message === 'request' && !rules.pauseInDoubt) {
        add('waits no longer, and lets the next one try at once', abandon);
      }
      return;
    case 'response-received':
      land(before, holder, rules, add);
      return;
    case 'refusal-received':
      if (!holder.current && rules.rereadRefused)
        add('reads the record again after the refusal', rereadRefused);
      else add('marks the record login-required', (state, own) => mark(state, own, mode));
      return;
    case 'outcome-noted':
      add('releases its claim', (state, own) => {
        if (isMine(state, own)) state.open = false;
        rest(own);
      });
  }
}

function isClaimable({ open, age }: State, mode: Mode, { patience }: Rules): boolean {
  return !open || age >= (mode === 'strict' && patience ? 2 : 1);
}

export function claim(state: State, own: Holder): void {
  for (const holder of state.holders) if (holder.message === 'request') holder.late = true;
  state.epoch += 1;
  Object.assign(state, { open: true, age: 0 });
  Object.assign(own, { point: 'lease-held', epoch: state.epoch, stale: false });
}

function renew(state: State, own: Holder): void {
  state.age = 0;
  own.stale = false;
}

/** The claim is given back, or what is left of it. */
export function giveUp(_state: State, own: Holder): void {
  own.point = 'outcome-noted';
}

/** The check of the lease and the first byte are one step. */
function send(state: State, own: Holder, isExcused: boolean): string | undefined {
  Object.assign(own, { point: 'request-sent', message: 'request', stale: false });
  const { standing } = own;
  const twice =
    (standing === LIVE && state.liveSent === SENT) || (standing === PARENT && state.parentSent === SENT);
  if (standing === LIVE && state.liveSent === UNSENT) state.liveSent = SENT;
  if (twice) return 'A refresh token was presented twice, and the first presenter was well.';
  if (standing === DEAD && !isExcused) return 'A refresh token was presented that is long spent.';
  return undefined;
}

function receive(_state: State, own: Holder): void {
  Object.assign(own, { point: 'response-received', message: 'none' });
}

/** The request is still on the way; nobody waits for what comes of it. */
function abandon(state: State, own: Holder): void {
  if (isMine(state, own)) state.open = false;
  own.run = 'crashed';
}

/** An answer goes where it belongs. */
function land(before: State, holder: Holder, rules: Rules, add: AddFor): void {
  if (!rules.commitByVersion) {
    if (isMine(before, holder) && before.age === 0) add('writes its tokens', write);
    else add('drops its tokens: it has lost the lease', giveUp);
  } else if (holder.current) {
    add('writes its tokens', write);
  } else {
    add('reads what was written instead', (state, own) => {
      if (supersedes(own.generation + 1, own.epoch, state, rules)) own.current = true;
      // What it has there is its own write whose outcome was unknown; or else its tokens are journalled.
      else own.point = 'outcome-noted';
    });
  }
}

function supersedes(
  generation: number,
  epoch: number,
  { generation: stored, by }: State,
  rules: Rules,
): boolean {
  if (generation !== stored) return generation > stored || !rules.laterGenerationStays;
  return rules.siblingOrder && epoch > by;
}

/** In one statement with the release, if the claim is still the last one. */
function write(state: State, own: Holder): string | undefined {
  const broken = put(state, own.generation + 1, own.answer, own.epoch);
  if (isMine(state, own)) state.open = false;
  rest(own);
  return broken;
}

export function put(
  state: State,
  generation: number,
  standing: State['standing'],
  by: number,
): string | undefined {
  const broken = generation < state.generation ? 'The generation that is stored went down.' : undefined;
  Object.assign(state, { generation, standing, by, marked: false });
  if (standing !== LIVE) state.causes |= CAUSES.older;
  for (const holder of state.holders) holder.current = false;
  return broken;
}

function bringHome(state: State, own: Holder): string | undefined {
  let broken: string | undefined;
  if (own.current) {
    broken = put(state, own.spillGeneration, own.spillStanding, own.spillEpoch);
  }
  own.point = 'outcome-noted';
  return broken;
}

function rereadRefused(state: State, own: Holder): void {
  if (state.generation === own.generation && state.standing === own.standing) own.current = true;
  else own.point = 'outcome-noted';
}

function mark(state: State, own: Holder, mode: Mode): string | undefined {
  const isAlive = !state.revoked && isGood(state.standing, mode);
  state.marked = true;
  for (const holder of state.holders) holder.current = false;
  own.point = 'outcome-noted';
  return isAlive ? 'The record was marked login-required while its token is good.' : undefined;
}
