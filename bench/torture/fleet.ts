import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { WORKERS } from './plan.ts';
import { sharedNow } from './shared-clock.ts';
import type { Command, Said, WorkerSettings } from './worker.ts';

/** One process of a worker, and what was done to it. Times are milliseconds of the shared clock. */
export interface Incarnation {
  readonly tag: string;
  readonly worker: number;
  readonly out: string;
  /** It runs the build that the fleet is updated from. */
  readonly old: boolean;
  killedAt: number | undefined;
  /** It ended by itself. */
  crashed: boolean;
  readonly stops: { from: number; to: number }[];
}

interface Slot {
  child: ChildProcess | undefined;
  incarnation: Incarnation | undefined;
  count: number;
  resume: NodeJS.Timeout | undefined;
  /** It is not stopped before then, so that somebody makes progress. */
  spareUntil: number;
}

/** What `Command` gives, but the number that its answers carry. */
type Task<C = Command> = C extends Command ? Omit<C, 'id'> : never;

/** How an operation ended, in a worker that may have been killed before it did. */
export interface Ended {
  readonly tag: string;
  readonly outcome: string;
  readonly code?: string | undefined;
}

const MOST_CRASHES = 20;

/** How far the first worker’s clock is ahead at first, in milliseconds. */
const AHEAD_MS = 600_000;

/** libfaketime, where it is installed. */
const FAKETIME = ['/usr/lib/x86_64-linux-gnu', '/usr/lib/aarch64-linux-gnu']
  .map((directory) => join(directory, 'faketime/libfaketime.so.1'))
  .find((path) => existsSync(path));

/** In a time namespace of its own a process takes itself for one of another boot: another machine. */
const elsewhere = (): readonly string[] =>
  spawnSync('unshare', ['-rT', 'true'], { stdio: 'ignore' }).status === 0 ? ['unshare', '-rT'] : [];

/** The worker processes: started, killed, stopped, told. The first one’s wall clock is ten minutes ahead, until it is set. */
export class Fleet {
  readonly incarnations: Incarnation[] = [];
  readonly wrongClock = FAKETIME !== undefined;
  readonly otherBoots: boolean;
  readonly #launcher: readonly string[];
  readonly #directory: string;
  readonly #programOf: (worker: number) => { readonly program: string; readonly old: boolean };
  readonly #clockFile: string;
  readonly #settingsOf: (worker: number) => Omit<WorkerSettings, 'tag' | 'out' | 'seed'>;
  readonly #variablesOf: (worker: number) => Readonly<Record<string, string>>;
  readonly #seed: number;
  readonly #slots: Slot[];
  #aheadMs = 0;
  #ending = false;
  #commands = 0;

