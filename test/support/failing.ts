import type { HoldfastError } from '../../src/errors.ts';

/** What the work fails with; it is an error if it does not. */
export async function failing(work: Promise<unknown> | (() => unknown)): Promise<HoldfastError> {
  try {
    await (typeof work === 'function' ? work() : work);
  } catch (error) {
    return error as HoldfastError;
  }
  throw new Error('It did not fail.');
}
