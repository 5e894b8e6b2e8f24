import { HoldfastError, KeyringAbsentError, KeyringBrokenError } from '../errors.ts';
import { quote } from '../quote.ts';
import type { Keyring, KeyringOpener, Lifetime } from './keyring.ts';
import { errorOf } from './probe-result.ts';

/*
 * One keyring that may be used. A working keyring stays open for the life of the process. A locked or absent one is
 * retried later, since a person may unlock it, or a service start, while a long-lived process runs (DESIGN section 4).
 */

/** The pause before a failed keyring is retried, in milliseconds. It doubles after each failure. */
const FIRST_PAUSE_MS = 2_000;
const LONGEST_PAUSE_MS = 30_000;

/**
 * The pause is at least this multiple of the attempt's duration, so that a hanging service does not slow down
 * everything.
 */
const SHARE_OF_TIME = 10;

/** A keyring that was opened and probed. */
export interface UsableKeyring {
  readonly keyring: Keyring;
  readonly lifetime: Lifetime;
}

export type ProbedCandidate = { readonly usable: UsableKeyring } | { readonly error: HoldfastError };

export class Candidate {
  readonly opener: KeyringOpener;
  #attempt: Promise<void> | undefined;
  #found: ProbedCandidate | undefined;
  #opened: UsableKeyring | undefined;
  #retryAt = 0;
  #pauseMs = FIRST_PAUSE_MS;
  #refusal: { readonly error: HoldfastError; readonly until: number } | undefined;

  constructor(opener: KeyringOpener) {
    this.opener = opener;
  }

  /** The last result; `undefined` before the first attempt. */
  get found(): ProbedCandidate | undefined {
    return this.#found;
  }

  /** Why the keyring rejected the last write. Its existing items can still be read. */
  get refusal(): HoldfastError | undefined {
    return this.#refusal?.error;
  }

  /** Whether a write is worth trying; false soon after a failed write. */
  get mayTakeSecrets(): boolean {
    return this.#refusal === undefined || performance.now() >= this.#refusal.until;
  }

  /** Opens and probes the keyring, unless the result is known and no retry is due. */
  async look(): Promise<ProbedCandidate> {
    if (this.#isDue()) this.#attempt ??= this.#try();
    await this.#attempt;
    // Read after the wait: the keyring may have failed in use in the meantime.
    return this.#found ?? { error: new KeyringBrokenError(`The keyring ${this.opener.id} gave no answer.`) };
  }

  /** Records a read failure of a keyring whose probe had succeeded. */
  failed(error: HoldfastError): void {
    this.#found = { error: asKeyringError(error) };
    this.#rest(0);
  }

  /** Records a write failure. */
  refused(error: HoldfastError): void {
    this.#refusal = { error, until: performance.now() + FIRST_PAUSE_MS };
  }

  async close(): Promise<void> {
    await this.#attempt;
    await this.#opened?.keyring.close();
  }

  #isDue(): boolean {
    if (this.#found === undefined) return true;
    if ('usable' in this.#found) return false;
    // Such a keyring limits its own retries.
    return this.opener.mayRecover === true || performance.now() >= this.#retryAt;
  }

  async #try(): Promise<void> {
    const begin = performance.now();
    try {
      this.#found = await this.#tryAgain(this.#opened);
      if ('usable' in this.#found) this.#opened = this.#found.usable;
      else this.#rest(performance.now() - begin);
    } finally {
      this.#attempt = undefined;
    }
  }

  /** Probes an open keyring again before reopening it, since other callers may be using it. */
  async #tryAgain(opened: UsableKeyring | undefined): Promise<ProbedCandidate> {
    if (opened === undefined) return open(this.opener);
    if (this.opener.mayRecover === true) return { usable: opened };
    const probe = await opened.keyring.probe();
    if (probe.status === 'usable') return { usable: { keyring: opened.keyring, lifetime: probe.lifetime } };
    this.#opened = undefined;
    await opened.keyring.close();
    return open(this.opener);
  }

  #rest(tookMs: number): void {
    this.#retryAt = performance.now() + Math.max(this.#pauseMs, tookMs * SHARE_OF_TIME);
    this.#pauseMs = Math.min(this.#pauseMs * 2, LONGEST_PAUSE_MS);
  }
}

/** An unreadable file of a keyring, such as one that other users can read, counts as a broken keyring. */
function asKeyringError(error: HoldfastError): HoldfastError {
  if (!error.code.startsWith('storage-')) return error;
  return new KeyringBrokenError(error.message, {
    cause: error,
    ...(error.hint === undefined ? {} : { hint: error.hint }),
  });
}

async function open(opener: KeyringOpener): Promise<ProbedCandidate> {
  try {
    const keyring = await opener.open();
    if (keyring === undefined) {
      return {
        error: new KeyringAbsentError(`The keyring ${opener.id} is not here.`, {
          hint: 'See: holdfast doctor',
        }),
      };
    }
    const probe = await keyring.probe();
    if (probe.status === 'usable') return { usable: { keyring, lifetime: probe.lifetime } };
    await keyring.close();
    return { error: errorOf(probe) };
  } catch (error) {
    if (error instanceof HoldfastError) return { error };
    return {
      error: new KeyringBrokenError(`The keyring ${opener.id} cannot be opened: ${quote(String(error))}.`, {
        cause: error,
      }),
    };
  }
}
