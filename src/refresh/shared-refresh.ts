import type { Credential } from '../credential.ts';
import type { StoredCredential } from '../credentials/credential-store.ts';
import type { Refresh, RefreshParts, RefreshWait } from './refresh.ts';
import { SingleFlight } from './single-flight.ts';

/**
 * The refreshes of one process: concurrent callers share one run. The code of a run loads with the first one, since a
 * process that serves fresh tokens needs none of it.
 */
export class SharedRefresh {
  readonly #parts: RefreshParts;
  readonly #flights = new SingleFlight<StoredCredential>();
  readonly #closing = new AbortController();
  #refresh: Promise<Refresh> | undefined;

  constructor(parts: RefreshParts) {
    this.#parts = parts;
  }

  /**
   * Refreshes the credential, or finds that another process has refreshed it.
   *
   * @returns a later state of the credential than `stale`
   * @throws LoginRequiredError when the server refused the refresh token for good, or the login has no refresh token
   * @throws LockTimeoutError, TimeoutError when the wait ended first
   * @throws NetworkError, OAuthError, InvalidResponseError when the server failed; the credential is unchanged
   * @throws RefreshLimitedError when the last refreshes yielded no usable token
   * @throws StorageFullError, StorageUnwritableError when there is no room for new tokens; the server was not asked
   * @throws AbortedError for the caller's signal, VaultClosedError after `close`
   */
  refresh(stale: StoredCredential, wait: RefreshWait): Promise<StoredCredential> {
    return this.#flights.join(stale.address.id, wait, wait.leaseMs > 0, async (waitMs) => {
      const end = performance.now() + waitMs;
      this.#refresh ??= import('./refresh.ts').then(
        ({ Refresh }) => new Refresh(this.#parts, this.#closing.signal),
      );
      return (await this.#refresh).run(stale, { ...wait, end });
    });
  }

  /**
   * Starts no new requests and waits for the running ones, so that their answers are saved. Then it tries once more to
   * write the states that the store could not take.
   *
   * @returns the credentials that are saved nowhere that outlives this process
   */
  async close(): Promise<readonly Credential[]> {
    this.#closing.abort();
    await this.#flights.settled();
    return this.#parts.store.settle();
  }
}
