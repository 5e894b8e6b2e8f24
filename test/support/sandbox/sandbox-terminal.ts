import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import { TYPESCRIPT } from '../processes/process.ts';
import { installed, requirement } from '../requirement.ts';

/* A person who reads and types at a real terminal: a pty(7), created by script of util-linux. */

export const NO_TERMINAL = requirement(
  'script (util-linux) or stty is not installed',
  process.platform === 'linux' && installed('script') && installed('stty'),
);

const BIN = fileURLToPath(new URL('../../../src/cli/bin.ts', import.meta.url));

/** `holdfast` from its sources, as shell words. */
export const HOLDFAST = [process.execPath, ...TYPESCRIPT, BIN].map(shellWord).join(' ');

export interface Terminal {
  readonly pid: number;
  /** Everything it has shown, including typed text, with lines ended by line feeds. */
  shown(): string;
  /** Resolves when it shows the text, after position `from` of `shown`. */
  shows(text: string, from?: number): Promise<void>;
  type(text: string): void;
  /** Exit code of the command, once the terminal is closed. */
  readonly ended: Promise<number | null>;
}

export const ENTER = '\r';
export const CTRL_C = '\u0003';
export const CTRL_D = '\u0004';
export const CTRL_Z = '\u001a';

/** Runs a shell command on a terminal until the test ends. `variables` is its whole environment, except PATH. */
export function terminal(
  command: string,
  variables: Readonly<Record<string, string>>,
  { columns = 200 }: { columns?: number } = {},
): Terminal {
  const child = spawn(
    'script',
    ['--quiet', '--return', '--echo', 'always', '--command', sane(command, columns), '/dev/null'],
    {
      env: { PATH: process.env['PATH'] ?? '', SHELL: '/bin/sh', TERM: 'xterm', NO_COLOR: '1', ...variables },
      stdio: ['pipe', 'pipe', 'inherit'],
    },
  );
  // The command may end before it has read everything.
  child.stdin.on('error', () => {});
  let output = '';
  const listeners = new Set<() => void>();
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    output += chunk;
    for (const listener of listeners) listener();
  });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  onTestFinished(async () => {
    // The terminal hangs up, which ends its remaining programs (SIGHUP).
    child.kill('SIGKILL');
    await ended;
  });
  const shown = () => output.replaceAll(/\r+\n/g, '\n');
  const shows = (text: string, from = 0) =>
    Promise.race([
      new Promise<void>((resolve) => {
        const listener = () => {
          if (!shown().includes(text, from)) return;
          listeners.delete(listener);
          resolve();
        };
        listeners.add(listener);
        listener();
      }),
      ended.then((code) => {
        throw new Error(`ended (${code}) without showing ${text}:\n${shown()}`);
      }),
    ]);
  return { pid: child.pid ?? -1, shown, shows, type: (text) => void child.stdin.write(text), ended };
}

/** Wraps the command, and complains if it leaves the terminal in another state. */
function sane(command: string, columns: number): string {
  return [
    `stty cols ${columns} rows 50`,
    'before=$(stty -g)',
    // The shell must survive a Ctrl-C.
    'trap : INT',
    `(trap - INT; ${command})`,
    'code=$?',
    'test "$(stty -g)" = "$before" || echo "The terminal was left in another state: $(stty -a)"',
    'exit $code',
  ].join('; ');
}

export function shellWord(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
