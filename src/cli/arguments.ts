import { parseArgs } from 'node:util';
import { InvalidArgumentError } from '../errors.ts';
import { quote } from '../quote.ts';
import type { Command, Option } from './command.ts';
import { COMMON } from './options/common.ts';

/** The arguments after a command's name, checked against the command's declaration. */
export interface Arguments {
  readonly argument: string | undefined;
  readonly second: string | undefined;
  /** The words after `--`, if the command declares them. */
  readonly rest: readonly string[];
  readonly values: ReadonlyMap<string, string | true>;
  /** Every value of the repeatable options. */
  readonly lists: ReadonlyMap<string, readonly string[]>;
}

/** @throws InvalidArgumentError */
export function parseArguments(command: Command, args: readonly string[]): Arguments {
  const declared: Readonly<Record<string, Option>> = { ...command.options, ...COMMON };
  const end = command.rest === undefined ? -1 : args.indexOf('--');
  const own = end === -1 ? args : args.slice(0, end);
  const rest = end === -1 ? [] : args.slice(end + 1);
  const options: Record<string, { type: 'string' | 'boolean'; short?: string }> = {};
  for (const [name, { type, short }] of Object.entries(declared)) {
    options[name] = short === undefined ? { type } : { type, short };
  }
  // Not strict: the parser's own errors do not name the wrong option.
  const { tokens, positionals } = parseArgs({
    args: [...own],
    options,
    allowPositionals: true,
    strict: false,
    tokens: true,
  });
  const values = new Map<string, string | true>();
  const lists = new Map<string, string[]>();
  for (const token of tokens) {
    if (token.kind !== 'option') continue;
    const option = Object.hasOwn(declared, token.name) ? declared[token.name] : undefined;
    if (option === undefined) throw unknownOption(command, token.rawName, Object.keys(declared));
    const value = valueOf(command, token, option);
    values.set(token.name, value);
    if (option.repeats === true && typeof value === 'string') {
      lists.set(token.name, [...(lists.get(token.name) ?? []), value]);
    }
  }
  const helped = values.has('help');
  const argument = helped ? positionals[0] : argumentOf(command, positionals);
  if (!helped && command.rest !== undefined && rest.length === 0) {
    throw new InvalidArgumentError(`holdfast ${command.name} needs a ${command.rest.name} after --.`, {
      hint: seeHelp(command),
    });
  }
  return { argument, second: positionals[1], rest, values, lists };
}

/** A whole number within the bounds; `undefined` if the option was not given. */
export function numberOf(
  command: Command,
  option: string,
  value: string | true | undefined,
  { min, max }: { min: number; max: number },
): number | undefined {
  if (typeof value !== 'string') return undefined;
  const number = /^\d{1,9}$/.test(value) ? Number(value) : Number.NaN;
  if (number >= min && number <= max) return number;
  throw new InvalidArgumentError(
    `--${option} ${quote(value, 40)} is not a whole number from ${min} to ${max}.`,
    { hint: seeHelp(command) },
  );
}

/** The candidate that the user probably meant: it starts with the word, or differs by at most two letters. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  if (word === '') return undefined;
  return candidates.find((candidate) => candidate.startsWith(word) || distance(candidate, word) <= 2);
}

interface OptionToken {
  readonly rawName: string;
  readonly value?: string | undefined;
  readonly inlineValue?: boolean | undefined;
}

function valueOf(
  command: Command,
  { rawName, value, inlineValue }: OptionToken,
  option: Option,
): string | true {
  if (option.type === 'boolean') {
    if (value === undefined) return true;
    throw new InvalidArgumentError(`${rawName} takes no value, but got ${quote(value, 40)}.`, {
      hint: seeHelp(command),
    });
  }
  if (value === undefined) {
    throw new InvalidArgumentError(`${rawName} needs a value: ${rawName} ${option.value ?? 'VALUE'}`, {
      hint: seeHelp(command),
    });
  }
  // A lone `-` is standard input.
  if (inlineValue !== true && value.startsWith('-') && value !== '-') {
    // `--account --json` is usually a forgotten value, and rarely a value that starts with a dash.
    throw new InvalidArgumentError(`${rawName} needs a value, but ${quote(value, 40)} follows.`, {
      hint: rawName.startsWith('--') ? `If that is the value: ${rawName}=VALUE` : seeHelp(command),
    });
  }
  return value;
}

function unknownOption(command: Command, rawName: string, names: readonly string[]): InvalidArgumentError {
  const near = rawName.startsWith('--') ? nearest(rawName.slice(2), names) : undefined;
  return new InvalidArgumentError(`holdfast ${command.name} has no option ${quote(rawName, 40)}.`, {
    hint: near === undefined ? seeHelp(command) : `Did you mean: --${near}`,
  });
}

function argumentOf(command: Command, positionals: readonly string[]): string | undefined {
  const most = command.argument === undefined ? 0 : command.second === undefined ? 1 : 2;
  if (positionals.length > most) {
    throw new InvalidArgumentError(
      most === 0
        ? `holdfast ${command.name} takes no argument, but got ${quote(positionals[0] ?? '')}.`
        : `holdfast ${command.name} takes one ${[command.argument?.name, command.second?.name].filter(Boolean).join(' and one ')}, but got ${positionals.length} arguments.`,
      { hint: seeHelp(command) },
    );
  }
  if (positionals[0] === undefined && command.argument?.required === true) {
    throw new InvalidArgumentError(`holdfast ${command.name} needs a ${command.argument.name}.`, {
      hint: seeHelp(command),
    });
  }
  return positionals[0];
}

function seeHelp({ name }: Command): string {
  return `See: holdfast ${name} --help`;
}

/** Number of letters by which two words differ (Levenshtein). */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (const [i, letter] of a.split('').entries()) {
    const next = [i + 1];
    for (const [j, other] of b.split('').entries()) {
      next.push(
        Math.min((row[j] ?? 0) + (letter === other ? 0 : 1), (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1),
      );
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}
