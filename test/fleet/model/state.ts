/*
 * The state of the model: one record and one lease in an engine, an authorization server, three holders, and what is on
 * the network. Everything that time does is a step of its own (a lease lapses, patience ends), so there is no clock.
 */

/**
 * What the server would say to a refresh token. A token is nothing but that to the model, so a state stays small: when the
 * server issues another one, all copies change their standing at once.
 */
export const DEAD = 0;
/** Its successor has been issued, and has not been presented yet. */
export const PARENT = 1;
/** The newest that was issued. */
export const LIVE = 2;
export type Standing = typeof DEAD | typeof PARENT | typeof LIVE;

/** How often a refresh token has been presented: never, once, or by somebody whose request had no known end. */
export const UNSENT = 0;
export const SENT = 1;
export const IN_DOUBT = 2;
export type Sent = typeof UNSENT | typeof SENT | typeof IN_DOUBT;

/** What can have gone wrong since the login was last seen to be whole; a set of bits. */
export const CAUSES = {
  /** A holder died between its first byte and the write of the answer. */
  crashed: 1,
  /** A request, or the answer to it, was lost on the network. */
  lost: 2,
  /** A holder was stopped for longer than its lease, between its first byte and the write. */
  lapsed: 4,
  /** That happened to a second one. */
  lapsedAgain: 8,
  /** A holder was stopped there for longer than lease and patience. */
  overslept: 16,
  /** The server processed the request of an earlier claim after that of a later one: the network had kept it so long. */
  overtaken: 32,
  /** What is stored is not what the server issued last: it has answered a later claim, and that answer is not written. */
  older: 64,
} as const;

/**
 * Where a holder is in its refresh; the names are those of src/system/steps.ts where it has them. Between two steps that
 * nobody else can see there is no point of its own: `lease-held` goes up to the first byte, `response-received` up to the
 * write, so a stop or a crash there stands for all places in between.
 */
export const POINTS = [
  'idle',
  'lease-wanted',
  'lease-held',
  'request-sent',
  'response-received',
  'refusal-received',
  'outcome-noted',
] as const;
export type Point = (typeof POINTS)[number];

/** `stopped` stands for a partition from the engine, too: what differs between them, nobody else can see. */
export const RUNS = ['running', 'stopped', 'crashed'] as const;

/** What is on the way between a holder and the server. It goes on when the holder is stopped or dead. */
export const MESSAGES = ['none', 'request', 'answer', 'refusal'] as const;

export interface Holder {
  point: Point;
  run: (typeof RUNS)[number];
  message: (typeof MESSAGES)[number];
  /** The request was still on the way when somebody claimed next. */
  late: boolean;
  /** The record is, by its version, the one that this holder has read. */
  current: boolean;
  /** By its own monotonic clock, the lease may have passed to another. */
  stale: boolean;
  /** That of its claim; 0 without one. */
  epoch: number;
  /** The tokens that it has read. */
  generation: number;
  standing: Standing;
  /** The tokens that the server gave for them: one generation later. */
  answer: Standing;
  /** Tokens that lie sealed on its machine because the engine did not take them; generation 0: none. */
  spillGeneration: number;
  spillStanding: Standing;
  spillEpoch: number;
}

export interface State {
  /** The record: its tokens, by which claim they were asked for, and whether it is marked login-required. */
  generation: number;
  standing: Standing;
  by: number;
  marked: boolean;
  /** The lease: the last claim, whether it is open, and whether it has lapsed (1) and rested for the patience, too (2). */
  epoch: number;
  open: boolean;
  age: number;
  /** The server: the family is revoked; the latest claim whose request it has processed; how often it saw which token. */
  revoked: boolean;
  latest: number;
  liveSent: Sent;
  parentSent: Sent;
  /** What went wrong, see CAUSES. */
  causes: number;
  /** How many faults may still happen. */
  crashes: number;
  stops: number;
  losses: number;
  outages: number;
  holders: Holder[];
}

