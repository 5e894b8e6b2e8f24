import { HoldfastError } from '../../errors.ts';
import { isMeasured, measure } from '../../system/metric-channel.ts';
import type { Engine } from './engine.ts';

/**
 * Wraps an engine: measures the time and error code of each call while somebody listens.
 *
 * @param failed receives the error of each failed call
 */
export function measured(engine: Engine, failed: (error: unknown) => void): Engine {
  return new Proxy(engine, {
    get: (target, operation) => {
      const value: unknown = Reflect.get(target, operation);
      if (typeof value !== 'function') return value;
      return (...given: unknown[]): unknown => {
        const answer: unknown = Reflect.apply(value, target, given);
        if (!(answer instanceof Promise)) return answer;
        answer.catch(failed);
        if (isMeasured()) timed(String(operation), answer);
        return answer;
      };
    },
  });
}

function timed(operation: string, answer: Promise<unknown>): void {
  const begin = performance.now();
  const ended = (code: string | undefined) =>
    measure({ name: 'engine-call', operation, ms: performance.now() - begin, code });
  answer.then(
    () => ended(undefined),
    (error: unknown) => ended(error instanceof HoldfastError ? error.code : 'unexpected'),
  );
}
