import { type Credential, isRenewable } from '../credential.ts';
import { cannotRefresh, loggedOut, refused } from '../credentials/login-required.ts';
import { Landing, nameOfRecord } from '../credentials/outbox.ts';
import type { Custody, Held } from '../credentials/sealed-credential-store.ts';
import { alive, freshness, wasOfNoUse } from '../credentials/token-age.ts';
import type { VaultEvent } from '../credentials/vault-event.ts';
import { hasMoved } from '../credentials/versions.ts';
import {
  AbortedError,
  HoldfastError,
  LeaseLostError,
  LockTimeoutError,
  NetworkError,
  OAuthError,
  TimeoutError,
  VaultClosedError,
} from '../errors.ts';
import type { Lease } from '../store/store.ts';
import { thisMoment } from '../system/clock.ts';
import { step } from '../system/steps.ts';
import { pause } from '../system/turn.ts';
import { following } from './apply-token-response.ts';
import { measuredRefresh } from './instrument.ts';
import type { Redeemed } from './request-tokens.ts';
import { Attempts } from './retry-state.ts';
import { Replays } from './reuse-policy.ts';

/*
 * Refresh exactly once (DESIGN section 6, docs/refresh.md, docs/fleet.md), whatever the store. In one process concurrent
 * callers share one promise; between processes and machines the lease decides, and who gets it knows the record as it is
 * then. Where the lease is a claim that can pass to another, it is looked at again right before the first byte leaves.
 * What the server answers is never dropped (landing.ts).
 */

/**
 * Asks the token endpoint for the next tokens: by the refresh token, or by the grant that needs none.
 *
 * @param beforeSend called right before the first byte leaves; what it throws keeps that from leaving
 */
export type Redeem = (credential: Credential, beforeSend: () => void) => Promise<Redeemed>;

export interface RefreshWait {
  /** How long to wait for a living holder of the lease, in milliseconds. */
  readonly leaseMs: number;
  /** How long to wait in all, in milliseconds; the refresh itself goes on. */
  readonly waitMs: number;
  /** Ends this caller's wait only. */
  readonly signal?: AbortSignal | undefined;
  /** The token at hand is refreshed before its time: its server refused it. */
  readonly refused?: boolean | undefined;
}

interface RefreshRun extends RefreshWait {
  readonly lease: Lease;
  readonly end: number;
  /** Called when something is about to be presented to the server. */
  readonly sent: () => void;
}

/** One run asks the server at most so often; who still has time begins another. */
const TRIES_A_RUN = 5;

/** So long a request of a killed process is given to be processed, in milliseconds, where nobody waits for the new token. */
const LEFT_BEHIND_MS = 2_000;

/** The answers of RFC 6749 section 5.2 that no later attempt can turn: the grant, or the client, is gone. */
const FINAL = new Set(['invalid_grant', 'invalid_client']);

export class RefreshOnce {
  readonly landing: Landing;
  readonly #custody: Custody;
  readonly #redeem: Redeem;
  readonly #replays: Replays;
  readonly #report: (event: VaultEvent) => void;
  readonly #running = new Map<string, Promise<Held>>();
  readonly #closing = new AbortController();

  constructor(
    custody: Custody,
    redeem: Redeem,
    report: (event: VaultEvent) => void,
    replays: Replays = new Replays(),
  ) {
    this.landing = new Landing(
      custody,
      report,
      async (credential) => (await replays.of(credential)) === 'window',
    );
    this.#custody = custody;
    this.#redeem = redeem;
    this.#replays = replays;
    this.#report = report;
  }

