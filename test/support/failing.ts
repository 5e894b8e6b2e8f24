import type { HoldfastError } from '../../src/errors.ts';

/** Returns the error that the work fails with, and throws if it succeeds. */
export async function failing(work: Promise<unknown> | (() => unknown)): Promise<HoldfastError> {
  try {
    await (typeof work === 'function' ? work() : work);
  } catch (error) {
    return error as HoldfastError;
  }
  throw new Error('It did not fail.');
}
