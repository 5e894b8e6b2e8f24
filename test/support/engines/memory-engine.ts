import { MemoryEngine as Example, type SharedMemory } from '../../../examples/engine-of-your-own.ts';
import { StoreUnreachableError } from '../../../src/errors.ts';
import type { Engine } from '../../../src/store/engine/engine.ts';

export { SharedMemory } from '../../../examples/engine-of-your-own.ts';

/** One process’s connection to the example engine. A test can watch its calls and make them fail. */
export interface WatchedEngine extends Engine {
  /** Calls that fail, as on a network that is down. */
  readonly cut: Set<keyof Engine>;
  /** Each call, in order. */
  readonly calls: (keyof Engine)[];
}

export function memoryEngine(shared: SharedMemory): WatchedEngine {
  const cut = new Set<keyof Engine>();
  const calls: (keyof Engine)[] = [];
  const engine = new Example(shared);
  return new Proxy(Object.assign(engine, { cut, calls }), {
    get: (target, name: keyof Engine) => {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== 'function') return value;
      return async (...arguments_: unknown[]) => {
        calls.push(name);
        if (cut.has(name)) throw new StoreUnreachableError('The network to the engine is down.');
        return Reflect.apply(value, target, arguments_) as unknown;
      };
    },
  });
}