  /**
   * A later state of the credential than `stale`: refreshed here, or by whoever was first.
   *
   * @throws LoginRequiredError when the server refused the refresh token for good, or there is none
   * @throws LockTimeoutError, TimeoutError when the wait was over first
   * @throws NetworkError, OAuthError, InvalidResponseError for what the server did; the credential is as it was
   * @throws RefreshLimitedError when the last refreshes yielded nothing usable
   * @throws StorageFullError, StorageUnwritableError when there is no room for new tokens; the server was not asked
   * @throws AbortedError for the caller's signal, VaultClosedError after `close`
   */
  async refresh(stale: Held, wait: RefreshWait): Promise<Held> {
    if (wait.signal?.aborted) {
      throw new AbortedError('The wait was ended by its caller.', { cause: wait.signal.reason });
    }
    const name = nameOfRecord(stale);
    const end = performance.now() + wait.waitMs;
    for (;;) {
      const left = Math.max(0, end - performance.now());
      const joined = this.#running.get(name);
      const run = joined ?? this.#start(name, stale, { ...wait, waitMs: left });
      try {
        return await waitFor(run, left, wait.signal);
      } catch (error) {
        // Who began this run would wait less for the lease, or for the server, than this caller.
        const mayPass = error instanceof HoldfastError && error.retryable && wait.leaseMs > 0;
        if (joined === undefined || !mayPass || performance.now() >= end) throw error;
      }
    }
  }

  /**
   * Starts nothing more, lets the requests under way end, so that their answers are stored, and tries once more to write
   * what the store could not take.
   *
   * @returns what is in no place that outlives this process
   */
  async close(): Promise<readonly Credential[]> {
    this.#closing.abort();
    await Promise.allSettled(this.#running.values());
    return this.landing.close();
  }

  #start(name: string, stale: Held, wait: RefreshWait): Promise<Held> {
    const run = this.#run(stale, wait)
      .catch((error: unknown) => {
        // Within the run there is one signal: that of the end.
        throw error instanceof AbortedError ? closed(error) : error;
      })
      .finally(() => this.#running.delete(name));
    this.#running.set(name, run);
    return run;
  }

  async #run(stale: Held, wait: RefreshWait): Promise<Held> {
    const end = performance.now() + wait.waitMs;
    for (;;) {
      try {
        return await this.#runOnce(stale, wait, end);
      } catch (error) {
        // It lapsed before anything was sent: somebody else has it, or it is there to be claimed again.
        if (!(error instanceof LeaseLostError) || wait.leaseMs === 0 || performance.now() >= end) throw error;
      }
    }
  }

