import { setTimeout as sleep } from 'node:timers/promises';
import type { RunningEngine } from './engines.ts';
import type { Fleet } from './fleet.ts';
import type { Fault, PlannedFault } from './plan.ts';
import { sharedNow } from './shared-clock.ts';
import type { Span } from './troubles.ts';

/** Carries the plan out, and notes what was done when. */
export class Chaos {
  readonly spans: Span[] = [];
  readonly done: Partial<Record<Fault['kind'], number>> = {};
  readonly #fleet: Fleet;
  readonly #engine: RunningEngine;
  readonly #over: Promise<void>[] = [];
  readonly #partitions = new Map<number, number>();
  #crashing: Promise<void> = Promise.resolve();

  constructor(fleet: Fleet, engine: RunningEngine) {
    this.#fleet = fleet;
    this.#engine = engine;
  }

  /** Resolves when the last fault is over. */
  async run(plan: readonly PlannedFault[], signal: AbortSignal): Promise<void> {
    const begin = sharedNow();
    for (const fault of plan) {
      await sleep(Math.max(0, begin + fault.atMs - sharedNow()));
      if (signal.aborted) break;
      this.done[fault.kind] = (this.done[fault.kind] ?? 0) + 1;
      this.#over.push(this.#inflict(fault));
    }
    await Promise.all(this.#over);
  }

  async #inflict(fault: Fault): Promise<void> {
    switch (fault.kind) {
      case 'kill':
        return this.#fleet.kill(fault.worker);
      case 'stop':
        return this.#fleet.stop(fault.worker, fault.forMs);
      case 'engine-crash':
        this.#crashing = this.#crashing.then(() =>
          this.#during('engine down', undefined, async () => {
            await this.#engine.crash();
            await sleep(fault.forMs);
            await this.#engine.start();
          }),
        );
        return this.#crashing;
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
          this.#partition([...this.#engine.proxies.keys()], fault.forMs),
        );
    }
  }

  #proxy(worker: number) {
    return this.#engine.proxies[worker];
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
    this.spans.push(span);
    await step();
    span.to = sharedNow();
  }
}
