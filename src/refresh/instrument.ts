import type { Credential } from '../credential.ts';
import { HoldfastError, LeaseLostError, LoginRequiredError } from '../errors.ts';
import { isMeasured, measure, type RefreshOutcome } from '../system/metric-channel.ts';

/** Measures one refresh, from the lease to its outcome, while there is a subscriber. */
export class RefreshSpan {
  readonly #before: Credential;
  readonly #epoch: number | undefined;
  readonly #startedAt = Date.now();
  readonly #begin = performance.now();
  #attempts = 0;

  constructor(before: Credential, epoch: number | undefined) {
    this.#before = before;
    this.#epoch = epoch;
  }

  /** Counts a request that is about to be sent. */
  sent(): void {
    this.#attempts += 1;
  }

  /** @param saved the credential that is stored now: this answer, or another process's */
  succeeded(saved: Credential): void {
    const isOurs = this.#attempts > 0 && (this.#epoch === undefined || saved.epoch === this.#epoch);
    this.#ended(isOurs ? 'refreshed' : 'superseded', undefined);
  }

  failed(error: unknown): void {
    const outcome =
      error instanceof LoginRequiredError
        ? 'login-required'
        : error instanceof LeaseLostError
          ? 'superseded'
          : 'failed';
    this.#ended(outcome, error instanceof HoldfastError ? error.code : 'unexpected');
  }

  #ended(outcome: RefreshOutcome, code: string | undefined): void {
    if (!isMeasured()) return;
    measure({
      name: 'refresh',
      outcome,
      issuer: this.#before.server.issuer,
      attempts: this.#attempts,
      epoch: this.#epoch,
      ms: performance.now() - this.#begin,
      startedAt: this.#startedAt,
      code,
    });
  }
}