  async #runOnce(stale: Held, wait: RefreshWait, end: number): Promise<Held> {
    step('lease-wanted');
    const claimed = await this.#custody.claim(stale, {
      waitMs: Math.min(wait.leaseMs, Math.max(0, end - performance.now())),
      signal: this.#closing.signal,
      canWaitMs: this.#custody.hasClaims(stale)
        ? await this.#replays.canWaitMs(stale.credential, thisMoment())
        : undefined,
    });
    if (claimed === undefined) {
      const stored = await this.#found(stale);
      if (hasMoved(stored.credential, stale.credential)) return stored;
      if (stored.credential.loginRequired) throw refused(stored.credential);
      // The same tokens, written anew.
      return this.#runOnce(stored, wait, end);
    }
    const { lease } = claimed;
    step('lease-held');
    try {
      // Gone from where it was, it may have been sealed under another key since.
      const stored = claimed.held ?? (await this.#found(stale));
      const current = await this.landing.bringHome(stored, lease);
      if (hasMoved(current.credential, stale.credential)) return current;
      if (current.credential.loginRequired) throw refused(current.credential);
      if (!isRenewable(current.credential)) throw cannotRefresh(current.credential);
      return await measuredRefresh(current.credential, lease, (sent) =>
        this.#redeemOnce(current, { ...wait, lease, end, sent }),
      );
    } finally {
      // A claim goes on until the answer is in the store, or whoever claimed next would present its spent parent. A lock of the
      // kernel is given back: who takes it finds what was spilled. Where that fails, it is no reason to withhold the token.
      if (lease.epoch === undefined || !this.landing.keeps(lease)) await quietly(lease.release());
      step('lease-released');
    }
  }

  /** The credential as it is stored now, wherever that is. */
  async #found(stale: Held): Promise<Held> {
    const stored = (await this.#custody.reread(stale)) ?? (await this.#custody.find(stale.credential))?.held;
    if (stored === undefined) throw loggedOut(stale.credential);
    return this.landing.newest(stored);
  }

  /** Under the lease: asks the server until it answers, or the time of the run is over, and keeps the answer. */
  async #redeemOnce(first: Held, run: RefreshRun): Promise<Held> {
    let current = first;
    const { credential } = current;
    const { lease } = run;
    // Notes are for other machines, too, whose clocks may be wrong.
    const now = () => lease.now?.() ?? Date.now();
    let attempts = Attempts.read(await quietly(lease.note()), credential, now());
    if (run.refused === true && wasOfNoUse(credential, thisMoment())) attempts = attempts.fruitless(now());
    attempts.checkFruitful(credential, now());
    await this.#letPass(attempts, current, run, now);
    // Whether a request of this run may have been processed although no answer came.
    let inDoubt = false;
    for (let tries = 1; ; tries += 1) {
      if (await this.#waitOut(attempts, credential, run.end, now)) {
        // Meanwhile the answer of a holder that was given up may have come, or a login.
        const stored = await this.#custody.reread(current);
        if (stored === undefined) throw loggedOut(credential);
        if (hasMoved(stored.credential, credential)) return stored;
        if (stored.credential.loginRequired) throw refused(stored.credential);
        current = stored;
      }
      const room = await this.#custody.reserve(current);
      step('space-reserved');
      const abandonedAt = attempts.abandonedAt ?? lease.abandonedAt;
      await note(lease, attempts.sending(now()));
      step('intent-noted');
      const outcome = await this.#redeem(credential, () => {
        lease.check?.();
        run.sent();
      }).then(
        (answer) => ({ answer }),
        (error: unknown) => ({ error }),
      );
      await room.release();
      if ('answer' in outcome) {
        const next = following(credential, outcome.answer, lease.epoch);
        if (inDoubt) this.#replays.learn(credential, 'taken');
        attempts = attempts.succeeded(next);
        if (freshness(next, thisMoment()) === 'lapsed') attempts = attempts.fruitless(now());
        // A claim is given back in the step that writes the answer, and its note with it; beside a lock it is a file.
        if (lease.epoch !== undefined) await note(lease, attempts);
        const held = await this.landing.keep(current, next, lease);
        if (lease.epoch === undefined) await note(lease, attempts);
        step('outcome-noted');
        return held;
      }
      const { error } = outcome;
      if (error instanceof LeaseLostError) {
        // Nothing was sent, so nothing of it stays in the note.
        await note(lease, attempts);
        throw error;
      }
      inDoubt = error instanceof TimeoutError || (error instanceof NetworkError && !error.unsent);
      const mayPass = error instanceof HoldfastError && error.retryable;
      // A grant that is refused is as good as a server in trouble: it is asked again, and not by every caller at once.
      const refusedGrant = error instanceof OAuthError && credential.grant !== undefined;
      if (mayPass || refusedGrant) attempts = attempts.failed(error, now());
      await note(lease, attempts);
      step('outcome-noted');
      if (error instanceof OAuthError && isFinal(error, credential)) {
        if (abandonedAt !== undefined) this.#replays.learn(credential, 'refused');
        return await this.#rejected(current, error, abandonedAt);
      }
      const over = performance.now() + attempts.pauseMs(now()) > run.end;
      // Who would not wait for the lease does not wait for a server either: the old token has life left.
      if (!mayPass || over || run.leaseMs === 0 || tries === TRIES_A_RUN) throw error;
      this.#report({ type: 'refresh-retry', message: `${error.message} Trying again.`, hint: error.hint });
    }
  }

  /**
   * A holder that was killed may have left a request behind that the server has not come to yet. If it came to it after ours,
   * that answer would count, and nobody has it. A lease that lapses gives it the time; a lock of the kernel is free at once.
   */
  async #letPass(attempts: Attempts, held: Held, run: RefreshRun, now: () => number): Promise<void> {
    const { abandonedAt } = attempts;
    if (run.lease.epoch !== undefined || abandonedAt === undefined) return;
    const left = Math.min(abandonedAt + LEFT_BEHIND_MS - now(), LEFT_BEHIND_MS);
    // Without a token that serves, whoever waits would rather have one now.
    if (left <= 0 || !alive(held.credential, thisMoment())) return;
    if (run.leaseMs === 0 || performance.now() + left > run.end) {
      throw new LockTimeoutError('A process ended in the middle of refreshing this login a moment ago.', {
        hint: 'Try again in a few seconds; the token that is there serves meanwhile.',
      });
    }
    await pause(left, this.#closing.signal);
  }

  /**
   * Lets the pause go by that the last failure asks for; throws that failure when the run has not so much time.
   *
   * @returns whether there was one
   */
  async #waitOut(
    attempts: Attempts,
    credential: Credential,
    end: number,
    now: () => number,
  ): Promise<boolean> {
    const pauseMs = attempts.pauseMs(now());
    if (pauseMs > 0 && performance.now() + pauseMs > end) throw attempts.failure(credential, now());
    await pause(pauseMs, this.#closing.signal);
    return pauseMs > 0;
  }

  /** The server refused for good. Only the generation that it refused is marked; a later one is simply used. */
  async #rejected(current: Held, error: OAuthError, abandonedAt: number | undefined): Promise<Held> {
    for (;;) {
      const stored = await this.#custody.reread(current);
      if (stored === undefined) throw loggedOut(current.credential);
      if (hasMoved(stored.credential, current.credential)) return stored;
      if (stored.credential.loginRequired) throw refused(stored.credential);
      const marked: Credential = {
        ...stored.credential,
        loginRequired: { reason: reasonOf(error, abandonedAt), error: error.error, since: Date.now() },
      };
      let written: Held | undefined;
      try {
        written = await this.#custody.commit(stored, marked);
      } catch {
        // The mark only spares the next caller a request; what the server said holds without it.
        throw refused(marked);
      }
      if (written !== undefined) throw refused(marked);
    }
  }
}

