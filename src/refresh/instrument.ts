import type { Credential } from '../credential.ts';
import type { Held } from '../credentials/sealed-credential-store.ts';
import { HoldfastError, LeaseLostError, LoginRequiredError } from '../errors.ts';
import type { Lease } from '../store/store.ts';
import { isMeasured, measure, type RefreshOutcome } from '../system/metrics.ts';

/**
 * Measures one refresh, from the lease to its outcome.
 *
 * @param step the refresh; calls `sent` when something is about to be presented to the server
 */
export async function measuredRefresh(
  before: Credential,
  { epoch }: Lease,
  step: (sent: () => void) => Promise<Held>,
): Promise<Held> {
  if (!isMeasured()) return step(() => {});
  const startedAt = Date.now();
  const begin = performance.now();
  let attempts = 0;
  const ended = (outcome: RefreshOutcome, code: string | undefined) =>
    measure({
      name: 'refresh',
      outcome,
      issuer: before.server.issuer,
      attempts,
      epoch,
      ms: performance.now() - begin,
      startedAt,
      code,
    });
  let outcome: RefreshOutcome = 'refreshed';
  let code: string | undefined;
  try {
    const held = await step(() => {
      attempts += 1;
    });
    // What another process got: nothing was asked, or its answer counts for more.
    const isOurs = attempts > 0 && (epoch === undefined || held.credential.epoch === epoch);
    if (!isOurs) outcome = 'superseded';
    return held;
  } catch (error) {
    outcome =
      error instanceof LoginRequiredError
        ? 'login-required'
        : error instanceof LeaseLostError
          ? 'superseded'
          : 'failed';
    code = error instanceof HoldfastError ? error.code : 'unexpected';
    throw error;
  } finally {
    ended(outcome, code);
  }
}
