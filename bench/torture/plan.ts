import { Dice } from './dice.ts';

/*
 * What will go wrong, and when: all of it follows from the seed. When the operating system runs whom is not in the plan, so
 * the same seed gives the same faults, and not the same run.
 */

export const WORKERS = 6;

export type Fault =
  | { readonly kind: 'kill'; readonly worker: number }
  | { readonly kind: 'stop'; readonly worker: number; readonly forMs: number }
  /** The engine dies as with the power, and comes back. */
  | { readonly kind: 'engine-crash'; readonly forMs: number }
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

const EVERY_MS = 120;
const CRASH_EVERY_MS: readonly [number, number] = [4000, 7000];

/** @param engine whether there is an engine behind a network */
export function planOf(seed: number, faults: number, engine: boolean): readonly PlannedFault[] {
  const dice = new Dice(seed);
  const plan: PlannedFault[] = [];
  let at = 0;
  let crash = dice.between(...CRASH_EVERY_MS);
  while (plan.length < faults) {
    at += dice.between(EVERY_MS / 2, EVERY_MS * 1.5);
    if (engine && at > crash) {
      plan.push({ atMs: at, kind: 'engine-crash', forMs: dice.between(50, 600) });
      crash = at + dice.between(...CRASH_EVERY_MS);
    } else plan.push({ atMs: at, ...faultOf(dice, engine) });
  }
  return plan;
}

function faultOf(dice: Dice, engine: boolean): Fault {
  const worker = dice.between(0, WORKERS - 1);
  const roll = dice.next();
  if (roll < 0.3) return { kind: 'kill', worker };
  if (roll < 0.6 || !engine) return { kind: 'stop', worker, forMs: dice.between(200, 2000) };
  if (roll < 0.68) return { kind: 'engine-cut', worker };
  if (roll < 0.74) return { kind: 'engine-half-close', worker };
  if (roll < 0.82) {
    return {
      kind: 'engine-delay',
      worker,
      forMs: dice.between(200, 1000),
      delayMs: dice.between(20, 300),
    };
  }
  if (roll < 0.9) return { kind: 'engine-lost-answers', worker, forMs: dice.between(50, 400) };
  if (roll < 0.98) return { kind: 'engine-partition', worker, forMs: dice.between(200, 2000) };
  return { kind: 'engine-partition-all', forMs: dice.between(200, 1200) };
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
