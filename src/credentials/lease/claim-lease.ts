import type { Credential } from '../../credential.ts';
import { LockTimeoutError } from '../../errors.ts';
import type { SealingKey } from '../../keyring/sealing-key.ts';
import type { Lease } from '../../store/record-store.ts';
import { sleep } from '../../system/locks/keyed-mutex.ts';
import type { Outbox } from '../outbox/outbox.ts';
import type { RecordAccess } from '../sealed/record-access.ts';
import type { StoredCredential } from '../stored-credential.ts';
import { hasMoved } from '../versions.ts';
import type { BeginOptions, CredentialLease, Replaced } from './credential-lease.ts';
import { locate, quietly, replaced } from './lease-steps.ts';

/** Maximum number of tries to claim a version that the store refuses but still shows as current. */
const TRIES_BY_VERSION = 2;

/** The pause between two such tries, in milliseconds. */
const RETRY_MS = 50;

/** Time limit for the wait for a holder that claimed in between, in milliseconds: its request has its own timeout. */
const AGAIN_WAIT_MS = 100_000;

/**
 * A claim in an engine that many machines share. It expires when its holder is silent, so another process may get it
 * while the first is alive. Requests are therefore fenced, and a write may require that no process has claimed since.
 */
export class ClaimLease implements CredentialLease {
  readonly #store: RecordAccess;
  readonly #outbox: Outbox;
  readonly #before: StoredCredential;
  #claim: Lease | undefined;
  #current: StoredCredential | undefined;
  #note: string | undefined;
  /** The claim was granted while the record had the version that we read. That version must still hold when we send. */
  #isOfVersion = false;
  /** A new claim, because the request left late. */
  #again: Promise<void> | undefined;
  readonly #ending = new AbortController();

  constructor(store: RecordAccess, outbox: Outbox, before: StoredCredential) {
    this.#store = store;
    this.#outbox = outbox;
    this.#before = before;
  }

  async begin(options: BeginOptions): Promise<StoredCredential | undefined> {
    const isRefresh = options.unlessMoved === true;
    const begun = isRefresh ? await this.#claimVersion(options) : await this.#claimAny(options);
    const claim = this.#claim;
    if (begun === undefined || claim === undefined) return begun;
    try {
      // A holder that added an entry has not released its claim.
      const rows = !isRefresh || claim.abandonedAt !== undefined;
      this.#current = await this.#outbox.recover(begun, claim, { rows });
      // The previous holder may have written its entries to the record while we looked for them. Only the record has
      // them then.
      if (isRefresh && rows) await this.look();
      this.#note = await quietly(claim.note());
      return this.#current;
    } catch (error) {
      // We could not read the outbox, so the next holder must know that it may have entries.
      if (claim.abandonedAt !== undefined) claim.abandon?.();
      await this.release();
      throw error;
    }
  }

