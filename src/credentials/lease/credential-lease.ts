import type { Credential } from '../../credential.ts';
import type { SealingKey } from '../../keyring/sealing-key.ts';
import type { LeaseOptions } from '../../store/record-store.ts';
import type { StoredCredential } from '../stored-credential.ts';

/*
 * The exclusive right to change or end one credential, for refresh, login, logout, rekey, export and hand-over. A
 * kernel lock (lock-lease.ts) and a claim in an engine (claim-lease.ts) have the same methods, and no caller knows
 * which of the two it has.
 */

export interface BeginOptions extends LeaseOptions {
  /** A refresh needs no lease once the credential has other tokens: `begin` then returns those and holds nothing. */
  readonly unlessMoved?: boolean | undefined;
}

/** `followed`: another process has taken the lease since. In both cases nothing was changed. */
export type Replaced = StoredCredential | 'changed' | 'followed';

export interface CredentialLease {
  /**
   * Waits for the lease, as long as the credential's server needs (`canWaitMs`). Reads the credential again at its
   * current address, and writes the answers that wait in the outbox to the record.
   *
   * @returns the credential as it is under the lease; `undefined` when it was removed
   * @throws LockTimeoutError when the wait ended first; AbortedError for its signal
   * @throws what reading the store throws
   */
  begin(options: BeginOptions): Promise<StoredCredential | undefined>;
  /** The note of earlier holders for later ones: the outcome of their tries. */
  readonly note: string | undefined;
  /** When the previous holder went silent, in milliseconds since the epoch by `now`, if the store knows. */
  readonly abandonedAt: number | undefined;
  /** Whether the next holder enters as soon as the previous one dies, whose request may then still be running. */
  readonly passesAtOnce: boolean;
  /** Milliseconds since the epoch, by the clock that all holders share. */
  now(): number;
  /** The fencing token, if the store counts leases. */
  readonly epoch: number | undefined;
  /** Reads the credential again, under the lease; `undefined` when it was removed. */
  look(): Promise<StoredCredential | undefined>;
  /** Leaves a note for the next holder. Never throws: the note helps, but nothing depends on it. */
  leave(note: string): Promise<void>;
  /** Starts to tell the other holders that a request is about to be sent; `confirm` waits for that. */
  announce(): void;
  /**
   * Awaited when the connection is open, a moment before the request is sent.
   *
   * @throws LeaseLostError when another process has taken the lease, or the store cannot tell
   */
  confirm(): Promise<void>;
  /**
   * Called right before the first byte of a request leaves.
   *
   * @throws LeaseLostError when another process may hold the lease by now
   */
  fence(): void;
  /**
   * Called right after the first byte has left. A process that was paused in between may have sent its request after
   * the next holder's; a lease taken now then orders its answer.
   */
  sent(): void;
  /**
   * Saves a server's answer, which is never dropped. It is written to the current record. If the store does not take
   * it, it stays in memory and in the outbox and is written again.
   *
   * @returns the record's state afterwards: the answer, or a state that takes precedence
   * @throws LoginRequiredError when the login was removed, or moved to another machine, meanwhile
   */
  complete(next: Credential, note: string): Promise<StoredCredential>;
  /** Writes another state, if no process has changed the record or taken the lease since it was read. */
  replace(current: StoredCredential, next: Credential): Promise<Replaced>;
  /** Seals the credential under another key. `occupied`: that key already has a login with this id, which stays. */
  move(current: StoredCredential, key: SealingKey): Promise<Replaced | 'occupied'>;
  remove(current: StoredCredential): Promise<boolean>;
  /** Releases the lease, unless an unsaved answer depends on it. Never throws; safe to call twice. */
  release(): Promise<void>;
}
