import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

export interface Running {
  readonly pid: number;
  readonly ended: Promise<Ended>;
  /** Resolves when stdout or stderr holds the text. */
  says(text: string): Promise<void>;
  /** Its output so far. */
  said(): { readonly out: string; readonly err: string };
  kill(signal: NodeJS.Signals): void;
}

/** Starts a program. `variables` is its whole environment, except PATH. It runs in the current directory by default. */
export function start(
  program: string,
  args: readonly string[],
  variables: Readonly<Record<string, string>> = {},
  directory?: string,
): Running {
  const child = spawn(program, args, {
    cwd: directory,
    env: { PATH: process.env['PATH'] ?? '', ...variables },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let out = '';
  let err = '';
  const listeners = new Set<() => void>();
  const hear = () => {
    for (const listener of listeners) listener();
  };
  child.stdout.on('data', (chunk) => {
    out += chunk;
    hear();
  });
  child.stderr.on('data', (chunk) => {
    err += chunk;
    hear();
  });
  const ended = new Promise<Ended>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, out, err }));
  });
  return {
    pid: child.pid ?? -1,
    ended,
    says: (text) =>
      Promise.race([
        new Promise<void>((resolve) => {
          const listener = () => {
            if (!out.includes(text) && !err.includes(text)) return;
            listeners.delete(listener);
            resolve();
          };
          listeners.add(listener);
          listener();
        }),
        ended.then((how) => {
          throw new Error(`ended (${how.code}) without saying ${text}:\n${how.out}\n${how.err}`);
        }),
      ]),
    said: () => ({ out, err }),
    kill: (signal) => void child.kill(signal),
  };
}

/** Runs one of the scripts in this directory to its end. @throws if it fails */
export async function runScript(
  name: string,
  args: readonly string[],
  variables: Readonly<Record<string, string>> = {},
): Promise<Ended> {
  const script = fileURLToPath(new URL(name, import.meta.url));
  const ended = await start(process.execPath, [...TYPESCRIPT, script, ...args], variables).ended;
  if (ended.code !== 0) throw new Error(`${name} exited with ${ended.code}:\n${ended.err}`);
  return ended;
}

/** Arguments that make Node run TypeScript. */
export const TYPESCRIPT = ['--no-warnings', '--import', import.meta.resolve('tsx')];

/** The command as one file, which built-once.ts builds before the tests; without it, the sources. */
const built = process.env['HOLDFAST_TEST_PROGRAM'];
const HOLDFAST =
  built === undefined
    ? [...TYPESCRIPT, fileURLToPath(new URL('../../../src/cli/bin.ts', import.meta.url))]
    : ['--enable-source-maps', built];

/** Starts `holdfast` with the given environment only. */
export function holdfast(
  args: readonly string[],
  variables: Readonly<Record<string, string>> = {},
  directory?: string,
): Running {
  const own = { HOME: '/nonexistent', ...variables };
  return start(process.execPath, [...HOLDFAST, ...args], own, directory);
}
