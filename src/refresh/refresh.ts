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
import { defined } from '../values/defined.ts';
import { applyTokenResponse } from './apply-token-response.ts';
import { RefreshSpan } from './instrument.ts';
import { RefusalBreaker } from './refusal-breaker.ts';
import { requestTokens, type TokenAnswer } from './request-tokens.ts';
import { RetryState } from './retry-state.ts';
import type { ReusePolicy } from './reuse-policy.ts';
import type { Wait } from './single-flight.ts';

/*
 * Refreshes each credential exactly once, whatever the store (DESIGN section 6, docs/refresh.md, docs/fleet.md). In one
 * process, concurrent callers share one run (shared-refresh.ts). Between processes and machines the lease decides, and its
 * holder reads the credential again. Right before the first byte leaves, the holder checks the lease once more. The
 * outbox makes sure that no answer of a server is dropped (credentials/outbox/outbox.ts).
 */

/**
 * Time limit for a token endpoint, in milliseconds. It is long because a server may still process a request that we
 * give up. A caller waits only as long as it asked to; the refresh continues without it.
 */
const REQUEST_TIMEOUT_MS = 90_000;

/** Maximum number of requests in one run. A caller that still has time starts another run. */
const TRIES_A_RUN = 5;

/** Time that a server may need to process the request of a killed process, in milliseconds. */
const LEFT_BEHIND_MS = 2_000;

/** The errors of RFC 6749 section 5.2 that end a login: the server has dropped the grant or the client. */
const FINAL = new Set(['invalid_grant', 'invalid_client']);

export interface RefreshWait extends Wait {
  /** How long to wait for a living holder of the lease, in milliseconds. */
  readonly leaseMs: number;
  /** Refreshes the current token before it is due, because its server refused it. */
  readonly refused?: boolean | undefined;
  /** Sends a request although the login is marked as ended, because the refusal may have been temporary. */
  readonly probe?: boolean | undefined;
}

/** One run: the options of the caller that started it, and its deadline on the monotonic clock. */
export interface Run extends RefreshWait {
  readonly end: number;
}

export interface RefreshParts {
  readonly store: CredentialStore;
  readonly environment: Environment;
  readonly policy: ReusePolicy;
  readonly report: (event: VaultEvent) => void;
}

/** The runs of one process. */
export class Refresh {
  readonly #store: CredentialStore;
  readonly #environment: Environment;
  readonly #policy: ReusePolicy;
  readonly #report: (event: VaultEvent) => void;
  readonly #closing: AbortSignal;
  readonly #breaker = new RefusalBreaker();

  /** @param closing ends the waits, and no request starts any more */
  constructor({ store, environment, policy, report }: RefreshParts, closing: AbortSignal) {
    this.#store = store;
    this.#environment = environment;
    this.#policy = policy;
    this.#report = report;
    this.#closing = closing;
  }

  /** Runs until the refresh has an outcome. Throws what `SharedRefresh.refresh` throws. */
  async run(stale: StoredCredential, run: Run): Promise<StoredCredential> {
    for (;;) {
      try {
        return await this.#refreshOnce(stale, run);
      } catch (error) {
        // The lease expired before we sent anything. Another process holds it, or we can claim it again.
        const isLost = error instanceof LeaseLostError && run.leaseMs > 0;
        if (!isLost || performance.now() >= run.end) throw error;
      }
    }
  }

