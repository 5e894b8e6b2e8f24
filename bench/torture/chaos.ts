import { setTimeout as sleep } from 'node:timers/promises';
import type { RunningEngine, Served } from './engines.ts';
import type { Fleet } from './fleet.ts';
import type { Logins } from './logins.ts';
import { type Fault, type PlannedFault, WORKERS } from './plan.ts';
import { sharedNow } from './shared-clock.ts';
import type { Span } from './troubles.ts';

export interface ChaosParts {
  readonly fleet: Fleet;
  readonly engine: RunningEngine;
  readonly logins: Logins;
  readonly spans: Span[];
  /** How many refresh tokens have been presented so far. */
  readonly presented: () => number;
  readonly progress?: ((done: number) => void) | undefined;
}

/** On a machine that is slow the faults come slower, so that there is something to disturb. */
const PRESENTATIONS_A_FAULT = 0.6;
const LONGEST_WAIT_MS = 2_000;
const LOOK_EVERY_MS = 20;

/** Carries the plan out, and notes what was done when. */
export class Chaos {
  readonly done: Partial<Record<Fault['kind'], number>> = {};
  readonly #parts: ChaosParts;
  readonly #spans: Span[];
  readonly #over: Promise<unknown>[] = [];
  readonly #partitions = new Map<number, number>();
  /** What happens to the whole engine happens one after the other. */
  #engineEvents: Promise<unknown> = Promise.resolve();
  #aheadMs = 0;

  constructor(parts: ChaosParts) {
    this.#parts = parts;
    this.#spans = parts.spans;
  }

