import { inspect } from 'node:util';
import fc from 'fast-check';
import { HoldfastError, type HoldfastErrorCode } from '../../src/errors.ts';
import { secretsSeen } from '../support/leaks.ts';
import { ACCESS, REFRESH } from './inputs.ts';

/*
 * A target of the fuzzer: an entry point for foreign bytes, its inputs, and the property of every input. test/fuzz runs
 * each target briefly; `npm run fuzz` runs them for any time.
 */

export interface Target {
  /** Name for `--only`. */
  readonly name: string;
  /** The property of every input, as a whole sentence. */
  readonly title: string;
  /** Number of inputs in the test; lower if each is expensive. Default: `RUNS`. */
  readonly runs?: number;
  open(): Opened | Promise<Opened>;
}

export const RUNS = 300;

/** A target that is ready for inputs. */
export interface Opened {
  /** @param before called before each input */
  readonly property: (before?: () => void) => fc.IAsyncProperty<[unknown]>;
  /** Throws if the inputs reached only one side of the property. Called after at least `Target.runs` inputs. */
  readonly reached?: () => void;
  readonly close?: () => void | Promise<void>;
}

/** Maximum CPU time for one input, in milliseconds: a hundred times that of the largest input. */
const INPUT_MS = 1_500;

/** The property, and what holds for every target: limited time, and no change to built-in prototypes. */
export function feed<Input>(
  inputs: fc.Arbitrary<Input>,
  check: (input: Input) => void | Promise<void>,
): Opened['property'] {
  return (before) =>
    fc.asyncProperty(inputs, async (input) => {
      before?.();
      const begin = process.cpuUsage();
      try {
        await check(input);
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

/** Checks that no input adds a member to a built-in prototype. */
function checkPrototypes(): void {
  for (const [index, one] of PROTOTYPES.entries()) {
    const added = Reflect.ownKeys(one).filter((key) => !MEMBERS[index]?.has(key));
    // Removes the member, since every later input would fail too.
    for (const key of added) Reflect.deleteProperty(one, key);
    if (added.length > 0) throw new Error(`A prototype was polluted with ${inspect(added)}.`);
  }
}

/**
 * Checks that a failure is an error of Holdfast, of an expected kind, and safe to print.
 *
 * @param codes expected codes; any by default
 */
export function checkFailure(error: unknown, codes?: readonly HoldfastErrorCode[]): void {
  // A violation found by the property, or a bug.
  if (!(error instanceof HoldfastError)) throw error;
  if (codes !== undefined && !codes.includes(error.code))
    throw new Error(`Not of a known kind: ${error.code}`);
  for (const shown of [error.message, error.hint ?? '']) checkShown(shown);
  if (secretsSeen(error, [REFRESH, ACCESS]) > 0) throw new Error(`${error.name} shows a secret.`);
}

/** Printable text of limited length. */
export function checkShown(text: string): void {
  if (/[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/u.test(text)) {
    throw new Error(`Not printable: ${JSON.stringify(text.slice(0, 300))}`);
  }
  if (text.length > 3000) throw new Error(`A message of ${text.length} characters.`);
}