  /** Runs one refresh, from the lease to its outcome. */
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
          // During the pause, the answer of a holder that was given up, or a new login, may have arrived.
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
        if (!this.#mayTryAgain(credential, error, isRefusal, retry, tries, lease, run)) throw error;
      }
    } catch (error) {
      span?.failed(error);
      throw error;
    } finally {
      await lease.release();
      step('lease-released');
    }
  }

  /** How long to wait for the lease: as long as the caller allows and this server needs. */
  async #patience(credential: Credential, { leaseMs, end }: Run): Promise<BeginOptions> {
    return {
      waitMs: Math.min(leaseMs, Math.max(0, end - performance.now())),
      signal: this.#closing,
      canWaitMs: await this.#policy.canWaitMs(credential, thisMoment()),
      unlessMoved: true,
    };
  }

  /** Sends the request after all other holders can know about it. The first byte is fenced. */
  async #request(credential: Credential, lease: CredentialLease, span: RefreshSpan): Promise<Outcome> {
    // A strict server answers a refresh token only once, so no other holder needs to know that we sent it.
    if ((await this.#policy.of(credential)) !== 'strict') lease.announce();
    const beforeSend = () => {
      lease.fence();
      span.sent();
    };
    try {
      const onConnected = () => lease.confirm();
      const afterSend = () => lease.sent();
      const environment = this.#environment;
      const options = { timeoutMs: REQUEST_TIMEOUT_MS, environment, onConnected, beforeSend, afterSend };
      return { answer: await requestTokens(credential, environment, options) };
    } catch (error) {
      return { error };
    }
  }

  /**
   * Waits for a request that a killed holder may have left behind. If the server processed it after ours, its answer
   * would count, and no process has that answer. A claim that expires gives the server this time; a kernel lock is free
   * at once.
   */
  async #letPass(retry: RetryState, credential: Credential, lease: CredentialLease, run: Run): Promise<void> {
    const { abandonedAt } = retry;
    if (!lease.passesAtOnce || abandonedAt === undefined) return;
    const left = Math.min(abandonedAt + LEFT_BEHIND_MS - lease.now(), LEFT_BEHIND_MS);
    if (left <= 0) return;
    // A strict server ends the login in either order. Without a usable token there is nothing to wait for.
    const serves = alive(credential, thisMoment());
    if (!serves && (await this.#policy.of(credential)) === 'strict') return;
    if (run.leaseMs === 0 || performance.now() + left > run.end) {
      throw new LockTimeoutError('A process ended in the middle of refreshing this login a moment ago.', {
        hint: serves
          ? 'Try again in a few seconds; the token that is there serves meanwhile.'
          : 'Try again in a few seconds.',
      });
    }
    await sleep(left, this.#closing);
  }

  /**
   * Waits out the pause that the last failure requires.
   *
   * @returns whether there was a pause
   * @throws that failure when the pause would outlast the run
   */
  async #waitOut(
    retry: RetryState,
    credential: Credential,
    lease: CredentialLease,
    { end }: Run,
  ): Promise<boolean> {
    const pauseMs = retry.pauseMs(lease.now());
    if (pauseMs > 0 && performance.now() + pauseMs > end) throw retry.failure(credential, lease.now());
    await sleep(pauseMs, this.#closing);
    return pauseMs > 0;
  }

  #mayTryAgain(
    { resource, account }: Credential,
    error: unknown,
    isRefusal: boolean,
    retry: RetryState,
    tries: number,
    lease: CredentialLease,
    { end, leaseMs }: Run,
  ): boolean {
    // Nothing more can be sent under a lost lease.
    if (error instanceof LeaseLostError) return false;
    const over = performance.now() + retry.pauseMs(lease.now()) > end;
    // A caller that would not wait for the lease does not wait for a server either: the old token is still valid.
    const mayPass = isRefusal || (error instanceof HoldfastError && error.retryable && leaseMs > 0);
    if (!mayPass || over || tries === TRIES_A_RUN || !(error instanceof HoldfastError)) return false;
    // The first refusal is not reported yet; the server is asked a second time.
    if (!isRefusal) {
      const { message, hint, code } = error;
      this.#report(
        defined({
          type: 'refresh-retry',
          message: `${message} Trying again.`,
          hint,
          resource,
          account,
          code,
        }),
      );
    }
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
 * Returns the current credential, if it needs a refresh or has had one.
 *
 * @throws LoginRequiredError when it was removed, or can no longer be refreshed
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

/** @throws RefreshLimitedError when the last refreshes yielded no usable token */
function retryStateOf(lease: CredentialLease, credential: Credential, run: Run): RetryState {
  const now = lease.now();
  const read = RetryState.read(lease.note, credential, now);
  const isIneffective = run.refused === true && wasIneffective(credential, thisMoment());
  const retry = isIneffective ? read.ineffective(now) : read;
  retry.checkEffective(credential, now);
  return retry;
}

/** Records a failed request for the next holder. */
function afterFailure(
  retry: RetryState,
  error: unknown,
  isRefusal: boolean,
  credential: Credential,
  now: number,
): RetryState {
  // Nothing was sent, so the note records nothing.
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
 * Whether the server refused the grant or the client, which ends the login on the second refusal. Other grants than a
 * refresh token send an assertion that somebody else renews, so their refusal says nothing about the next request. A
 * client's assertion may also be refused because of a wrong clock.
 */
function isFinal(error: unknown, { grant, client }: Credential): error is OAuthError {
  if (!(error instanceof OAuthError) || grant !== undefined || !FINAL.has(error.error)) return false;
  return error.error === 'invalid_grant' || client.authMethod !== 'private_key_jwt';
}

/**
 * Marks the login as refused for good. It marks only the refused generation; it returns a later one if there is one.
 *
 * @throws LoginRequiredError unless there is a later generation
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
    // The mark only saves the next caller a request. The server's refusal holds without it.
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