  /** Inflicts so many of the plan’s faults, and resolves when the last one is over. */
  async run(plan: Iterable<PlannedFault>, faults: number, signal: AbortSignal): Promise<void> {
    let begin = sharedNow();
    let done = 0;
    for (const fault of plan) {
      if (done === faults || signal.aborted) break;
      await sleep(Math.max(0, begin + fault.atMs - sharedNow()));
      begin += await this.#letCatchUp(done);
      if (signal.aborted) break;
      const under = this.#inflict(fault);
      if (under === undefined) continue;
      // One that could not happen at once, such as to stop who is stopped already, is no fault.
      done += 1;
      this.done[fault.kind] = (this.done[fault.kind] ?? 0) + 1;
      // It is thrown when all are over, and until then by nobody.
      under.catch(() => {});
      this.#over.push(under);
      this.#parts.progress?.(done);
    }
    await Promise.all(this.#over);
    if (this.#aheadMs !== 0) await this.#setClock(-this.#aheadMs);
  }

  /** @returns for how long, in milliseconds */
  async #letCatchUp(done: number): Promise<number> {
    const from = sharedNow();
    const isBehind = () => this.#parts.presented() < done * PRESENTATIONS_A_FAULT;
    while (isBehind() && sharedNow() - from < LONGEST_WAIT_MS) await sleep(LOOK_EVERY_MS);
    return sharedNow() - from;
  }

  #inflict(fault: Fault): Promise<unknown> | undefined {
    const { fleet, logins, engine } = this.#parts;
    switch (fault.kind) {
      case 'kill':
        return this.#atAny(fault.worker, (worker) => fleet.kill(worker));
      case 'stop':
        return this.#atAny(fault.worker, (worker) => fleet.stop(worker, fault.forMs));
      case 'worker-clock':
        if (!fleet.wrongClock) return undefined;
        return this.#setWorkerClock(fault.aheadMs);
      case 'rekey':
        return logins.rekey(fleet, fault.worker);
      case 'logout':
        return logins.logOut(fleet, fault.worker, fault.credential);
      case 'export':
        return logins.moveOut(fleet, fault.worker, fault.credential);
      case 'login':
        return logins.logInAgain(fault.credential);
      case 'engine-crash':
        return this.#toEngine((served) =>
          this.#during('engine down', undefined, async () => {
            await served.crash();
            await sleep(fault.forMs);
            await served.start();
          }),
        );
      case 'engine-fail-over':
        return this.#toEngine((served) => this.#failOver(served, fault.lagMs));
      case 'engine-clock':
        return this.#toEngine(() => this.#setClock(fault.byMs));
      case 'engine-cut':
        return this.#during('cut', fault.worker, async () => this.#proxy(fault.worker)?.cut());
      case 'engine-half-close':
        return this.#during('cut', fault.worker, async () => this.#proxy(fault.worker)?.halfClose());
      case 'engine-delay':
        return this.#during('delay', fault.worker, async () => {
          const proxy = this.#proxy(fault.worker);
          if (proxy === undefined) return;
          proxy.delayMs = fault.delayMs;
          await sleep(fault.forMs);
          proxy.delayMs = 0;
        });
      case 'engine-lost-answers':
        return this.#during('lost answers', fault.worker, async () => {
          const proxy = this.#proxy(fault.worker);
          if (proxy === undefined) return;
          proxy.losesAnswers = true;
          await sleep(fault.forMs);
          proxy.losesAnswers = false;
        });
      case 'engine-partition':
        return this.#during('partition', fault.worker, () => this.#partition([fault.worker], fault.forMs));
      case 'engine-partition-all':
        return this.#during('partition', undefined, () =>
          this.#partition([...engine.proxies.keys()], fault.forMs),
        );
    }
  }

  #proxy(worker: number) {
    return this.#parts.engine.proxies[worker];
  }

  /** To that worker, or to the next one that it can happen to. */
  #atAny(worker: number, step: (worker: number) => boolean): Promise<void> | undefined {
    for (let further = 0; further < WORKERS; further += 1) {
      if (step((worker + further) % WORKERS)) return Promise.resolve();
    }
    return undefined;
  }

  #toEngine(step: (served: Served) => Promise<unknown>): Promise<unknown> | undefined {
    const { served } = this.#parts.engine;
    if (served === undefined) return undefined;
    this.#engineEvents = this.#engineEvents.then(() => step(served));
    return this.#engineEvents;
  }

  async #failOver(served: Served, lagMs: number): Promise<void> {
    const opened: Span[] = [];
    const open = (what: Span['what']) => () => {
      const span: Span = { what, from: sharedNow(), to: Number.POSITIVE_INFINITY };
      opened.push(span);
      this.#spans.push(span);
    };
    const hasFailedOver = await served.failOver(lagMs, open('fail-over'), open('engine down'));
    for (const span of opened) span.to = sharedNow();
    if (hasFailedOver) return;
    // The replica was not there yet.
    this.done['engine-fail-over'] = (this.done['engine-fail-over'] ?? 1) - 1;
    this.done['engine-crash'] = (this.done['engine-crash'] ?? 0) + 1;
    await this.#during('engine down', undefined, async () => {
      await served.crash();
      await served.start();
    });
  }

  async #setClock(byMs: number): Promise<void> {
    const from = sharedNow();
    await this.#parts.engine.served?.setClock(byMs);
    this.#aheadMs += byMs;
    this.#spans.push({ what: 'clock set', byMs, from, to: sharedNow() });
  }

  async #setWorkerClock(aheadMs: number): Promise<void> {
    const from = sharedNow();
    const byMs = this.#parts.fleet.setClock(aheadMs);
    this.#spans.push({ what: 'wall clock set', worker: 0, byMs, from, to: sharedNow() });
  }

  /** Two at once at one worker are over when the later one is. */
  async #partition(workers: readonly number[], forMs: number): Promise<void> {
    for (const worker of workers) {
      this.#partitions.set(worker, (this.#partitions.get(worker) ?? 0) + 1);
      this.#proxy(worker)?.partition();
    }
    await sleep(forMs);
    for (const worker of workers) {
      const left = (this.#partitions.get(worker) ?? 1) - 1;
      this.#partitions.set(worker, left);
      if (left === 0) this.#proxy(worker)?.heal();
    }
  }

  async #during(what: Span['what'], worker: number | undefined, step: () => Promise<void>): Promise<void> {
    const span: Span = { what, worker, from: sharedNow(), to: Number.POSITIVE_INFINITY };
    this.#spans.push(span);
    await step();
    span.to = sharedNow();
  }
}
