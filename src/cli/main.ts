import { AbortedError, InvalidArgumentError } from '../errors.ts';
import { quote } from '../quote.ts';
import { processEnvironment } from '../system/environment.ts';
import { VERSION } from '../version.ts';
import { nearest, numberOf, parseArguments } from './arguments.ts';
import type { Command, Invocation } from './command.ts';
import { allCommands, COMMAND_NAMES, commandNamed } from './commands.ts';
import { EXIT, exitCodeOf } from './exit-code.ts';
import { Interruption } from './interruption.ts';
import { isLog } from './options/log.ts';
import { StandardOutput } from './output/standard-output.ts';
import { Ui } from './output/ui.ts';

/** The errors of a write without a reader: the pipe's reader has ended, or the terminal was closed. */
const OUTPUT_CLOSED = new Set<string | undefined>(['EPIPE', 'EIO']);

/**
 * Runs one command line.
 *
 * @returns the exit code
 */
export async function main(argv: readonly string[]): Promise<number> {
  const environment = processEnvironment();
  const output = new StandardOutput((error) => {
    if (!OUTPUT_CLOSED.has(error.code)) throw error;
    interruption.outputClosed();
  });
  const uiFor = (json: boolean, quiet: boolean, log = false) =>
    new Ui({
      stdout: () => output,
      stderr: standardError,
      json,
      quiet,
      log,
      variables: environment.variables,
    });
  // Used until the options are parsed: an error in them is reported in the requested form.
  let ui = uiFor(argv.includes('--json'), false);
  const interruption = new Interruption((text) => ui.note(text));
  try {
    const [name, ...rest] = argv;
    if (name === '--version' || name === '-V') {
      ui.data(VERSION);
      return EXIT.done;
    }
    if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
      const { overview, helpOf } = await import('./help.ts');
      const about = rest.find((word) => !word.startsWith('-'));
      const text =
        about === undefined ? overview(VERSION, await allCommands()) : helpOf(await existingCommand(about));
      if (name === undefined) ui.note(text);
      else ui.data(text);
      return name === undefined ? EXIT.usage : EXIT.done;
    }
    const command = await existingCommand(name);
    const { argument, second, rest: after, values, lists } = parseArguments(command, rest);
    ui = uiFor(values.has('json'), values.has('quiet'), isLog(values.get('log')));
    if (values.has('help')) {
      ui.data((await import('./help.ts')).helpOf(command));
      return EXIT.done;
    }
    const invocation: Invocation = {
      argument,
      second,
      rest: after,
      table: allCommands,
      ui,
      output: () => output.stream,
      environment,
      signal: interruption.signal,
      text: (option) => {
        const value = values.get(option);
        return typeof value === 'string' ? value : undefined;
      },
      texts: (option) => lists.get(option) ?? [],
      flag: (option) => values.get(option) === true,
      number: (option, bounds) => numberOf(command, option, values.get(option), bounds),
    };
    const { run } = await command.load();
    return await run(invocation);
  } catch (error) {
    const code = exitCodeOf(error);
    const wasInterrupted = interruption.exitCode !== undefined && code === EXIT.interrupted;
    if (wasInterrupted && interruption.exitCode === EXIT.done) return EXIT.done;
    // A user who pressed Ctrl-C need not know which request or wait it stopped.
    ui.error(wasInterrupted && error instanceof AbortedError ? new AbortedError('Interrupted.') : error);
    return wasInterrupted ? (interruption.exitCode ?? code) : code;
  } finally {
    interruption.dispose();
  }
}

/** Set up at first use, since it costs time. */
function standardError(): NodeJS.WriteStream {
  const { stderr } = process;
  if (!stderr.listeners('error').includes(unread)) stderr.on('error', unread);
  return stderr;
}

/** Ignores the error: nobody reads standard error, so nobody can be told. */
function unread(): void {}

async function existingCommand(name: string): Promise<Command> {
  const command = await commandNamed(name);
  if (command !== undefined) return command;
  if (name.startsWith('-')) {
    throw new InvalidArgumentError(`There is no option ${quote(name, 40)} before a command.`, {
      hint: 'Options come after it: holdfast <command> [options]. See: holdfast --help',
    });
  }
  const near = nearest(name, COMMAND_NAMES);
  throw new InvalidArgumentError(`There is no command ${quote(name, 40)}.`, {
    hint: near === undefined ? 'See: holdfast --help' : `Did you mean: holdfast ${near}`,
  });
}
