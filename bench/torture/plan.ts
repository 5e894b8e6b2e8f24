import { Dice } from './dice.ts';

/*
 * What will go wrong, and when: all of it follows from the seed. When the operating system runs whom is not in the plan, so
 * the same seed gives the same faults, and not the same run.
 */

export const WORKERS = 6;

export type Fault =
  | { readonly kind: 'kill'; readonly worker: number }
  | { readonly kind: 'stop'; readonly worker: number; readonly forMs: number }
  /** The wall clock of the first worker is set. */
  | { readonly kind: 'worker-clock'; readonly aheadMs: number }
  /** Another program puts a new sealing key before the others, and a worker seals every login under it. */
  | { readonly kind: 'rekey'; readonly worker: number }
  /** A worker logs out; somebody logs in again. */
  | { readonly kind: 'logout'; readonly worker: number; readonly credential: number }
  /** `export --move` by one worker; another one imports it. */
  | { readonly kind: 'export'; readonly worker: number; readonly credential: number }
  /** Somebody logs in although a login is there. */
  | { readonly kind: 'login'; readonly credential: number }
  /** The engine dies as with the power, and comes back. */
  | { readonly kind: 'engine-crash'; readonly forMs: number }
  /** The engine dies, and its replica, which lacks the writes of so long before, takes its place. */
  | { readonly kind: 'engine-fail-over'; readonly lagMs: number }
  /** The engine’s clock is set that far forwards, or back to where it was. */
  | { readonly kind: 'engine-clock'; readonly byMs: number }
  /** One worker’s connections to the engine break. */
  | { readonly kind: 'engine-cut'; readonly worker: number }
  | { readonly kind: 'engine-half-close'; readonly worker: number }
  | {
      readonly kind: 'engine-delay';
      readonly worker: number;
      readonly forMs: number;
      readonly delayMs: number;
    }
  /** The engine does as it is told, and its answers are lost. */
  | { readonly kind: 'engine-lost-answers'; readonly worker: number; readonly forMs: number }
  /** What is sent waits, and arrives when it is over. */
  | { readonly kind: 'engine-partition'; readonly worker: number; readonly forMs: number }
  | { readonly kind: 'engine-partition-all'; readonly forMs: number };

export type PlannedFault = Fault & { readonly atMs: number };

/** How often what happens to a whole engine does, in milliseconds. */
const CRASH_EVERY_MS: readonly [number, number] = [4000, 7000];
const FAIL_OVER_EVERY_MS: readonly [number, number] = [9000, 14_000];
const CLOCK_EVERY_MS: readonly [number, number] = [5000, 9000];

const CLOCK_JUMPS_MS = [2000, 20_000, 3_600_000];

export interface PlanOptions {
  readonly seed: number;
  readonly credentials: number;
  /** Between two faults, in milliseconds. */
  readonly everyMs: number;
  /** Whether there is an engine behind a network. */
  readonly engine: boolean;
  /** Whether what is there is Holdfast’s, so that it can be rekeyed, logged out of and exported. */
  readonly operations: boolean;
}

/** All that goes wrong, without end. */
export function* planOf(options: PlanOptions): Generator<PlannedFault> {
  const { everyMs, engine, operations } = options;
  const dice = new Dice(options.seed);
  let at = 0;
  let aheadMs = 0;
  const next = {
    crash: dice.between(...CRASH_EVERY_MS),
    failOver: dice.between(...FAIL_OVER_EVERY_MS),
    clock: dice.between(...CLOCK_EVERY_MS),
  };
  for (;;) {
    at += dice.between(everyMs / 2, everyMs * 1.5);
    if (engine && at > next.crash) {
      yield { atMs: at, kind: 'engine-crash', forMs: dice.between(50, 600) };
      next.crash = at + dice.between(...CRASH_EVERY_MS);
    } else if (engine && operations && at > next.failOver) {
      yield { atMs: at, kind: 'engine-fail-over', lagMs: dice.between(50, 500) };
      next.failOver = at + dice.between(...FAIL_OVER_EVERY_MS);
    } else if (engine && operations && at > next.clock) {
      const byMs = aheadMs > 0 ? -aheadMs : dice.pick(CLOCK_JUMPS_MS);
      aheadMs += byMs;
      yield { atMs: at, kind: 'engine-clock', byMs };
      next.clock = at + dice.between(...CLOCK_EVERY_MS);
    } else yield { atMs: at, ...faultOf(dice, options) };
  }
}

function faultOf(dice: Dice, options: PlanOptions): Fault {
  const { engine, operations } = options;
  const worker = dice.between(0, WORKERS - 1);
  if (operations && dice.chance(0.3)) return operationOf(dice, worker, options);
  const roll = dice.next();
  if (roll < 0.25) return { kind: 'kill', worker };
  if (roll < 0.5 || !engine) return { kind: 'stop', worker, forMs: dice.between(200, 2000) };
  if (roll < 0.64) return { kind: 'engine-cut', worker };
  if (roll < 0.73) return { kind: 'engine-half-close', worker };
  if (roll < 0.82) {
    return {
      kind: 'engine-delay',
      worker,
      forMs: dice.between(200, 1000),
      delayMs: dice.between(20, 300),
    };
  }
  if (roll < 0.91) return { kind: 'engine-lost-answers', worker, forMs: dice.between(50, 400) };
  if (roll < 0.985) return { kind: 'engine-partition', worker, forMs: dice.between(200, 2000) };
  return { kind: 'engine-partition-all', forMs: dice.between(200, 1200) };
}

function operationOf(dice: Dice, worker: number, { credentials }: PlanOptions): Fault {
  const credential = dice.between(0, credentials - 1);
  const roll = dice.next();
  if (roll < 0.1) return { kind: 'rekey', worker };
  if (roll < 0.4) return { kind: 'logout', worker, credential };
  if (roll < 0.7) return { kind: 'export', worker, credential };
  if (roll < 0.9) return { kind: 'login', credential };
  return { kind: 'worker-clock', aheadMs: dice.between(-600, 600) * 1000 };
}

/** What becomes of one token request, by its number in the order of arrival. */
export interface Journey {
  readonly beforeMs: number;
  readonly afterMs: number;
  readonly fate: 'whole' | 'unsent' | 'dropped' | 'half';
}

/**
 * @param share of the requests that meet with an accident
 * @param slowestMs how long the server takes at most before it decides, in milliseconds
 */
export function journeysOf(seed: number, share: number, slowestMs: number): () => Journey {
  const dice = new Dice(seed ^ 0x5eed);
  return () => {
    const slow = dice.chance(0.15);
    const beforeMs = Math.min(slowestMs, slow ? dice.between(50, 300) : dice.between(0, 5));
    const afterMs = dice.chance(0.15) ? dice.between(50, 300) : dice.between(0, 5);
    const fate = dice.chance(share) ? dice.pick(['unsent', 'dropped', 'half'] as const) : 'whole';
    return { beforeMs, afterMs, fate };
  };
}
