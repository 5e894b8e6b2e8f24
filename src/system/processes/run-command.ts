import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import { InvalidArgumentError } from '../../errors.ts';
import { quote } from '../../quote.ts';
import type { Environment } from '../environment.ts';
import { withoutSecrets } from './secret-variables.ts';

/** Signals that a supervisor sends to this process only, so the command would not receive them. */
const PASSED_ON: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2'];

/** Signals that a terminal sends to the command as well, and that other senders send to this process only. */
const FROM_TERMINAL: readonly NodeJS.Signals[] = ['SIGINT', 'SIGQUIT'];

/**
 * Runs a command in place of this process, without a shell: it inherits stdin, stdout and stderr, receives the signals
 * sent to this process, and the call waits until it ends.
 *
 * @param added additional environment variables; the command never gets the secrets that open the store
 * @returns its exit code; 128 plus the signal's number when a signal ended it
 * @throws InvalidArgumentError when the command cannot be started
 */
export async function runCommand(
  command: readonly string[],
  added: Readonly<Record<string, string>>,
  environment: Environment,
): Promise<number> {
  const [program = '', ...args] = command;
  const env = { ...withoutSecrets(environment.variables), ...added };
  const child = spawn(program, args, { stdio: 'inherit', env });
  const passOn = (signal: NodeJS.Signals) => void child.kill(signal);
  const alsoTheirs = (signal: NodeJS.Signals) => {
    if (process.stdin.isTTY !== true) child.kill(signal);
  };
  const signals = environment.platform === 'win32' ? (['SIGTERM'] as const) : PASSED_ON;
  for (const signal of signals) process.on(signal, passOn);
  const terminal = environment.platform === 'win32' ? (['SIGINT'] as const) : FROM_TERMINAL;
  for (const signal of terminal) process.on(signal, alsoTheirs);
  try {
    return await ended(child, program);
  } finally {
    for (const signal of signals) process.off(signal, passOn);
    for (const signal of terminal) process.off(signal, alsoTheirs);
  }
}

function ended(child: ChildProcess, program: string): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once('error', (cause: NodeJS.ErrnoException) => {
      const why =
        cause.code === 'ENOENT' ? 'was not found' : `cannot be started (${cause.code ?? 'no reason given'})`;
      reject(
        new InvalidArgumentError(`The command ${quote(program)} ${why}.`, {
          cause,
          hint: 'Check its name, and that it may be executed.',
        }),
      );
    });
    child.once('exit', (code, signal) => {
      resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal]));
    });
  });
}
