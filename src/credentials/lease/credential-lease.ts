import type { Credential } from '../../credential.ts';
import type { SealingKey } from '../../keyring/sealing-key.ts';
import type { LeaseOptions } from '../../store/record-store.ts';
import type { StoredCredential } from '../stored-credential.ts';

/*
 * The exclusive right to change or end one credential, for every operation that does: refresh, login, logout, rekey, export,
 * hand-over. A lock of the kernel (lock-lease.ts) and a claim in an engine (claim-lease.ts) have the same verbs, and nobody else
 * knows which of the two it is.
 */

export interface BeginOptions extends LeaseOptions {
  /** A refresh needs no lease once the credential has other tokens: then `begin` answers those, and holds nothing. */
  readonly unlessMoved?: boolean | undefined;
}

/** `followed`: another process has taken the lease since. Nothing was changed, in either case. */
export type Replaced = StoredCredential | 'changed' | 'followed';

export interface CredentialLease {
  /**
   * Waits for the lease, for as long as its server needs (`canWaitMs`), reads the credential again, wherever it is now, and
   * writes every answer home that waits in the outbox.
   *
   * @returns the credential as it is under the lease; `undefined` when it was removed
   * @throws LockTimeoutError when the wait was over first; AbortedError for its signal
   * @throws what reading the store throws
   */
  begin(options: BeginOptions): Promise<StoredCredential | undefined>;
  /** What earlier holders left for later ones: how their tries went. */
  readonly note: string | undefined;
  /** When the holder before went silent, in milliseconds since the epoch by `now`, where the store knows. */
  readonly abandonedAt: number | undefined;
  /** Whether a holder that died lets the next one in at once: then its request may still be under way. */
  readonly passesAtOnce: boolean;
  /** Milliseconds since the epoch, by the clock that all holders share. */
  now(): number;
  /** The fencing token, where the store counts leases. */
  readonly epoch: number | undefined;
  /** Reads the credential again, under the lease; `undefined` when it was removed. */
  look(): Promise<StoredCredential | undefined>;
  /** Leaves a note for the next holder. Never throws: a note is a help and no promise. */
  leave(note: string): Promise<void>;
  /** Begins to tell the other holders that a request is about to be sent; `confirm` waits for that. */
  announce(): void;
  /**
   * Awaited a moment before that, when the connection stands.
   *
   * @throws LeaseLostError when another process has taken the lease, or that cannot be found out
   */
  confirm(): Promise<void>;
  /**
   * Called right before the first byte of a request leaves.
   *
   * @throws LeaseLostError when another process may hold the lease by now
   */
  fence(): void;
  /**
   * Called right after it has left. A process that was stopped in between may have sent it after the next holder's: then the
   * answer is ordered by a lease that is taken now.
   */
  sent(): void;
  /**
   * Saves what a server answered. An answer is never dropped: it is written where the record is now; where the store does not
   * take it, it stays in memory and in the outbox, and is written again.
   *
   * @returns what is in the store then: the answer, or what counts for more
   * @throws LoginRequiredError when the login was removed, or moved to another machine, meanwhile
   */
  complete(next: Credential, note: string): Promise<StoredCredential>;
  /** Writes another state, if nobody has changed the record or taken the lease since it was read. */
  replace(current: StoredCredential, next: Credential): Promise<Replaced>;
  /** Seals the credential under another key. `occupied`: that key has a login of this name, which stays. */
  move(current: StoredCredential, key: SealingKey): Promise<Replaced | 'occupied'>;
  /** Removes the record. */
  remove(current: StoredCredential): Promise<boolean>;
  /** Gives the lease back, unless an answer that is not saved yet depends on it. Never throws; safe to call twice. */
  release(): Promise<void>;
}
