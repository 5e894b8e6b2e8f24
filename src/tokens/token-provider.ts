import { CredentialId, isRenewable } from '../credential.ts';
import type { CredentialStore, Lookup } from '../credentials/credential-store.ts';
import { cannotRefresh, notLoggedInNear, refused } from '../credentials/login-required.ts';
import { alive, freshFor, freshness, servedFor } from '../credentials/token-age.ts';
import {
  HoldfastError,
  InvalidArgumentError,
  InvalidResponseError,
  LockTimeoutError,
  LoginRequiredError,
  NetworkError,
} from '../errors.ts';
import { quote } from '../quote.ts';
import type { SharedRefresh } from '../refresh/shared-refresh.ts';
import { type Moment, thisMoment } from '../system/clock.ts';
import { measure } from '../system/metric-channel.ts';
import type { AccessToken, TokenOptions } from './access-token.ts';
import { type CachedToken, cachedToken, TokenCache } from './token-cache.ts';

/*
 * Chooses the token that a caller gets, and decides when to refresh it. A fresh token from memory comes first, after a
 * check for changes by other processes; then the store's token; then a refreshed one. The old token serves meanwhile,
 * if it is valid.
 */

/**
 * How long a caller is served without a check for changes by other processes, in milliseconds, unless the store says
 * otherwise.
 */
const LOOK_EVERY_MS = 500;

const DEFAULT_DEADLINE_MS = 60_000;

/** setTimeout overflows above this. */
const LONGEST_DEADLINE_MS = 2 ** 31 - 1;

/** How long a caller waits for an early refresh before it gets the token that is still valid, in milliseconds. */
const EARLY_WAIT_MS = 2_000;

/** How long a valid token is served without a retry after a failed refresh, in milliseconds. */
const RETRY_PAUSE_MS = 5_000;

/** Maximum number of refreshes in one call, for servers whose new tokens are expired on arrival. */
const REFRESHES_A_CALL = 3;

export class TokenProvider {
  readonly #store: CredentialStore;
  readonly #refresh: SharedRefresh;
  readonly #cache = new TokenCache();

  constructor(store: CredentialStore, refresh: SharedRefresh) {
    this.#store = store;
    this.#refresh = refresh;
  }

  /** Returns the token in memory, if it may be served without contacting anyone. */
  atOnce(resource: string, options: TokenOptions | undefined): AccessToken | undefined {
    const cached = this.#cache.get(resource, options?.account);
    const good =
      cached !== undefined && cached.access.generation !== options?.rejectedGeneration && isCurrent(cached);
    if (!good) return undefined;
    measure({ name: 'served', from: 'memory' });
    return cached.access;
  }

  /**
   * Drops cached tokens, so that the next call looks them up again.
   *
   * @param id that login only; without it, all logins
   */
  forget(id?: CredentialId): void {
    this.#cache.forget(id);
  }

  /** Compares every cached token with the store before it is served again. */
  lookAgain(): void {
    this.#cache.lookAgain();
  }

