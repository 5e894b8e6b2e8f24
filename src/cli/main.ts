import { parseArgs } from 'node:util';
import { InvalidArgumentError } from '../errors.ts';
import { quote } from '../quote.ts';
import { processEnvironment } from '../system/environment.ts';
import { VERSION } from '../version.ts';
import type { Command, Invocation } from './command.ts';
import { COMMANDS } from './commands.ts';
import { COMMON } from './common-options.ts';
import { EXIT, exitCodeOf } from './exit-code.ts';
import { Ui } from './ui.ts';

/** Runs one command line. Answers the exit code. */
export async function main(argv: readonly string[]): Promise<number> {
  const environment = processEnvironment();
  const json = argv.includes('--json');
  const quiet = argv.includes('--quiet') || argv.includes('-q');
  const ui = new Ui({
    stdout: () => process.stdout,
    stderr: () => process.stderr,
    json,
    quiet,
    variables: environment.variables,
  });
  const stop = new AbortController();
  const interrupt = () => {
    // A second Ctrl-C finds the default again, and ends the process at once.
    process.off('SIGINT', interrupt);
    process.off('SIGTERM', interrupt);
    stop.abort();
  };
  process.on('SIGINT', interrupt);
  process.on('SIGTERM', interrupt);
  try {
    const [name, ...rest] = argv;
    if (name === '--version' || name === '-V') {
      ui.data(VERSION);
      return EXIT.done;
    }
    if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
      const { overview, helpOf } = await import('./help.ts');
      const asked = name === 'help' && rest[0] !== undefined ? commandNamed(rest[0]) : undefined;
      const text = asked ? helpOf(asked) : overview(VERSION, COMMANDS);
      if (name === undefined) ui.note(text);
      else ui.data(text);
      return name === undefined ? EXIT.usage : EXIT.done;
    }
    const command = commandNamed(name);
    const parsed = parse(command, rest);
    if (parsed.values['help'] === true) {
      ui.data((await import('./help.ts')).helpOf(command));
      return EXIT.done;
    }
    const argument = argumentOf(command, parsed.positionals);
    const invocation: Invocation = {
      argument,
      table: COMMANDS,
      ui,
      environment,
      signal: stop.signal,
      text: (option) => {
        const value = parsed.values[option];
        return typeof value === 'string' ? value : undefined;
      },
      flag: (option) => parsed.values[option] === true,
      number: (option, bounds) => numberOf(option, parsed.values[option], bounds),
    };
    const { run } = await command.load();
    return await run(invocation);
  } catch (error) {
    ui.error(error);
    return exitCodeOf(error);
  } finally {
    process.off('SIGINT', interrupt);
    process.off('SIGTERM', interrupt);
  }
}

function commandNamed(name: string): Command {
  const command = COMMANDS.find((candidate) => candidate.name === name);
  if (command !== undefined) return command;
  const near = COMMANDS.find(
    (candidate) => candidate.name.startsWith(name) || distance(candidate.name, name) <= 2,
  );
  throw new InvalidArgumentError(`There is no command ${quote(name, 40)}.`, {
    hint: near === undefined ? 'See: holdfast --help' : `Did you mean: holdfast ${near.name}`,
  });
}

function parse(command: Command, args: readonly string[]) {
  const options: Record<string, { type: 'string' | 'boolean'; short?: string }> = {};
  for (const [name, { type, short }] of Object.entries({ ...command.options, ...COMMON })) {
    options[name] = short === undefined ? { type } : { type, short };
  }
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true, strict: true });
  } catch (error) {
    // Node's own sentences name the option; the advice after them is about its parser.
    const sentence = error instanceof Error ? (error.message.split('. ')[0] ?? '') : '';
    throw new InvalidArgumentError(`${sentence.replace(/\.$/, '')}.`, {
      hint: `See: holdfast ${command.name} --help`,
    });
  }
}

function argumentOf(command: Command, positionals: readonly string[]): string | undefined {
  const hint = `See: holdfast ${command.name} --help`;
  const most = command.argument === undefined ? 0 : 1;
  if (positionals.length > most) {
    throw new InvalidArgumentError(
      most === 0
        ? `holdfast ${command.name} takes no argument, but got ${quote(positionals[0] ?? '')}.`
        : `holdfast ${command.name} takes one ${command.argument?.name}, but got ${positionals.length} arguments.`,
      { hint },
    );
  }
  if (positionals[0] === undefined && command.argument?.required === true) {
    throw new InvalidArgumentError(`holdfast ${command.name} needs a ${command.argument.name}.`, { hint });
  }
  return positionals[0];
}

function numberOf(
  option: string,
  value: unknown,
  { min, max }: { min: number; max: number },
): number | undefined {
  if (typeof value !== 'string') return undefined;
  const number = /^\d{1,9}$/.test(value) ? Number(value) : Number.NaN;
  if (number >= min && number <= max) return number;
  throw new InvalidArgumentError(
    `--${option} ${quote(value, 40)} is not a whole number from ${min} to ${max}.`,
  );
}

/** How many letters two words differ by (Levenshtein). */
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
