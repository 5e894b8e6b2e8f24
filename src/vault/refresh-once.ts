import type { Credential } from '../credential.ts';
import {
  AbortedError,
  HoldfastError,
  LockTimeoutError,
  LoginRequiredError,
  NetworkError,
  OAuthError,
  TimeoutError,
  VaultClosedError,
} from '../errors.ts';
import type { TokenResponse } from '../oauth/token.ts';
import type { Secret } from '../secret.ts';
import { pause } from '../system/turn.ts';
import type { Custody, Held } from './custody.ts';
import { cannotRefresh, loggedOut, refused } from './login-required.ts';
import type { VaultEvent } from './results.ts';

export { loginCommand } from './login-required.ts';

/*
 * Refresh exactly once (DESIGN section 6). In one process concurrent callers share one promise; between processes the
 * lease decides, and who gets it reads again before asking the server. What the server answers is never dropped: it is
 * committed by version, retried, and kept in memory when the store cannot take it.
 */

/** Presents the refresh token at the token endpoint. */
export type Redeem = (credential: Credential, refreshToken: Secret) => Promise<TokenResponse>;

export interface RefreshWait {
  /** How long to wait for a living holder of the lease, in milliseconds. */
  readonly leaseMs: number;
  /** How long to wait in all, in milliseconds; the refresh itself goes on. */
  readonly waitMs: number;
  /** Ends this caller's wait only. */
  readonly signal?: AbortSignal | undefined;
}

/** Between two tries of a request that provably repeats nothing, in milliseconds. */
const REDEEM_PAUSES_MS = [200, 1000];

/** A server that asks for more patience than this is reported instead. */
const LONGEST_RETRY_AFTER_MS = 5_000;

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
      const run = joined ?? this.#start(name, stale, Math.min(wait.leaseMs, left));
      try {
        return await waitFor(run, left, wait.signal);
      } catch (error) {
        // The one who began this run would wait less for the lease than this caller.
        const joinedTooShort = joined !== undefined && error instanceof LockTimeoutError && wait.leaseMs > 0;
        if (!joinedTooShort || performance.now() >= end) throw error;
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
   * @returns what it still cannot take
   */
  async close(): Promise<readonly Credential[]> {
    this.#closing.abort();
    await Promise.allSettled([...this.#running.values(), this.#persisting]);
    await this.#persist();
    return [...this.#unpersisted.values()].map(({ credential }) => credential);
  }

  async #persist(): Promise<void> {
    for (const [name, held] of this.#unpersisted) {
      try {
        const stored = await this.#custody.reread(held);
        const settled =
          stored === undefined ||
          !isNewer(held.credential, stored.credential) ||
          (await this.#custody.commit(stored, held.credential)) !== undefined;
        if (settled && this.#unpersisted.get(name) === held) this.#unpersisted.delete(name);
      } catch {
        // It was said when it happened first, and the next try may do better.
      }
    }
  }

  #start(name: string, stale: Held, leaseMs: number): Promise<Held> {
    const run = this.#run(name, stale, leaseMs)
      .catch((error: unknown) => {
        // Within the run there is one signal: that of the end.
        throw error instanceof AbortedError ? closed(error) : error;
      })
      .finally(() => this.#running.delete(name));
    this.#running.set(name, run);
    return run;
  }

  async #run(name: string, stale: Held, leaseMs: number): Promise<Held> {
    const lease = await this.#custody.lease(stale, { waitMs: leaseMs, signal: this.#closing.signal });
    try {
      const stored = await this.#custody.reread(stale);
      if (stored === undefined) throw loggedOut(stale.credential);
      const current = this.newest(stored);
      if (moved(current.credential, stale.credential)) return current;
      if (current.credential.loginRequired) throw refused(current.credential);
      const { refreshToken } = current.credential.tokens;
      if (refreshToken === undefined) throw cannotRefresh(current.credential);
      let answer: TokenResponse;
      try {
        answer = await this.#present(current.credential, refreshToken);
      } catch (error) {
        if (error instanceof OAuthError && FINAL.has(error.error))
          return await this.#rejected(current, error);
        throw error;
      }
      return await this.#commit(name, current, next(current.credential, answer));
    } finally {
      await lease.release();
    }
  }

  /**
   * Sends the refresh, and sends it again only where that repeats nothing: the connection failed before a byte left, or
   * the server itself said later. A timeout is not retried: the server may still be at it.
   */
  async #present(credential: Credential, refreshToken: Secret): Promise<TokenResponse> {
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await this.#redeem(credential, refreshToken);
      } catch (error) {
        const wait = REDEEM_PAUSES_MS[attempt];
        if (!(error instanceof NetworkError) || wait === undefined) throw error;
        if (!error.unsent && error.retryAfterMs === undefined) throw error;
        if ((error.retryAfterMs ?? 0) > LONGEST_RETRY_AFTER_MS) throw error;
        this.#report({
          type: 'refresh-retry',
          message: `${error.message} Trying again.`,
          hint: error.hint,
        });
        await pause(Math.max(wait * (0.5 + Math.random()), error.retryAfterMs ?? 0), this.#closing.signal);
      }
    }
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
        if (wait === undefined) {
          const held = { ...base, credential };
          this.#unpersisted.set(name, held);
          const known = error instanceof HoldfastError ? error : undefined;
          this.#report({
            type: 'unpersisted',
            message: `The new tokens of ${credential.resource} could not be stored; they are in this process's memory only. ${known?.message ?? ''}`,
            hint: known?.hint,
          });
          return held;
        }
        await pause(wait);
      }
    }
  }

  /** The server refused for good. Only the generation that it refused is marked; a later one is simply used. */
  async #rejected(current: Held, error: OAuthError): Promise<Held> {
    for (;;) {
      const stored = await this.#custody.reread(current);
      if (stored === undefined) throw loggedOut(current.credential);
      if (moved(stored.credential, current.credential)) return stored;
      if (stored.credential.loginRequired) throw refused(stored.credential);
      const marked: Credential = {
        ...stored.credential,
        loginRequired: { reason: error.message, since: Date.now() },
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

/** RFC 6749 section 6: what the answer leaves out stays as it was. */
function next(credential: Credential, { tokens, scope }: TokenResponse): Credential {
  const { loginRequired: _mended, ...rest } = credential;
  return {
    ...rest,
    generation: credential.generation + 1,
    tokens: { ...tokens, refreshToken: tokens.refreshToken ?? credential.tokens.refreshToken },
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

function nameOfRun({ address }: Held): string {
  return `${address.kid}/${address.id}`;
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
