import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Tokens } from './barrier.ts';
import { type Fleet, type Outcome, together } from './fleet.ts';

export interface Ended {
  /** `null` when it did not end by itself in time. */
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

export interface CommandFleetOptions {
  readonly command: readonly string[];
  readonly launcher?: ((index: number) => readonly string[]) | undefined;
  /** The whole environment, but for PATH. */
  readonly variables: Readonly<Record<string, string>>;
  readonly patienceMs: number;
  /** What the process got. Asked when all have ended. */
  readonly judge: (ended: Ended) => Promise<Tokens>;
}

/** Says that it is there, waits for a line, and becomes the command; whose standard input stays open. */
const GATE = ['/bin/sh', '-c', 'echo ready >&2; read _; exec "$@"', 'gate'];

/** A fresh process for each caller in each round, from its start to its end. */
export class CommandFleet implements Fleet {
  readonly #options: CommandFleetOptions;
  readonly #running = new Set<ChildProcess>();

  constructor(options: CommandFleetOptions) {
    this.#options = options;
  }

  async release(processes: number): Promise<Outcome> {
    const callers = Array.from({ length: processes }, (_, index) => this.#start(index));
    await Promise.all(callers.map(({ ready }) => ready));
    const released = performance.now();
    for (const { open } of callers) open();
    const ends = await Promise.all(callers.map(({ ended }) => ended));
    const lastMs = Math.max(...ends.map(({ at }) => at - released));
    const tokens = await Promise.all(ends.map((ended) => this.#options.judge(ended)));
    return { lastMs, ...together(tokens) };
  }

  async close(): Promise<void> {
    await Promise.all(
      [...this.#running].map(async (child) => {
        const gone = once(child, 'exit');
        child.kill('SIGKILL');
        await gone;
      }),
    );
  }

  #start(index: number) {
    const { command, launcher = () => [], variables, patienceMs } = this.#options;
    const [program = '', ...args] = [...launcher(index), ...GATE, ...command];
    const child = spawn(program, args, {
      env: { PATH: process.env['PATH'] ?? '', ...variables },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.#running.add(child);
    child.once('exit', () => this.#running.delete(child));
    child.stdin.on('error', () => {
      // It ended before its gate was opened; how, is heard from its end.
    });
    let out = '';
    let err = '';
    child.stdout.setEncoding('utf8').on('data', (chunk) => {
      out += chunk;
    });
    const ready = new Promise<void>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', () => reject(new Error(`A process ended before the barrier: ${err}`)));
      child.stderr.setEncoding('utf8').on('data', (chunk) => {
        err += chunk;
        if (err.startsWith('ready\n')) resolve();
      });
    });
    let timer: NodeJS.Timeout | undefined;
    const ended = new Promise<Ended & { at: number }>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code) => {
        clearTimeout(timer);
        resolve({ code, out, err: err.replace('ready\n', ''), at: performance.now() });
      });
    });
    const open = () => {
      timer = setTimeout(() => child.kill('SIGKILL'), patienceMs);
      child.stdin.write('\n');
    };
    return { ready, ended, open };
  }
}
