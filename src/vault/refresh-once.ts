import { type Credential, isRenewable } from '../credential.ts';
import {
  AbortedError,
  HoldfastError,
  LoginRequiredError,
  OAuthError,
  TimeoutError,
  VaultClosedError,
} from '../errors.ts';
import type { Lease } from '../store/store.ts';
import { thisMoment } from '../system/clock.ts';
import { step } from '../system/steps.ts';
import { pause } from '../system/turn.ts';
import { Attempts } from './attempts.ts';
import type { Custody, Held } from './custody.ts';
import { freshness, wasOfNoUse } from './freshness.ts';
import { cannotRefresh, loggedOut, refused } from './login-required.ts';
import type { Redeemed } from './redeem.ts';
import type { VaultEvent } from './results.ts';

/*
 * Refresh exactly once (DESIGN section 6, docs/refresh.md). In one process concurrent callers share one promise; between
 * processes the lease decides, and who gets it reads again before asking the server. What the server answers is never
 * dropped: it is committed by version, retried, spilled, and kept in memory when no place takes it.
 */

/** Asks the token endpoint for the next tokens: by the refresh token, or by the grant that needs none. */
export type Redeem = (credential: Credential) => Promise<Redeemed>;

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

/** One run asks the server at most so often; who still has time begins another. */
const TRIES_A_RUN = 5;

/** Between two tries to write what the server gave, in milliseconds. */
const COMMIT_PAUSES_MS = [20, 100, 500];

/** The answers of RFC 6749 section 5.2 that no later attempt can turn: the grant, or the client, is gone. */
const FINAL = new Set(['invalid_grant', 'invalid_client']);

export class RefreshOnce {
  readonly #custody: Custody;
  readonly #redeem: Redeem;
  readonly #report: (event: VaultEvent) => void;
  readonly #running = new Map<string, Promise<Held>>();
  readonly #unpersisted = new Map<string, Held>();
  readonly #closing = new AbortController();
  #persisting: Promise<void> | undefined;

  constructor(custody: Custody, redeem: Redeem, report: (event: VaultEvent) => void) {
    this.#custody = custody;
    this.#redeem = redeem;
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
    const name = nameOfRun(stale);
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

  /** The credential as it is in memory, where the store could not take its newest tokens. */
  newest(held: Held): Held {
    const kept = this.#unpersisted.get(nameOfRun(held));
    return kept !== undefined && isNewer(kept.credential, held.credential)
      ? { ...held, credential: kept.credential }
      : held;
  }

  /**
   * The credential with the newest tokens that exist anywhere: in memory, or spilled by a process whose store did not take
   * them. Those are written where they belong. Only for who holds the lease.
   */
  async bringHome(stored: Held): Promise<Held> {
    const kept = this.newest(stored).credential;
    const spilled = await this.#custody.spilled(stored);
    const newest = spilled.reduce((a, b) => (isNewer(b, a) ? b : a), kept);
    if (newest === stored.credential) {
      if (spilled.length > 0) await this.#custody.removeSpilled(stored);
      return stored;
    }
    try {
      const written = await this.#custody.commit(stored, newest);
      if (written !== undefined) {
        this.#unpersisted.delete(nameOfRun(stored));
        if (spilled.length > 0) await this.#custody.removeSpilled(stored);
        return written;
      }
    } catch {
      // The store still takes nothing; they stay where they are.
    }
    return { ...stored, credential: newest };
  }

  /** Tries again, while nobody waits, to write what the store could not take. */
  persistSoon(): void {
    if (this.#unpersisted.size === 0) return;
    this.#persisting ??= this.#persist().finally(() => {
      this.#persisting = undefined;
    });
  }

