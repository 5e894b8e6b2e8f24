import { expect, onTestFinished, vi } from 'vitest';

/** The bounds of a timer's delay, in milliseconds. */
interface Delay {
  readonly fromMs: number;
  readonly toMs: number;
}

/**
 * Watches the timers of this process. A call that finds a lock held sets a timer for its next attempt, or for the end of
 * its wait. The timer proves that the call tried the lock and waits, on a machine of any speed.
 */
export function watchedTimers() {
  const timers = vi.spyOn(globalThis, 'setTimeout');
  onTestFinished(() => timers.mockRestore());
  return {
    /** Resolves once the call waits with such a timer. Rejects if the call ends without one. */
    async seeWaiting(call: Promise<unknown>, { fromMs, toMs }: Delay): Promise<void> {
      const ended = call.then(() => {
        throw new Error('The call ended, and did not wait.');
      });
      const isSet = () => timers.mock.calls.some(([, ms = 0]) => ms >= fromMs && ms <= toMs);
      await Promise.race([ended, expect.poll(isSet, { timeout: 30_000 }).toBe(true)]);
    },
  };
}
