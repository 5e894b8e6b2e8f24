import { type AddFor, claim, giveUp, put, type Rules } from './protocol.ts';
import { CAUSES, type Holder, IN_DOUBT, isInDoubt, isMine, LIVE, PARENT, SENT, type State } from './state.ts';

/*
 * What can go wrong, and when.
 */

/** What can befall a holder, and what is on the way to it. */
export function faults(before: State, holder: Holder, add: AddFor): void {
  const { point, run } = holder;
  // Without a claim, a stop or a crash differs in nothing from a holder that takes no step.
  const atRisk = holder.epoch > 0 && point !== 'idle' && run !== 'crashed';
  if (atRisk && before.crashes > 0) {
    add(`crashes at ${point}`, (state, own) => {
      state.crashes -= 1;
      if (isInDoubt(own)) doubt(state, own, CAUSES.crashed);
      own.run = 'crashed';
    });
  }
  if (atRisk && run === 'running' && before.stops > 0) {
    add(`is stopped at ${point}`, (state, own) => {
      state.stops -= 1;
      own.run = 'stopped';
    });
  }
  if (run === 'stopped') add('goes on', (_state, own) => void (own.run = 'running'));
  if (run === 'crashed' && holder.spillGeneration > 0 && holder.message === 'none') {
    add('is started again', (_state, own) => void (own.run = 'running'));
  }
  if (holder.late && run !== 'crashed') {
    add('learns that its request never arrived', (_state, own) => {
      Object.assign(own, { message: 'none', late: false });
    });
  }
  if (before.losses > 0 && !holder.late && holder.message !== 'none' && run !== 'crashed') {
    add(`loses the ${holder.message} on the network`, (state, own) => {
      state.losses -= 1;
      doubt(state, own, CAUSES.lost);
      own.message = 'none';
    });
  }
}

/** From now on whoever has the lease next may present that token again: it is not known what came of it. */
function doubt(state: State, holder: Holder, cause: number): void {
  state.causes |= cause;
  if (holder.standing === LIVE && state.liveSent === SENT) state.liveSent = IN_DOUBT;
  if (holder.standing === PARENT) state.parentSent = IN_DOUBT;
}

/** Time passes, and the holder of the claim does not renew it. */
export function lapse(state: State): void {
  state.age += 1;
  for (const holder of state.holders) {
    if (holder.run === 'crashed' || !isMine(state, holder)) continue;
    holder.stale = true;
    if (!isInDoubt(holder)) continue;
    const first = (state.causes & CAUSES.lapsed) === 0 ? CAUSES.lapsed : CAUSES.lapsedAgain;
    doubt(state, holder, state.age === 1 ? first : CAUSES.overslept);
  }
}

/**
 * The engine is gone for longer than any lease, and comes back. What it acknowledged is there; of the statements under way
 * one may have landed without its answer.
 */
export function outages(
  before: State,
  rules: Rules,
  add: (label: string, change: (state: State) => string | undefined | void) => void,
): void {
  const begin = (state: State) => {
    state.outages -= 1;
    if (state.open && !rules.startFloor) state.age = 2;
    else state.age = 0;
    if (!rules.intent) state.open = false;
    for (const holder of state.holders) if (holder.point === 'lease-held') holder.stale = true;
  };
  const writers = before.holders.filter(
    ({ run, point }) => run === 'running' && point === 'response-received',
  );
  if (!before.open && writers.length === 0) return;
  add('the engine crashes and comes back; nothing had landed', (state) => {
    begin(state);
    if (rules.commitRetry) return;
    for (const holder of state.holders) {
      if (holder.run === 'running' && holder.point === 'response-received') giveUp(state, holder);
    }
  });
  if (writers.length > 0 && rules.commitRetry) {
    add('the engine crashes and comes back; what was not written was spilled', (state) => {
      begin(state);
      for (const holder of state.holders) {
        if (holder.run !== 'running' || holder.point !== 'response-received') continue;
        holder.spillGeneration = holder.generation + 1;
        holder.spillStanding = holder.answer;
        holder.spillEpoch = holder.epoch;
      }
    });
  }
  for (const [index, { run, point, current }] of before.holders.entries()) {
    if (run !== 'running' || !current) continue;
    if (point === 'response-received' && rules.commitByVersion) {
      add(`the engine crashes and comes back; the write of ${'ABC'[index]} had landed`, (state) => {
        const own = state.holders[index] as Holder;
        const broken = put(state, own.generation + 1, own.answer, own.epoch);
        if (isMine(state, own)) state.open = false;
        begin(state);
        return broken;
      });
    }
    if (point === 'lease-wanted' && !before.open) {
      add(`the engine crashes and comes back; the claim of ${'ABC'[index]} had landed`, (state) => {
        claim(state, { ...(state.holders[index] as Holder) });
        begin(state);
      });
    }
  }
}
