import { type Credential, isRenewable } from '../credential.ts';
import type { CredentialStore, StoredCredential } from '../credentials/credential-store.ts';
import type { BeginOptions, CredentialLease } from '../credentials/lease/credential-lease.ts';
import { cannotRefresh, loggedOut, MOVED, refused } from '../credentials/login-required.ts';
import { alive, freshness, wasIneffective } from '../credentials/token-age.ts';
import type { VaultEvent } from '../credentials/vault-event.ts';
import { hasMoved } from '../credentials/versions.ts';
import {
  HoldfastError,
  InvalidArgumentError,
  LeaseLostError,
  LockTimeoutError,
  NetworkError,
  OAuthError,
} from '../errors.ts';
import { quote } from '../quote.ts';
import { step } from '../system/checkpoints.ts';
import { thisMoment } from '../system/clock.ts';
import type { Environment } from '../system/environment.ts';
import { sleep } from '../system/locks/keyed-mutex.ts';
import type { MachineUse } from '../system/os/machine-note.ts';
import { applyTokenResponse } from './apply-token-response.ts';
import { RefreshSpan } from './instrument.ts';
import { RefusalBreaker } from './refusal-breaker.ts';
import { requestTokens, type TokenAnswer } from './request-tokens.ts';
import { RetryState } from './retry-state.ts';
import type { ReusePolicy } from './reuse-policy.ts';
import { SingleFlight, type Wait } from './single-flight.ts';

/*
 * Refresh exactly once (DESIGN section 6, docs/refresh.md, docs/fleet.md), whatever the store. In one process concurrent
 * callers share one run; between processes and machines the lease decides, and its holder knows the credential as it is then.
 * The lease is checked again right before the first byte leaves. What the server answers is never dropped
 * (credentials/outbox/outbox.ts).
 */

/**
 * How long a token endpoint may take, in milliseconds. Long, since a request that is given up may still be processed: a
 * caller waits for as long as it said, and the refresh goes on without it.
 */
const REQUEST_TIMEOUT_MS = 90_000;

/** One run asks the server at most this often; a caller that still has time begins another run. */
const TRIES_A_RUN = 5;

/** How long the request of a process that was killed may take to be processed, in milliseconds. */
const LEFT_BEHIND_MS = 2_000;

/** The answers of RFC 6749 section 5.2 that end a login: the grant, or the client, is gone. */
const FINAL = new Set(['invalid_grant', 'invalid_client']);

export interface RefreshWait extends Wait {
  /** How long to wait for a living holder of the lease, in milliseconds. */
  readonly leaseMs: number;
  /** The token at hand is refreshed before its time: its server refused it. */
  readonly refused?: boolean | undefined;
  /** Asks although the login is marked as ended: the refusal may have passed. */
  readonly probe?: boolean | undefined;
}

/** One run: what its starter allows, and until when, on the monotonic clock. */
interface Run extends RefreshWait {
  readonly end: number;
}

export interface RefreshParts {
  readonly store: CredentialStore;
  readonly environment: Environment;
  readonly policy: ReusePolicy;
  readonly report: (event: VaultEvent) => void;
}

export class Refresh {
  readonly #store: CredentialStore;
  readonly #environment: Environment;
  readonly #policy: ReusePolicy;
  readonly #report: (event: VaultEvent) => void;
  readonly #flights = new SingleFlight<StoredCredential>();
  readonly #closing = new AbortController();
  readonly #breaker = new RefusalBreaker();

  constructor({ store, environment, policy, report }: RefreshParts) {
    this.#store = store;
    this.#environment = environment;
    this.#policy = policy;
    this.#report = report;
  }