  constructor(options: {
    readonly directory: string;
    /** worker.ts as one file of plain JavaScript, of which build. */
    readonly programOf: (worker: number) => { readonly program: string; readonly old: boolean };
    readonly settingsOf: (worker: number) => Omit<WorkerSettings, 'tag' | 'out' | 'seed'>;
    readonly variablesOf: (worker: number) => Readonly<Record<string, string>>;
    readonly seed: number;
    /** Each worker on a machine of its own, as far as its clocks say. */
    readonly apart: boolean;
  }) {
    this.#directory = options.directory;
    this.#programOf = options.programOf;
    this.#clockFile = join(options.directory, 'clock');
    this.setClock(AHEAD_MS);
    this.#settingsOf = options.settingsOf;
    this.#variablesOf = options.variablesOf;
    this.#seed = options.seed;
    this.#launcher = options.apart ? elsewhere() : [];
    this.otherBoots = this.#launcher.length > 0;
    this.#slots = Array.from({ length: WORKERS }, () => ({
      child: undefined,
      incarnation: undefined,
      count: 0,
      resume: undefined,
      spareUntil: 0,
    }));
    for (let worker = 0; worker < WORKERS; worker += 1) this.#start(worker);
  }

  /** The living processes. */
  get pids(): readonly number[] {
    return this.#slots.flatMap(({ child }) => (child?.pid === undefined ? [] : [child.pid]));
  }

  /** @returns whether there was one to kill */
  kill(worker: number): boolean {
    const slot = this.#slots[worker];
    if (slot?.incarnation === undefined || slot.incarnation.killedAt !== undefined) return false;
    slot.incarnation.killedAt = sharedNow();
    slot.child?.kill('SIGKILL');
    return true;
  }

  /** @returns whether it was there, and not stopped, or just woken, before */
  stop(worker: number, forMs: number): boolean {
    const slot = this.#slots[worker];
    if (slot?.child === undefined || slot.incarnation === undefined || slot.resume !== undefined)
      return false;
    if (sharedNow() < slot.spareUntil || slot.incarnation.killedAt !== undefined) return false;
    const { child, incarnation } = slot;
    const stop = { from: sharedNow(), to: Number.POSITIVE_INFINITY };
    incarnation.stops.push(stop);
    child.kill('SIGSTOP');
    slot.resume = setTimeout(() => {
      slot.resume = undefined;
      slot.spareUntil = sharedNow() + 300;
      child.kill('SIGCONT');
      stop.to = sharedNow();
    }, forMs);
    return true;
  }

  /**
   * Sets the first worker's wall clock that far ahead, where there is libfaketime.
   *
   * @returns by how much it was set, in milliseconds
   */
  setClock(aheadMs: number): number {
    const byMs = aheadMs - this.#aheadMs;
    this.#aheadMs = aheadMs;
    writeFileSync(`${this.#clockFile}.new`, `${aheadMs < 0 ? '-' : '+'}${Math.abs(aheadMs) / 1000}`);
    renameSync(`${this.#clockFile}.new`, this.#clockFile);
    return byMs;
  }

  /**
   * Has that worker, or the next one that runs today’s build, do something beside its calls.
   *
   * @param hear is given the login that an export hands over
   * @returns how it ended; `undefined` when there is no such worker
   */
  async command(worker: number, task: Task, hear?: (login: string) => void): Promise<Ended | undefined> {
    const order = [...this.#slots.keys()].map((step) => this.#slots[(worker + step) % WORKERS]);
    const slot = order.find((one) => one?.incarnation?.old === false && one.child?.connected === true);
    const { child, incarnation } = slot ?? {};
    if (child === undefined || incarnation === undefined) return undefined;
    const command = { ...task, id: (this.#commands += 1) } as Command;
    return new Promise((ended) => {
      const settle = (outcome: string, code?: string) => {
        child.off('message', listen).off('exit', gone);
        ended({ tag: incarnation.tag, outcome, code });
      };
      const listen = (said: Said) => {
        if (said.id !== command.id) return;
        if ('login' in said) hear?.(said.login);
        else settle(said.outcome, said.code);
      };
      // What it said before it died is heard first.
      const gone = () => setImmediate(() => settle('died'));
      child.on('message', listen).once('exit', gone);
      child.send(command, (error) => {
        if (error !== null) settle('died');
      });
    });
  }

  /** Lets every process end what it is at, and waits for that. */
  async end(): Promise<void> {
    this.#ending = true;
    while (this.#slots.some(({ resume }) => resume !== undefined)) await sleep(50);
    await Promise.all(
      this.#slots.map(async ({ child }) => {
        if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
        const gone = once(child, 'exit');
        child.kill('SIGTERM');
        const late = setTimeout(() => child.kill('SIGKILL'), 20_000);
        await gone;
        clearTimeout(late);
      }),
    );
  }

  /** At once. */
  async abort(): Promise<void> {
    this.#ending = true;
    for (const { child, resume } of this.#slots) {
      clearTimeout(resume);
      child?.kill('SIGKILL');
    }
    await Promise.all(
      this.#slots.map(async ({ child }) => {
        if (child !== undefined && child.exitCode === null && child.signalCode === null)
          await once(child, 'exit');
      }),
    );
  }

  #start(worker: number): void {
    const slot = this.#slots[worker];
    if (slot === undefined) return;
    slot.count += 1;
    const tag = `${worker}.${slot.count}`;
    const out = join(this.#directory, `worker-${tag}.jsonl`);
    const { program: source, old } = this.#programOf(worker);
    const fate = { killedAt: undefined, crashed: false, stops: [] };
    const incarnation: Incarnation = { tag, worker, out, old, ...fate };
    const settings: WorkerSettings = {
      ...this.#settingsOf(worker),
      tag,
      out,
      seed: this.#seed + worker * 1000 + slot.count * 10,
    };
    const said = openSync(join(this.#directory, `worker-${tag}.said`), 'a', 0o600);
    const command = [...this.#launcher, process.execPath, source, JSON.stringify(settings)];
    const [program = '', ...args] = command;
    const child = spawn(program, args, {
      env: {
        PATH: process.env['PATH'] ?? '',
        HOME: '/nonexistent',
        ...this.#variablesOf(worker),
        ...(worker === 0 && FAKETIME !== undefined && clockFrom(FAKETIME, this.#clockFile)),
      },
      stdio: ['ignore', said, said, 'ipc'],
    });
    closeSync(said);
    slot.child = child;
    slot.incarnation = incarnation;
    this.incarnations.push(incarnation);
    child.on('error', () => {});
    child.once('exit', () => {
      clearTimeout(slot.resume);
      slot.resume = undefined;
      for (const stop of incarnation.stops) stop.to = Math.min(stop.to, sharedNow());
      if (worker === 0 && FAKETIME !== undefined) forgetClock(child.pid);
      if (this.#ending) return;
      if (incarnation.killedAt === undefined) incarnation.crashed = true;
      const crashes = this.incarnations.filter(({ crashed }) => crashed).length;
      // One that cannot even start would be started for ever.
      if (crashes < MOST_CRASHES) this.#start(worker);
    });
  }
}

/** What libfaketime leaves of a process that was killed. */
function forgetClock(pid: number | undefined): void {
  for (const name of ['faketime_shm_', 'sem.faketime_sem_'])
    rmSync(`/dev/shm/${name}${pid}`, { force: true });
}

function clockFrom(library: string, file: string): Readonly<Record<string, string>> {
  return {
    LD_PRELOAD: library,
    FAKETIME_TIMESTAMP_FILE: file,
    FAKETIME_NO_CACHE: '1',
    FAKETIME_DONT_FAKE_MONOTONIC: '1',
    DONT_FAKE_MONOTONIC: '1',
  };
}