  /** Returns a valid token; throws the errors of `Vault.token`. */
  async token(resource: string, options: TokenOptions): Promise<AccessToken> {
    const end = performance.now() + deadlineOf(options);
    const { epoch } = this.#cache;
    const lookEveryMs = this.#store.lookEveryMs ?? LOOK_EVERY_MS;
    const cached = this.#cache.get(resource, options.account);
    const id = cached?.id ?? CredentialId.of(resource, options.account);
    const found = await this.#current(cached, id).catch((error: unknown) => {
      // A store that is down takes no token away from this process, no matter which call fetched it.
      const passes = error instanceof HoldfastError && error.retryable;
      const known = this.#cache.get(resource, options.account);
      const good = known !== undefined && known.access.generation !== options.rejectedGeneration;
      if (!passes || !good || !alive(known.held.credential, thisMoment())) throw error;
      return { held: known.held, kids: known.kids === '' ? [] : known.kids.split(',') };
    });
    if (found === undefined) {
      this.#cache.delete(resource, options.account);
      throw await notLoggedInNear(id, this.#store);
    }
    let { held } = found;
    const serve = async (ms: number): Promise<AccessToken> => {
      if (cached?.held === held) {
        measure({ name: 'served', from: 'memory' });
        cached.servedUntil = performance.now() + ms;
        lookAgainIn(cached, Math.min(ms, lookEveryMs));
        return cached.access;
      }
      measure({ name: 'served', from: held === found.held ? 'store' : 'refresh' });
      const made = await cachedToken(id, options.account, { held, kids: found.kids }, performance.now() + ms);
      lookAgainIn(made, Math.min(ms, lookEveryMs));
      this.#cache.set(epoch, resource, made);
      return made.access;
    };
    for (let refreshes = 0; ; refreshes += 1) {
      const { credential } = held;
      if (credential.loginRequired !== undefined) throw refused(credential);
      const now = thisMoment();
      const isRefused = credential.generation === options.rejectedGeneration;
      const state = isRefused ? 'lapsed' : freshness(credential, now);
      if (state === 'fresh') return serve(freshFor(credential, now));
      const living = !isRefused && alive(credential, now);
      // Its refresh failed a moment ago.
      if (living && cached?.held === held && performance.now() < cached.servedUntil) {
        measure({ name: 'served', from: 'memory' });
        return cached.access;
      }
      if (!isRenewable(credential)) {
        if (!living) throw cannotRefresh(credential);
        return serve(servedFor(credential, now, Number.POSITIVE_INFINITY));
      }
      if (refreshes === REFRESHES_A_CALL) {
        throw new InvalidResponseError(
          `The tokens that ${quote(credential.server.issuer)} gives are expired on arrival.`,
          {
            hint: 'Check the clock of this machine: date. If it is right, the server is at fault.',
          },
        );
      }
      const left = Math.max(0, end - performance.now());
      try {
        held = await this.#refresh.refresh(held, {
          leaseMs: state === 'early' ? 0 : left,
          waitMs: state === 'early' ? Math.min(left, EARLY_WAIT_MS) : left,
          signal: options.signal,
          refused: isRefused,
        });
      } catch (error) {
        // A failed refresh takes no valid token away; only the token's server and its caller can.
        const over = error instanceof LoginRequiredError || options.signal?.aborted === true || isRefused;
        const then: Moment = thisMoment();
        if (!over && alive(credential, then)) return serve(servedFor(credential, then, retryPauseMs(error)));
        // Another call of this process may have succeeded meanwhile.
        const known = this.#cache.get(resource, options.account);
        if (!over && known !== undefined && known !== cached && alive(known.held.credential, then))
          return known.access;
        throw error instanceof LockTimeoutError ? refreshTakesLong(error, id) : error;
      }
    }
  }

  /** Returns the cached credential if no other process has changed it; else the stored one, if any. */
  async #current(cached: CachedToken | undefined, id: CredentialId): Promise<Lookup | undefined> {
    this.#store.flushSoon();
    if (cached !== undefined) {
      const [kids, version] = await Promise.all([
        this.#store.kidsOf(cached.id.recordId),
        this.#store.version(cached.held),
      ]);
      if (kids.join() === cached.kids && version === cached.held.version) {
        return { held: cached.held, kids };
      }
    }
    const found = await this.#store.find(id);
    return found && { ...found, held: this.#store.newest(found.held, cached?.held) };
  }
}

/** Checks both clocks: the monotonic one stops while a laptop sleeps, and the wall clock may be set back. */
function isCurrent({ lookAgainAt }: CachedToken): boolean {
  return performance.now() < lookAgainAt.monotonic && Date.now() < lookAgainAt.wall;
}

function lookAgainIn(cached: CachedToken, ms: number): void {
  cached.lookAgainAt = { monotonic: performance.now() + ms, wall: Date.now() + ms };
}

function deadlineOf({ timeoutMs = DEFAULT_DEADLINE_MS }: TokenOptions): number {
  if (timeoutMs >= 0) return Math.min(timeoutMs, LONGEST_DEADLINE_MS);
  throw new InvalidArgumentError('The deadline must be a number of milliseconds, 0 or more.');
}

/** The server may ask for a longer pause than the default one. */
function retryPauseMs(error: unknown): number {
  const asked = error instanceof NetworkError ? error.retryAfterMs : undefined;
  return Math.max(RETRY_PAUSE_MS, asked ?? 0);
}

function refreshTakesLong(cause: LockTimeoutError, { resource }: CredentialId): LockTimeoutError {
  return new LockTimeoutError(
    `Another process is refreshing the login to ${resource}, and has not ended. ${cause.message}`,
    {
      cause,
      ...(cause.hint === undefined ? {} : { hint: cause.hint }),
    },
  );
}