export interface Faults {
  readonly crashes: number;
  readonly stops: number;
  /** Messages that the network loses. */
  readonly losses: number;
  /** Crashes of the engine, for longer than any lease and any patience. */
  readonly outages: number;
}

const HOLDERS = 3;

const IDLE: Holder = {
  point: 'idle',
  run: 'running',
  message: 'none',
  late: false,
  current: false,
  stale: false,
  epoch: 0,
  generation: 0,
  standing: DEAD,
  answer: DEAD,
  spillGeneration: 0,
  spillStanding: DEAD,
  spillEpoch: 0,
};

/** A login has just been stored. */
export function initial(faults: Faults): State {
  return {
    generation: 0,
    standing: LIVE,
    by: 0,
    marked: false,
    epoch: 0,
    open: false,
    age: 0,
    revoked: false,
    latest: 0,
    liveSent: UNSENT,
    parentSent: UNSENT,
    causes: 0,
    ...faults,
    holders: Array.from({ length: HOLDERS }, () => ({ ...IDLE })),
  };
}

export function copy(state: State): State {
  return { ...state, holders: state.holders.map((holder) => ({ ...holder })) };
}

/** Back to idle: what was spilled stays. */
export function rest(holder: Holder): void {
  const { spillGeneration, spillStanding, spillEpoch, run } = holder;
  Object.assign(holder, IDLE, { spillGeneration, spillStanding, spillEpoch, run });
}

/** Has the last claim, and it is open. */
export function isMine(state: State, holder: Holder): boolean {
  return state.open && holder.epoch !== 0 && holder.epoch === state.epoch;
}

/** Has sent its refresh token, and what came of it is not in the store. */
export function isInDoubt({ point }: Holder): boolean {
  return point === 'request-sent' || point === 'response-received';
}

/**
 * Forgets what can make no difference any more, so that states that differ in nothing else are one. Epochs matter in their
 * order only, and are counted anew; that also bounds them.
 */
export function normalize(state: State): void {
  for (const holder of state.holders) {
    if (holder.run === 'crashed' && holder.message !== 'request') rest(holder);
    if (holder.point === 'outcome-noted' && !isMine(state, holder)) rest(holder);
    if (holder.point === 'outcome-noted') {
      const { epoch } = holder;
      rest(holder);
      Object.assign(holder, { point: 'outcome-noted', epoch });
    }
    const useless =
      holder.spillGeneration < state.generation ||
      (holder.spillGeneration === state.generation && holder.spillEpoch <= state.by);
    if (useless) Object.assign(holder, { spillGeneration: 0, spillStanding: DEAD, spillEpoch: 0 });
  }
  if (!state.open) state.age = 0;
  if (!state.holders.some(({ late, epoch }) => late && epoch < state.latest)) state.latest = 0;
  if (isWhole(state)) state.causes = 0;
  const used = [state.epoch, state.by, state.latest];
  for (const { epoch, spillEpoch } of state.holders) used.push(epoch, spillEpoch);
  const order = [...new Set([0, ...used])].sort((a, b) => a - b);
  state.epoch = order.indexOf(state.epoch);
  state.by = order.indexOf(state.by);
  state.latest = order.indexOf(state.latest);
  for (const holder of state.holders) {
    holder.epoch = order.indexOf(holder.epoch);
    holder.spillEpoch = order.indexOf(holder.spillEpoch);
  }
}

/** The newest token is stored, and nothing that is older is under way: whatever went wrong before is over. */
function isWhole(state: State): boolean {
  const isQuiet = (holder: Holder) =>
    holder.message === 'none' &&
    holder.spillGeneration === 0 &&
    !isInDoubt(holder) &&
    // It has claimed for what was stored before, and is about to send that.
    (holder.point !== 'lease-held' || holder.current);
  return (
    state.standing === LIVE && !state.marked && state.liveSent === UNSENT && state.holders.every(isQuiet)
  );
}
