import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { onTestFinished } from 'vitest';
import type { Lease, RecordStore } from '../../src/store/record-store.ts';
import type { StepMessage } from '../../src/system/checkpoints.ts';

/** Records what happens to a login, in order: each store call, each refresh step, each request at the server. */
export class Trace {
  readonly #lines: string[] = [];

  constructor() {
    const hear = (message: unknown) => this.say('step', (message as StepMessage).step);
    subscribe('holdfast:step', hear);
    onTestFinished(() => void unsubscribe('holdfast:step', hear));
  }

  say(who: string, what: string): void {
    this.#lines.push(`${who}: ${what}`);
  }

  get text(): string {
    return `${this.#lines.join('\n')}\n`;
  }

  /** Wraps a store, and records its calls and those of its leases. */
  store<S extends RecordStore>(who: string, store: S): S {
    return this.#watched(who, store);
  }

  #watched<T extends object>(who: string, watched: T): T {
    return new Proxy(watched, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name, target);
        if (typeof value !== 'function') return value;
        return (...given: unknown[]): unknown => {
          const answer: unknown = Reflect.apply(value, target, given);
          if (SILENT.has(String(name))) return answer;
          this.say(who, String(name));
          if (!(answer instanceof Promise) || !LEASES.has(String(name))) return answer;
          return answer.then((lease: Lease | undefined) => lease && this.#watched(`${who} lease`, lease));
        };
      },
    });
  }
}

const LEASES = new Set(['lock', 'claim']);

/** Calls without a fixed moment or a cost, which are not recorded. */
const SILENT = new Set(['durability', 'engine', 'now', 'close', 'locked']);