  /**
   * Claims the record only in the version that we read, so there is nothing to read again. Stops if the record has
   * other tokens. If an engine refuses the version as changed but still shows the same one, it claims the record by id
   * alone.
   */
  async #claimVersion(options: BeginOptions): Promise<StoredCredential | undefined> {
    const end = performance.now() + options.waitMs;
    let stored = this.#before;
    for (let tries = 1; ; tries += 1) {
      const waitMs = Math.max(0, end - performance.now());
      const store = this.#store.recordStoreOf(stored.key);
      this.#claim = await store.claim?.(stored.address, stored.version, { ...options, waitMs });
      if (this.#claim !== undefined) {
        this.#isOfVersion = true;
        return stored;
      }
      const there = await locate(this.#store, stored);
      const now = there && this.#store.newest(there);
      if (now === undefined || hasMoved(now.credential, this.#before.credential)) return now;
      if (now.credential.loginRequired !== undefined) return now;
      if (tries >= TRIES_BY_VERSION && now.version === stored.version)
        return this.#claimAny({ ...options, waitMs });
      if (tries > TRIES_BY_VERSION && performance.now() >= end) {
        throw new LockTimeoutError(
          'The record of this login changed each time that it was to be refreshed.',
          {
            hint: 'Try again in a moment.',
          },
        );
      }
      await sleep(RETRY_MS * tries * (0.5 + Math.random()), options.signal);
      stored = now;
    }
  }

  async #claimAny(options: BeginOptions): Promise<StoredCredential | undefined> {
    const store = this.#store.recordStoreOf(this.#before.key);
    this.#claim = await store.lock(this.#before.address.id, options);
    try {
      return await locate(this.#store, this.#before);
    } catch (error) {
      await this.release();
      throw error;
    }
  }

  get note(): string | undefined {
    return this.#note;
  }

  get abandonedAt(): number | undefined {
    return this.#claim?.abandonedAt;
  }

  readonly passesAtOnce = false;

  now(): number {
    return this.#claim?.now?.() ?? Date.now();
  }

  get epoch(): number | undefined {
    return this.#claim?.epoch;
  }

  async look(): Promise<StoredCredential | undefined> {
    const stored = await locate(this.#store, this.#current ?? this.#before);
    this.#current = stored && this.#store.newest(stored);
    return this.#current;
  }

  async leave(note: string): Promise<void> {
    // Stays in memory; the step that ends the claim writes it.
    await quietly(this.#claim?.setNote(note));
  }

  announce(): void {
    const { address, version } = this.#current ?? this.#before;
    this.#claim?.announce?.(this.#isOfVersion ? { address, version } : undefined);
  }

  async confirm(): Promise<void> {
    await this.#held.confirm?.();
  }

  fence(): void {
    this.#held.check?.();
  }

  sent(): void {
    const claim = this.#held;
    try {
      claim.check?.();
    } catch {
      this.#again = this.#claimAgain(claim);
    }
  }

  async complete(next: Credential, note: string): Promise<StoredCredential> {
    await this.#again;
    const claim = this.#held;
    await this.leave(note);
    return this.#outbox.save(this.#current ?? this.#before, { ...next, epoch: claim.epoch }, claim);
  }

  async replace(current: StoredCredential, next: Credential): Promise<Replaced> {
    return replaced(await this.#store.write(current, next, { onlyIfLast: this.#held.epoch }));
  }

  async move(current: StoredCredential, key: SealingKey): Promise<Replaced | 'occupied'> {
    const result = await this.#store.moveRecord(current, key, this.#held.epoch);
    return result.outcome === 'occupied' ? 'occupied' : replaced(result);
  }

  remove(current: StoredCredential): Promise<boolean> {
    return this.#store.removeRecord(current, this.#held.epoch);
  }

  async release(): Promise<void> {
    this.#ending.abort();
    await this.#again;
    // Until the answer is saved, no other process may claim: it would send the refresh token that the answer came from.
    if (this.#claim !== undefined && !this.#outbox.needs(this.#claim)) await quietly(this.#claim.release());
  }

  /**
   * Takes a later claim for a request that left after its claim had expired. That request may have reached the server
   * after the next holder's, whose claim is later. So its answer needs an even later claim, and no other process sends
   * the same token meanwhile.
   */
  async #claimAgain(late: Lease): Promise<void> {
    try {
      // No process has claimed since.
      await late.confirm?.();
      return;
    } catch {
      late.abandon?.();
    }
    const store = this.#store.recordStoreOf(this.#before.key);
    const { signal } = this.#ending;
    const claim = await quietly(store.lock(this.#before.address.id, { waitMs: AGAIN_WAIT_MS, signal }));
    claim?.announce?.();
    // Without a new claim, the answer is saved in the order of the old one.
    this.#claim = claim ?? late;
  }

  get #held(): Lease {
    if (this.#claim === undefined) throw new TypeError('the lease is not held');
    return this.#claim;
  }
}