  /**
   * A later state of the credential than `stale`: refreshed here, or by another process that was first.
   *
   * @throws LoginRequiredError when the server refused the refresh token for good, or there is none
   * @throws LockTimeoutError, TimeoutError when the wait was over first
   * @throws NetworkError, OAuthError, InvalidResponseError for what the server did; the credential is as it was
   * @throws RefreshLimitedError when the last refreshes yielded nothing usable
   * @throws StorageFullError, StorageUnwritableError when there is no room for new tokens; the server was not asked
   * @throws AbortedError for the caller's signal, VaultClosedError after `close`
   */
  refresh(stale: StoredCredential, wait: RefreshWait): Promise<StoredCredential> {
    return this.#flights.join(stale.address.id, wait, wait.leaseMs > 0, (waitMs) =>
      this.#run(stale, { ...wait, end: performance.now() + waitMs }),
    );
  }

  /**
   * Starts nothing more, lets the requests under way end, so that their answers are saved, and tries once more to write
   * what the store could not take.
   *
   * @returns what is saved nowhere that outlives this process
   */
  async close(): Promise<readonly Credential[]> {
    this.#closing.abort();
    await this.#flights.settled();
    return this.#store.settle();
  }

  async #run(stale: StoredCredential, run: Run): Promise<StoredCredential> {
    for (;;) {
      try {
        return await this.#refreshOnce(stale, run);
      } catch (error) {
        // It lapsed before anything was sent: somebody else has it, or it is there to be claimed again.
        const isLost = error instanceof LeaseLostError && run.leaseMs > 0;
        if (!isLost || performance.now() >= run.end) throw error;
      }
    }
  }

  /** One refresh, from the lease to its outcome. */
  async #refreshOnce(stale: StoredCredential, run: Run): Promise<StoredCredential> {
    const lease = this.#store.lease(stale);
    let span: RefreshSpan | undefined;
    try {
      step('lease-wanted');
      let current = due(await lease.begin(await this.#patience(stale.credential, run)), stale, run);
      step('lease-held');
      if (hasMoved(current.credential, stale.credential)) return current;

      const { credential } = current;
      let retry = retryStateOf(lease, credential, run);
      await this.#letPass(retry, credential, lease, run);
      span = new RefreshSpan(credential, lease.epoch);
      const abandonedAt = retry.abandonedAt ?? lease.abandonedAt;
      for (let tries = 1; ; tries += 1) {
        if (await this.#waitOut(retry, credential, lease, run)) {
          // Meanwhile the answer of a holder that was given up may have come, or a login.
          current = due(await lease.look(), stale, run);
          if (hasMoved(current.credential, stale.credential)) return current;
        }
        const room = await this.#store.reserve(current);
        step('space-reserved');
        await lease.leave(retry.sending(lease.now()).noteText);
        step('intent-noted');
        const outcome = await this.#request(credential, lease, span);
        await room.release();

        if ('answer' in outcome) {
          const next = applyTokenResponse(credential, outcome.answer);
          retry = retry.succeeded(next);
          if (freshness(next, thisMoment()) === 'lapsed') retry = retry.ineffective(lease.now());
          const saved = usable(await lease.complete(next, retry.noteText), outcome.answer);
          step('outcome-noted');
          span.succeeded(saved.credential);
          return saved;
        }
        const { error } = outcome;
        const isRefusal = isFinal(error, credential);
        if (isRefusal && this.#breaker.refused(credential, stale.address.id)) {
          await lease.leave(retry.disbelieved(error, lease.now()).noteText);
          throw disbelieved(error, credential);
        }
        if (isRefusal && retry.wasRefused(lease.now())) {
          await lease.leave(retry.ended(error, lease.now()).noteText);
          if (abandonedAt !== undefined) this.#policy.learnStrict(credential);
          const reason = await reasonOf(error, abandonedAt, () => this.#store.machines(current));
          return await markRefused(lease, current, error, reason);
        }
        retry = afterFailure(retry, error, isRefusal, credential, lease.now());
        await lease.leave(retry.noteText);
        step('outcome-noted');
        if (!this.#mayTryAgain(error, isRefusal, retry, tries, lease, run)) throw error;
      }
    } catch (error) {
      span?.failed(error);
      throw error;
    } finally {
      await lease.release();
      step('lease-released');
    }
  }

  /** How long to wait for the lease: as long as the caller allows, and as this server needs. */
  async #patience(credential: Credential, { leaseMs, end }: Run): Promise<BeginOptions> {
    return {
      waitMs: Math.min(leaseMs, Math.max(0, end - performance.now())),
      signal: this.#closing.signal,
      canWaitMs: await this.#policy.canWaitMs(credential, thisMoment()),
      unlessMoved: true,
    };
  }

  /** Sends the request, fenced at its first byte, once all holders can know of it. */
  async #request(credential: Credential, lease: CredentialLease, span: RefreshSpan): Promise<Outcome> {
    // A strict server answers nobody twice, so there nobody asks who else has sent the token.
    if ((await this.#policy.of(credential)) !== 'strict') lease.announce();
    const beforeSend = () => {
      lease.fence();
      span.sent();
    };
    try {
      const onConnected = () => lease.confirm();
      const afterSend = () => lease.sent();
      const options = { timeoutMs: REQUEST_TIMEOUT_MS, onConnected, beforeSend, afterSend };
      return { answer: await requestTokens(credential, this.#environment, options) };
    } catch (error) {
      return { error };
    }
  }

  /**
   * A holder that was killed may have left a request behind that the server has not come to yet. If it came to it after ours,
   * that answer would count, and nobody has it. A claim that lapses gives it the time; a lock of the kernel is free at once.
   */
  async #letPass(retry: RetryState, credential: Credential, lease: CredentialLease, run: Run): Promise<void> {
    const { abandonedAt } = retry;
    if (!lease.passesAtOnce || abandonedAt === undefined) return;
    const left = Math.min(abandonedAt + LEFT_BEHIND_MS - lease.now(), LEFT_BEHIND_MS);
    if (left <= 0) return;
    // A strict server ends the login in either order, so without a token that serves there is nothing to wait for.
    const serves = alive(credential, thisMoment());
    if (!serves && (await this.#policy.of(credential)) === 'strict') return;
    if (run.leaseMs === 0 || performance.now() + left > run.end) {
      throw new LockTimeoutError('A process ended in the middle of refreshing this login a moment ago.', {
        hint: serves
          ? 'Try again in a few seconds; the token that is there serves meanwhile.'
          : 'Try again in a few seconds.',
      });
    }
    await sleep(left, this.#closing.signal);
  }

  /**
   * Lets the pause go by that the last failure asks for; throws that failure when the run has less time.
   *
   * @returns whether there was one
   */
  async #waitOut(
    retry: RetryState,
    credential: Credential,
    lease: CredentialLease,
    { end }: Run,
  ): Promise<boolean> {
    const pauseMs = retry.pauseMs(lease.now());
    if (pauseMs > 0 && performance.now() + pauseMs > end) throw retry.failure(credential, lease.now());
    await sleep(pauseMs, this.#closing.signal);
    return pauseMs > 0;
  }

  #mayTryAgain(
    error: unknown,
    isRefusal: boolean,
    retry: RetryState,
    tries: number,
    lease: CredentialLease,
    { end, leaseMs }: Run,
  ): boolean {
    // Under a lease that is lost nothing can be sent any more.
    if (error instanceof LeaseLostError) return false;
    const over = performance.now() + retry.pauseMs(lease.now()) > end;
    // A caller that would not wait for the lease does not wait for a server either: the old token has life left.
    const mayPass = isRefusal || (error instanceof HoldfastError && error.retryable && leaseMs > 0);
    if (!mayPass || over || tries === TRIES_A_RUN || !(error instanceof HoldfastError)) return false;
    // A refusal that is asked about a second time is no news yet.
    if (!isRefusal)
      this.#report({ type: 'refresh-retry', message: `${error.message} Trying again.`, hint: error.hint });
    return true;
  }
}

/** @throws the reason why the access token of the answer cannot be used; its refresh token is saved */
function usable(saved: StoredCredential, { problem }: TokenAnswer): StoredCredential {
  if (problem !== undefined) throw problem;
  return saved;
}

type Outcome = { readonly answer: TokenAnswer } | { readonly error: unknown };

/**
 * The credential as it is now, where it is to be refreshed or has been.
 *
 * @throws LoginRequiredError when it was removed, or can be refreshed no more
 */
function due(
  current: StoredCredential | undefined,
  stale: StoredCredential,
  { probe = false }: Pick<RefreshWait, 'probe'> = {},
): StoredCredential {
  if (current === undefined) throw loggedOut(stale.credential);
  const { credential } = current;
  if (hasMoved(credential, stale.credential)) return current;
  const isMarked = credential.loginRequired !== undefined;
  if (isMarked && (!probe || credential.loginRequired?.error === MOVED)) throw refused(credential);
  if (!isRenewable(credential)) throw cannotRefresh(credential);
  return current;
}

/** @throws RefreshLimitedError when the last refreshes yielded nothing usable */
function retryStateOf(lease: CredentialLease, credential: Credential, run: Run): RetryState {
  const now = lease.now();
  const read = RetryState.read(lease.note, credential, now);
  const isIneffective = run.refused === true && wasIneffective(credential, thisMoment());
  const retry = isIneffective ? read.ineffective(now) : read;
  retry.checkEffective(credential, now);
  return retry;
}

/** What the next holder is told of a failed request. */
function afterFailure(
  retry: RetryState,
  error: unknown,
  isRefusal: boolean,
  credential: Credential,
  now: number,
): RetryState {
  // Nothing was sent, so nothing of it stays in the note.
  const isOurs = error instanceof LeaseLostError || error instanceof InvalidArgumentError;
  if (!(error instanceof HoldfastError) || isOurs) return retry;
  return isRefusal ? retry.refused(error, now) : retry.failed(error, now, alive(credential, thisMoment()));
}

function disbelieved(error: OAuthError, { server }: Credential): NetworkError {
  return new NetworkError(
    `${error.message} ${quote(server.issuer)} refuses many logins at the moment, so none of them was ended.`,
    { hint: 'Try again in a few minutes.' },
  );
}

/**
 * Whether the server refused the grant or the client, which ends the login when it is said twice. What another grant than a refresh token presents is renewed by others, so its
 * refusal says nothing of the next one; and an assertion of the client's is refused for a wrong clock, too.
 */
function isFinal(error: unknown, { grant, client }: Credential): error is OAuthError {
  if (!(error instanceof OAuthError) || grant !== undefined || !FINAL.has(error.error)) return false;
  return error.error === 'invalid_grant' || client.authMethod !== 'private_key_jwt';
}

/**
 * The server refused for good. Only the generation that it refused is marked; a later one is simply used.
 *
 * @throws LoginRequiredError unless there is a later one
 */
async function markRefused(
  lease: CredentialLease,
  current: StoredCredential,
  error: OAuthError,
  reason: string,
): Promise<StoredCredential> {
  for (;;) {
    const stored = due(await lease.look(), current);
    if (hasMoved(stored.credential, current.credential)) return stored;
    const loginRequired = { reason, error: error.error, since: Date.now() };
    const marked: Credential = { ...stored.credential, loginRequired };
    // The mark only spares the next caller a request; what the server said holds without it.
    const written = await lease.replace(stored, marked).catch(() => 'followed' as const);
    if (written !== 'changed') throw refused(marked);
  }
}

async function reasonOf(
  error: OAuthError,
  abandonedAt: number | undefined,
  machines: () => Promise<readonly MachineUse[]>,
): Promise<string> {
  if (abandonedAt !== undefined) {
    return `${error.message} A process ended in the middle of its refresh at ${new Date(abandonedAt).toISOString()}, and the server’s answer with it.`;
  }
  if (error.error !== 'invalid_grant') return error.message;
  const { otherMachine } = await import('../system/os/machine-note.ts');
  const other = await otherMachine(await machines());
  return other === undefined
    ? `${error.message} It was ended there, or a copy of it was used first: a backup, or another machine.`
    : `${error.message} It was ended there, or a copy of it was used first: this directory was also used on the machine ${quote(other.host)} (from ${new Date(other.at).toISOString()}). Two machines that use copies of one login log each other out, so log in on each of them.`;
}
