import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Answer, Order, Tokens } from './barrier.ts';

/** Processes that all want the token of one login. */
export interface Fleet {
  /** Releases the first `processes` of them at one barrier, and waits until each has its token or its failure. */
  release(processes: number): Promise<Outcome>;
  close(): Promise<void>;
}

export interface Outcome extends Tokens {
  /** From the barrier until the last one had its token, in milliseconds. */
  readonly lastMs: number;
}

export interface WorkerFleetOptions {
  readonly processes: number;
  /** A program that obeys (barrier.ts), and its arguments. */
  readonly program: readonly string[];
  /** What starts it: nothing, or a program that puts it somewhere; by the number of the process. */
  readonly launcher?: ((index: number) => readonly string[]) | undefined;
  /** Its whole environment, but for PATH. */
  readonly variables: Readonly<Record<string, string>>;
  /** After which a process that does not answer has failed. */
  readonly patienceMs: number;
  /** Its diagnostics are not shown. */
  readonly quiet?: boolean | undefined;
}

/** Long-lived processes, which open everything anew for each round. */
export class WorkerFleet implements Fleet {
  readonly #workers: Worker[];

  constructor(options: WorkerFleetOptions) {
    const { launcher = () => [], program } = options;
    this.#workers = Array.from(
      { length: options.processes },
      (_, index) => new Worker([...launcher(index), process.execPath, ...program], options),
    );
  }

  async release(processes: number): Promise<Outcome> {
    const workers = this.#workers.slice(0, processes);
    await Promise.all(workers.map((worker) => worker.obeys('open')));
    const released = process.hrtime.bigint();
    const ends = await Promise.all(workers.map((worker) => worker.obeys('go')));
    const lastMs = Math.max(...ends.map(({ at = '0' }) => Number(BigInt(at) - released) / 1e6));
    const checks = await Promise.all(workers.map((worker) => worker.obeys('check')));
    return { lastMs, ...together(checks.flatMap(({ tokens }) => tokens ?? [])) };
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.end()));
  }
}

class Worker {
  readonly #child: ChildProcess;
  readonly #patienceMs: number;
  readonly #failed: Promise<never>;

  constructor(program: readonly string[], { variables, patienceMs, quiet = false }: WorkerFleetOptions) {
    this.#patienceMs = patienceMs;
    const [command = '', ...args] = program;
    this.#child = spawn(command, args, {
      env: { PATH: process.env['PATH'] ?? '', ...variables },
      stdio: ['ignore', 'ignore', quiet ? 'ignore' : 'inherit', 'ipc'],
    });
    this.#failed = new Promise<never>((_, reject) => {
      this.#child.once('error', reject);
      this.#child.once('exit', (code, signal) =>
        reject(new Error(`A process of the storm ended (${code ?? signal}).`)),
      );
    });
    this.#failed.catch(() => {
      // Whoever waits for an answer hears of it.
    });
  }

  async obeys(order: Order['order']): Promise<Answer> {
    const over = new AbortController();
    const timer = setTimeout(() => over.abort(), this.#patienceMs);
    try {
      const answered = once(this.#child, 'message', { signal: over.signal });
      this.#child.send({ order } satisfies Order);
      const [answer] = (await Promise.race([answered, this.#failed])) as [Answer];
      if (answer.broken !== undefined) throw new Error(`A process of the storm failed: ${answer.broken}`);
      return answer;
    } catch (error) {
      throw over.signal.aborted
        ? new Error(`A process of the storm did not answer "${order}" within ${this.#patienceMs} ms.`)
        : error;
    } finally {
      clearTimeout(timer);
      over.abort();
    }
  }

  /** It ends by itself when nobody is there to give it orders; a launcher before it ends with it. */
  async end(): Promise<void> {
    const { exitCode, signalCode, connected, pid } = this.#child;
    if (pid === undefined || exitCode !== null || signalCode !== null) return;
    const gone = once(this.#child, 'exit');
    try {
      if (connected) this.#child.disconnect();
    } catch {
      // It closed its end a moment ago.
    }
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 5_000);
    await gone;
    clearTimeout(timer);
  }
}

export function together(all: readonly Tokens[]): Tokens {
  return {
    valid: all.reduce((sum, { valid }) => sum + valid, 0),
    fingerprints: [...new Set(all.flatMap(({ fingerprints }) => fingerprints))],
    failures: all.flatMap(({ failures }) => failures),
  };
}
