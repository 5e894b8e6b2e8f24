import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { TYPESCRIPT } from './process.ts';
import { installed, requirement } from './requirement.ts';

/*
 * A person at a terminal (a real one: pty(7), made by script of util-linux), who reads what it shows and types.
 */

export const NO_TERMINAL = requirement(
  'script (util-linux) or stty is not installed',
  process.platform === 'linux' && installed('script') && installed('stty'),
);

const BIN = fileURLToPath(new URL('../../src/cli/bin.ts', import.meta.url));

/** `holdfast` from its sources, as words of a shell. */
export const HOLDFAST = [process.execPath, ...TYPESCRIPT, BIN].map(shellWord).join(' ');

export interface Terminal {
  readonly pid: number;
  /** All that it has shown, typed text included, with lines ended by a line feed. */
  shown(): string;
  /** Resolves when it shows that, from the given position on. */
  shows(text: string): Promise<void>;
  type(text: string): void;
  /** The exit code of the command, once the terminal is closed. */
  readonly ended: Promise<number | null>;
}

export const ENTER = '\r';
export const CTRL_C = '\u0003';

/** Runs a command of the shell on a terminal. `variables` is its whole environment, but for PATH. */
export function terminal(
  command: string,
  variables: Readonly<Record<string, string>>,
  { columns = 200 }: { columns?: number } = {},
): Terminal {
  const child = spawn(
    'script',
    ['--quiet', '--return', '--echo', 'always', '--command', `stty cols ${columns} rows 50; ${command}`, '/dev/null'],
    {
      env: { PATH: process.env['PATH'] ?? '', SHELL: '/bin/sh', TERM: 'xterm', NO_COLOR: '1', ...variables },
      stdio: ['pipe', 'pipe', 'inherit'],
    },
  );
  // The command may end before it has read all.
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
  const shown = () => output.replaceAll('\r\n', '\n');
  const shows = (text: string) =>
    Promise.race([
      new Promise<void>((resolve) => {
        const listener = () => {
          if (!shown().includes(text)) return;
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

export function shellWord(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
