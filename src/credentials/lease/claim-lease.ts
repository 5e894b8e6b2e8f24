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

/** So often a claim of a version is tried that is, for all that can be read, the one that is stored. */
const TRIES_BY_VERSION = 2;

/** Between two such tries, in milliseconds. */
const RETRY_MS = 50;

/** How long the holder that came between is waited for, in milliseconds: its request has a timeout of its own. */
const AGAIN_WAIT_MS = 100_000;

/**
 * A claim in an engine that many machines share. It lapses when its holder is silent, so it may pass to another one whose
 * predecessor lives: requests are fenced, and what is written may demand that nobody has claimed since.
 */
export class ClaimLease implements CredentialLease {
  readonly #store: RecordAccess;
  readonly #outbox: Outbox;
  readonly #before: StoredCredential;
  #claim: Lease | undefined;
  #current: StoredCredential | undefined;
  #note: string | undefined;
  /** It was granted while the record had the version that was read, so that version must hold until something is sent. */
  #isOfVersion = false;
  /** A claim that is made since the request left late. */
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
      // A holder that put an entry there has not released its claim.
      const rows = !isRefresh || claim.abandonedAt !== undefined;
      this.#current = await this.#outbox.bringHome(begun, claim, { rows });
      // Its entries may have come home while they were looked for, and are then in the record that was claimed before.
      if (isRefresh && rows) await this.look();
      this.#note = await quietly(claim.note());
      return this.#current;
    } catch (error) {
      // What may be in the outbox could not be looked at: the next one must know of it.
      if (claim.abandonedAt !== undefined) claim.abandon?.();
      await this.release();
      throw error;
    }
  }

  /**
   * Claims while the record is the one that was read: then there is nothing to read again. A record with other tokens ends
   * that. Where an engine says that there is another version, and shows the same one, it is claimed by its name alone.
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
    // Kept in memory: the step that ends the claim writes it.
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
    // Until the answer is saved nobody else may claim: they would send what it came of.
    if (this.#claim !== undefined && !this.#outbox.needs(this.#claim)) await quietly(this.#claim.release());
  }

  /**
   * A request that left after its claim had lapsed came to the server after that of the next holder, whose claim is the later
   * one. So its answer gets a claim that is later still, and nobody else sends the same token meanwhile.
   */
  async #claimAgain(late: Lease): Promise<void> {
    try {
      // Nobody has claimed since.
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