  /**
   * Starts nothing more, lets the requests under way end, so that their answers are stored, and tries once more to write
   * what the store could not take.
   *
   * @returns what is in no place that outlives this process
   */
  async close(): Promise<readonly Credential[]> {
    this.#closing.abort();
    await Promise.allSettled([...this.#running.values(), this.#persisting]);
    await this.#persist();
    const lost: Credential[] = [];
    for (const held of this.#unpersisted.values()) {
      const spilled = await this.#custody.spilled(held);
      if (!spilled.some((one) => !isNewer(held.credential, one))) lost.push(held.credential);
    }
    return lost;
  }

  async #persist(): Promise<void> {
    for (const [name, held] of this.#unpersisted) {
      try {
        const stored = await this.#custody.reread(held);
        const settled =
          stored === undefined ||
          !isNewer(held.credential, stored.credential) ||
          (await this.#custody.commit(stored, held.credential)) !== undefined;
        if (!settled || this.#unpersisted.get(name) !== held) continue;
        this.#unpersisted.delete(name);
        await this.#custody.removeSpilled(held);
      } catch {
        // It was said when it happened first, and the next try may do better.
      }
    }
  }

  #start(name: string, stale: Held, wait: RefreshWait): Promise<Held> {
    const run = this.#run(name, stale, wait)
      .catch((error: unknown) => {
        // Within the run there is one signal: that of the end.
        throw error instanceof AbortedError ? closed(error) : error;
      })
      .finally(() => this.#running.delete(name));
    this.#running.set(name, run);
    return run;
  }

  async #run(name: string, stale: Held, wait: RefreshWait): Promise<Held> {
    const end = performance.now() + wait.waitMs;
    step('lease-wanted');
    const lease = await this.#custody.lease(stale, {
      waitMs: Math.min(wait.leaseMs, wait.waitMs),
      signal: this.#closing.signal,
    });
    step('lease-held');
    try {
      // Gone from where it was, it may have been sealed under another key since.
      const stored =
        (await this.#custody.reread(stale)) ?? (await this.#custody.find(stale.credential))?.held;
      if (stored === undefined) throw loggedOut(stale.credential);
      const current = await this.bringHome(stored);
      if (moved(current.credential, stale.credential)) return current;
      if (current.credential.loginRequired) throw refused(current.credential);
      if (!isRenewable(current.credential)) throw cannotRefresh(current.credential);
      return await this.#redeemOnce(name, current, { ...wait, lease, end });
    } finally {
      // Where it cannot be given back, that is no reason to withhold the token.
      await quietly(lease.release());
      step('lease-released');
    }
  }

  /** Under the lease: asks the server until it answers, or the time of the run is over, and keeps the answer. */
  async #redeemOnce(
    name: string,
    current: Held,
    run: RefreshWait & { lease: Lease; end: number },
  ): Promise<Held> {
    const { credential } = current;
    let attempts = Attempts.read(await quietly(run.lease.note()), credential, Date.now());
    if (run.refused === true && wasOfNoUse(credential, thisMoment()))
      attempts = attempts.fruitless(Date.now());
    attempts.checkFruitful(credential, Date.now());
    for (let tries = 1; ; tries += 1) {
      await this.#waitOut(attempts, credential, run.end);
      const room = await this.#custody.reserve(current);
      step('space-reserved');
      const { abandonedAt } = attempts;
      await note(run.lease, attempts.sending(Date.now()));
      step('intent-noted');
      const outcome = await this.#redeem(credential).then(
        (answer) => ({ answer }),
        (error: unknown) => ({ error }),
      );
      await room.release();
      if ('answer' in outcome) {
        const next = following(credential, outcome.answer);
        const held = await this.#commit(name, current, next);
        attempts = attempts.succeeded(next);
        if (freshness(next, thisMoment()) === 'lapsed') attempts = attempts.fruitless(Date.now());
        await note(run.lease, attempts);
        step('outcome-noted');
        return held;
      }
      const { error } = outcome;
      const mayPass = error instanceof HoldfastError && error.retryable;
      // A grant that is refused is as good as a server in trouble: it is asked again, and not by every caller at once.
      const refusedGrant = error instanceof OAuthError && credential.grant !== undefined;
      if (mayPass || refusedGrant) attempts = attempts.failed(error, Date.now());
      await note(run.lease, attempts);
      step('outcome-noted');
      if (error instanceof OAuthError && isFinal(error, credential)) {
        return await this.#rejected(current, error, abandonedAt);
      }
      const over = performance.now() + attempts.pauseMs(Date.now()) > run.end;
      // Who would not wait for the lease does not wait for a server either: the old token has life left.
      if (!mayPass || over || run.leaseMs === 0 || tries === TRIES_A_RUN) throw error;
      this.#report({ type: 'refresh-retry', message: `${error.message} Trying again.`, hint: error.hint });
    }
  }

  /** Lets the pause go by that the last failure asks for; throws that failure when the run has not so much time. */
  async #waitOut(attempts: Attempts, credential: Credential, end: number): Promise<void> {
    const pauseMs = attempts.pauseMs(Date.now());
    if (pauseMs > 0 && performance.now() + pauseMs > end) throw attempts.failure(credential, Date.now());
    await pause(pauseMs, this.#closing.signal);
  }

  /** Writes the answer by version, not by lease: it lands even if the lease was lost meanwhile. */
  async #commit(name: string, current: Held, credential: Credential): Promise<Held> {
    let base = current;
    for (let attempt = 0; ; attempt += 1) {
      try {
        const written = await this.#custody.commit(base, credential);
        if (written !== undefined) {
          this.#unpersisted.delete(name);
          return written;
        }
        const stored = await this.#custody.reread(base);
        if (stored === undefined) throw loggedOut(credential);
        // Someone logged in anew, or a later answer is there already.
        if (!isNewer(credential, stored.credential)) return stored;
        base = stored;
      } catch (error) {
        if (error instanceof LoginRequiredError) throw error;
        const wait = COMMIT_PAUSES_MS[attempt];
        if (wait === undefined) return await this.#keepElsewhere(name, { ...base, credential }, error);
        await pause(wait);
      }
    }
  }

  /** The store does not take it: in memory for this process, and spilled for the others. */
  async #keepElsewhere(name: string, held: Held, error: unknown): Promise<Held> {
    this.#unpersisted.set(name, held);
    const place = await this.#custody.spill(held, held.credential).catch(() => undefined);
    const known = error instanceof HoldfastError ? error : undefined;
    const kept =
      place === undefined
        ? 'they are in this process’s memory only'
        : `they lie sealed in ${place}, and are brought home by the next refresh`;
    this.#report({
      type: 'unpersisted',
      message: `The new tokens of ${held.credential.resource} could not be stored; ${kept}. ${known?.message ?? ''}`,
      hint: known?.hint,
    });
    return held;
  }

  /** The server refused for good. Only the generation that it refused is marked; a later one is simply used. */
  async #rejected(current: Held, error: OAuthError, abandonedAt: number | undefined): Promise<Held> {
    for (;;) {
      const stored = await this.#custody.reread(current);
      if (stored === undefined) throw loggedOut(current.credential);
      if (moved(stored.credential, current.credential)) return stored;
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

/** RFC 6749 section 6: what the answer leaves out stays as it was; but not a refresh token that was refused. */
function following(credential: Credential, { tokens, scope, anew }: Redeemed): Credential {
  const { loginRequired: _mended, ...rest } = credential;
  return {
    ...rest,
    generation: credential.generation + 1,
    tokens: {
      ...tokens,
      refreshToken: tokens.refreshToken ?? (anew ? undefined : credential.tokens.refreshToken),
    },
    grantedScope: scope ?? credential.grantedScope,
  };
}

/** Whether these are other tokens. A login after a logout begins to count anew, so the tokens themselves are compared. */
function moved(now: Credential, before: Credential): boolean {
  return now.generation !== before.generation || !now.tokens.accessToken.equals(before.tokens.accessToken);
}

/**
 * Whether `answer`, which followed from an earlier state of `stored`, should stand in its place: when it is the later
 * generation of the same login. Another login than its own was made after it, whatever the clocks say.
 */
function isNewer(answer: Credential, stored: Credential): boolean {
  return answer.loggedInAt === stored.loggedInAt && answer.generation > stored.generation;
}

function reasonOf(error: OAuthError, abandonedAt: number | undefined): string {
  return abandonedAt === undefined
    ? error.message
    : `${error.message} A process ended in the middle of its refresh at ${new Date(abandonedAt).toISOString()}, and the server’s answer with it.`;
}

function nameOfRun({ address }: Held): string {
  return `${address.kid}/${address.id}`;
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
