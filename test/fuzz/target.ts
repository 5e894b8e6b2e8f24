import { inspect } from 'node:util';
import fc from 'fast-check';
import { HoldfastError, type HoldfastErrorCode } from '../../src/errors.ts';
import { secretsSeen } from '../support/leaks.ts';
import { ACCESS, REFRESH } from './inputs.ts';

/*
 * A target of the fuzzer: one way in for foreign bytes, what is fed to it, and what must hold of every input. test/fuzz runs
 * each for a moment; `npm run fuzz` runs them for as long as you like.
 */

export interface Target {
  /** For `--only`. */
  readonly name: string;
  /** What holds, whatever comes in: a whole sentence. */
  readonly title: string;
  /** Inputs in the test: fewer where each costs more. `RUNS` unless given. */
  readonly runs?: number;
  open(): Opened | Promise<Opened>;
}

export const RUNS = 300;

/** A target that is ready to be fed. */
export interface Opened {
  /** @param before called before each input */
  readonly property: (before?: () => void) => fc.IAsyncProperty<[unknown]>;
  /** Throws when the inputs so far did not reach both sides of the property. Called after `Target.runs` inputs at least. */
  readonly reached?: () => void;
  readonly close?: () => void | Promise<void>;
}

/** CPU time that one input may take, in milliseconds: a hundred times what the largest of them needs. */
const INPUT_MS = 1_500;

/** The property, with what holds of every target: bounded time, and nothing that every object inherits. */
export function feed<Input>(
  inputs: fc.Arbitrary<Input>,
  check: (input: Input) => void | Promise<void>,
): Opened['property'] {
  return (before) =>
    fc.asyncProperty(inputs as fc.Arbitrary<unknown>, async (input) => {
      before?.();
      const begin = process.cpuUsage();
      try {
        await check(input as Input);
      } finally {
        checkPrototypes();
      }
      const { user, system } = process.cpuUsage(begin);
      const spent = (user + system) / 1000;
      if (spent > INPUT_MS) throw new Error(`One input took ${Math.round(spent)} ms of CPU time.`);
    });
}

const PROTOTYPES = [Object.prototype, Array.prototype, Function.prototype, String.prototype];
const MEMBERS = PROTOTYPES.map((one) => new Set(Reflect.ownKeys(one)));

/** No input adds a member to what every object inherits from. */
function checkPrototypes(): void {
  for (const [index, one] of PROTOTYPES.entries()) {
    const added = Reflect.ownKeys(one).filter((key) => !MEMBERS[index]?.has(key));
    // Taken out again, or every later input would fail with it.
    for (const key of added) Reflect.deleteProperty(one, key);
    if (added.length > 0) throw new Error(`A prototype was polluted with ${inspect(added)}.`);
  }
}

/**
 * A failure is one of ours, of a kind that the caller knows, and can be shown as it is.
 *
 * @param codes any, where not given
 */
export function checkFailure(error: unknown, codes?: readonly HoldfastErrorCode[]): void {
  // What the property itself found wrong, or a bug.
  if (!(error instanceof HoldfastError)) throw error;
  if (codes !== undefined && !codes.includes(error.code))
    throw new Error(`Not of a known kind: ${error.code}`);
  for (const shown of [error.message, error.hint ?? '']) checkShown(shown);
  if (secretsSeen(error, [REFRESH, ACCESS]) > 0) throw new Error(`${error.name} shows a secret.`);
}

/** Printable text of a bounded length. */
export function checkShown(text: string): void {
  if (/[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/u.test(text)) {
    throw new Error(`Not printable: ${JSON.stringify(text.slice(0, 300))}`);
  }
  if (text.length > 3000) throw new Error(`A message of ${text.length} characters.`);
}