/**
 * Whether no later attempt can turn that. What another grant than a refresh token presents is renewed by others, so its
 * refusal says nothing of the next one; and an assertion of the client's is refused for a wrong clock, too.
 */
function isFinal({ error }: OAuthError, { grant, client }: Credential): boolean {
  if (grant !== undefined || !FINAL.has(error)) return false;
  return error === 'invalid_grant' || client.authMethod !== 'private_key_jwt';
}

function reasonOf(error: OAuthError, abandonedAt: number | undefined): string {
  return abandonedAt === undefined
    ? error.message
    : `${error.message} A process ended in the middle of its refresh at ${new Date(abandonedAt).toISOString()}, and the server’s answer with it.`;
}

/** A note is a help for the next holder and no promise: what keeps it from being written keeps nobody from a token. */
async function note(lease: Lease, attempts: Attempts): Promise<void> {
  await quietly(lease.setNote(attempts.isEmpty ? '' : attempts.text));
}

async function quietly<T>(step: Promise<T>): Promise<T | undefined> {
  try {
    return await step;
  } catch {
    return undefined;
  }
}

async function waitFor<T>(run: Promise<T>, ms: number, signal: AbortSignal | undefined): Promise<T> {
  const over = new AbortController();
  try {
    return await Promise.race([
      run,
      pause(ms, signal ? AbortSignal.any([signal, over.signal]) : over.signal).then(() => {
        throw new TimeoutError('The refresh did not end within the time that its caller gave it.', {
          hint: 'Try again in a moment: it goes on meanwhile.',
        });
      }),
    ]);
  } finally {
    over.abort();
    run.catch(() => {
      // Its own caller hears of it; this one has stopped waiting.
    });
  }
}

function closed(cause: AbortedError): VaultClosedError {
  return new VaultClosedError('The vault was closed.', { cause, hint: 'Open another one: openVault()' });
}
