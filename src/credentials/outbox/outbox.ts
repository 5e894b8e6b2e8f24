import type { Credential } from '../../credential.ts';
import { HoldfastError, LoginRequiredError, StorageUnwritableError } from '../../errors.ts';
import type { Lease } from '../../store/record-store.ts';
import { thisMoment } from '../../system/clock.ts';
import { sleep } from '../../system/locks/keyed-mutex.ts';
import { measure } from '../../system/metric-channel.ts';
import { locate } from '../lease/lease-steps.ts';
import { loggedOut, MOVED, refused } from '../login-required.ts';
import { LookBack } from '../look-back.ts';
import { Remembered } from '../remembered.ts';
import type { RecordAccess } from '../sealed/record-access.ts';
import type { StoredCredential } from '../stored-credential.ts';
import { tokenAge } from '../token-age.ts';
import type { VaultEvent } from '../vault-event.ts';
import { isAfterRemoval, isNewer, isSameAnswer } from '../versions.ts';
import { type OutboxAnswer, OutboxEntries } from './outbox-entries.ts';
import type { OutboxFiles } from './outbox-files.ts';

/*
 * An answer that carries tokens is never dropped: nothing else in the world has them. It is written by generation and not by
 * lease, where the record is by then; retried; kept in memory and as an entry of its own, sealed, where the store does not take
 * it; and written again where the store has forgotten it.
 */

/** Between two tries to write an answer while its caller waits, in milliseconds. */
const WRITE_PAUSES_MS = [20, 100, 500];

/** Between two tries when nobody waits any more, in milliseconds: growing. */
const FIRST_RETRY_MS = 250;
const LONGEST_RETRY_MS = 1_000;

/** A record that changes this often while one answer is written is not changed by refreshes. */
const MOST_CHANGES = 20;

export interface OutboxDuties {
  readonly report?: ((event: VaultEvent) => void) | undefined;
  /**
   * For how long the server of that credential answers a refresh token again and lets the newest answer count, in milliseconds
   * since the request: an older answer must not replace one that another process got. 0: every answer may be the only one.
   */
  readonly newestCountsForMs?: ((credential: Credential) => Promise<number>) | undefined;
  /** Revokes the tokens of a login that was removed while they were on their way. */
  readonly revoke?: ((credential: Credential) => Promise<void>) | undefined;
}

/** An answer that no record has yet. */
interface Pending {
  readonly at: StoredCredential;
  /** Goes on until the answer is saved: nobody else may send what it came of. */
  readonly lease?: Lease | undefined;
  /** It is saved where another process finds it. */
  readonly isSafe: boolean;
}

/** What became of an answer. `stored` is what the record has then. */
type Landing =
  | { readonly outcome: 'written'; readonly stored: StoredCredential }
  /** The record has a newer state, or another login. */
  | { readonly outcome: 'superseded'; readonly stored: StoredCredential }
  /** Another process may have been given a newer answer; what both came of is in the record, and good for a third. */
  | { readonly outcome: 'followed'; readonly stored: StoredCredential }
  /** The login moved to another machine. */
  | { readonly outcome: 'moved-away'; readonly stored: StoredCredential }
  /** `stored`: a login that was made since. */
  | { readonly outcome: 'removed'; readonly stored?: StoredCredential };

export class Outbox {
  readonly #store: RecordAccess;
  readonly #files: OutboxFiles | undefined;
  readonly #entries: OutboxEntries;
  readonly #duties: OutboxDuties;
  readonly #pending = new Map<string, Pending>();
  readonly #written = new Remembered();
  readonly #lookBack: LookBack;
  readonly #forget: (() => void) | undefined;
  #flushing: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(store: RecordAccess, files: OutboxFiles | undefined, duties: OutboxDuties) {
    this.#store = store;
    this.#files = files;
    this.#entries = new OutboxEntries(store, files);
    this.#duties = duties;
    this.#lookBack = new LookBack(store, () => this.#written.addresses());
    this.#forget = store.recordStore.onBroken?.(() => this.#lookBack.soon());
  }

  /**
   * The credential with the newest tokens that this process knows of.
   *
   * @param seen what the store had when this process last looked
   */
  newest(stored: StoredCredential, seen: StoredCredential = stored): StoredCredential {
    const { id } = stored.address;
    const written = this.#written.newer(stored) ?? stored.credential;
    const known = isNewer(seen.credential, written) ? seen.credential : written;
    if (known !== stored.credential && !this.#pending.has(id)) {
      // The store forgot what it had acknowledged: a replica without the last writes took over, or a backup was restored.
      this.#pending.set(id, { at: { ...stored, credential: known }, isSafe: false });
      this.#retryIn(0);
    }
    const pending = this.#pending.get(id)?.at.credential;
    return pending !== undefined && isNewer(pending, stored.credential)
      ? { ...stored, credential: pending }
      : stored;
  }

  /** Whether that lease goes on, since what was got under it is in no record yet. */
  needs(lease: Lease): boolean {
    return [...this.#pending.values()].some((one) => one.lease === lease);
  }

  /**
   * The credential with the newest tokens that exist anywhere: in the record, in this process, in the outbox. They are written
   * where they belong. Only for the holder of the lease.
   *
   * @param lease goes on if the store takes nothing now either
   * @param look.rows whether the store may have entries of other machines
   */
  async bringHome(
    stored: StoredCredential,
    lease: Lease,
    look: { readonly rows: boolean },
  ): Promise<StoredCredential> {
    const entries = await this.#entries.ofLogin(stored, look.rows);
    const newest = entries.reduce(
      (a, { credential }) => (isNewer(credential, a) ? credential : a),
      this.newest(stored).credential,
    );
    if (newest === stored.credential) {
      await this.#entries.removeOutdated(entries, stored.credential, stored.address.id);
      return stored;
    }
    const at = { ...stored, credential: newest };
    let landing: Landing;
    try {
      // Not `lease`: it ends with what its holder does next, and not with this.
      landing = await this.#land(stored, newest, undefined);
    } catch {
      // The store takes nothing now either; the entries stay.
      this.#pending.set(stored.address.id, { at, lease, isSafe: entries.length > 0 });
      this.#retryIn(FIRST_RETRY_MS);
      return at;
    }
    await this.#settled(at, landing, entries);
    if (landing.outcome !== 'followed') return landing.stored ?? stored;
    // Set aside: what is left may be older entries, or nothing.
    return this.bringHome(landing.stored, lease, look);
  }

  /**
   * Saves what a server answered: in the record, or where the store does not take it, in the outbox.
   *
   * @param base the record whose refresh token was sent
   * @param lease ends in the same step where the store can do that; it goes on while the answer is in no record
   * @returns what is in the store then: the answer, or what counts for more
   * @throws LoginRequiredError when the login was removed, or moved away, meanwhile
   */
  async save(base: StoredCredential, credential: Credential, lease: Lease): Promise<StoredCredential> {
    const at = { ...base, credential };
    for (let attempt = 0; ; attempt += 1) {
      try {
        const landing = await this.#land(base, credential, lease);
        await this.#settled(at, landing, []);
        if (landing.stored === undefined) throw loggedOut(credential);
        if (landing.outcome === 'moved-away') throw refused(landing.stored.credential);
        return landing.stored;
      } catch (error) {
        if (error instanceof LoginRequiredError) throw error;
        const wait = WRITE_PAUSES_MS[attempt];
        if (wait === undefined) return await this.#put(at, lease, error);
        measure({ name: 'commit-retry' });
        await sleep(wait);
      }
    }
  }

  /**
   * Revokes the answers in the outbox whose login was removed, and removes them: the process that saved them died, and no record
   * leads to them any more. One that cannot be revoked now stays.
   */
  async endRemoved(id: string): Promise<void> {
    const store = this.#store.recordStore;
    const found = await this.#entries.of(id, store, true);
    // A staged file is the record of a login that is being saved.
    const left = found.filter(({ file, row }) => file !== undefined || row !== undefined);
    // Read after the entries: each of them was saved while its record was there.
    if (left.length === 0 || (await store.kidsOf(id)).length > 0) return;
    const newest = left.filter((one) => !left.some((two) => isNewer(two.credential, one.credential)));
    for (const { credential } of newest) {
      const { loggedInAt } = credential;
      const ofLogin = left.filter((one) => one.credential.loggedInAt === loggedInAt);
      if (await this.#revoked(credential)) await this.#entries.remove(ofLogin, id);
    }
  }

  /** Tries again, while nobody waits, to write what the store could not take. */
  flushSoon(): void {
    if (this.#pending.size === 0) return;
    this.#flushing ??= this.#flush().finally(() => {
      this.#flushing = undefined;
    });
  }

  /**
   * Tries once more to write what the store could not take.
   *
   * @returns what is saved nowhere that outlives this process
   */
  async settle(): Promise<readonly Credential[]> {
    clearTimeout(this.#timer);
    await this.#flushing;
    await this.#flush();
    clearTimeout(this.#timer);
    this.#isClosed = true;
    this.#lookBack.close();
    this.#forget?.();
    const left = [...this.#pending.values()];
    // It lapses: whoever follows looks into the outbox first.
    for (const { lease } of left) lease?.abandon?.();
    return left.filter(({ isSafe }) => !isSafe).map(({ at }) => at.credential);
  }

  /** The keys that an answer on this machine is sealed under. */
  async kids(): Promise<readonly string[]> {
    return (await this.#files?.kids()) ?? [];
  }

  async #flush(): Promise<void> {
    for (const [id, pending] of this.#pending) {
      const { at, lease } = pending;
      try {
        const stored = await locate(this.#store, at);
        const landing: Landing =
          stored === undefined ? { outcome: 'removed' } : await this.#land(stored, at.credential, lease);
        if (this.#pending.get(id) !== pending) continue;
        await this.#settled(at, landing, await this.#entries.ofLogin(at, true));
        await lease?.release();
      } catch {
        // It was said when it happened first, and the next try may do better.
      }
    }
  }

  /** Writes the answer where its record is now, unless something there counts for more. Throws when that cannot be known. */
  async #land(base: StoredCredential, answer: Credential, lease: Lease | undefined): Promise<Landing> {
    let stored = base;
    for (let changes = 0; changes < MOST_CHANGES; changes += 1) {
      if (isSameAnswer(stored.credential, answer)) return { outcome: 'written', stored };
      if (stored.credential.loginRequired?.error === MOVED) return { outcome: 'moved-away', stored };
      if (isAfterRemoval(stored.credential, answer)) return { outcome: 'removed', stored };
      if (!isNewer(answer, stored.credential)) return { outcome: 'superseded', stored };
      const onlyIfUnsentSince = await this.#condition(stored, answer);
      const result = await this.#store.write(stored, answer, { lease, onlyIfUnsentSince });
      if (result.outcome === 'written') return result;
      const now = await locate(this.#store, stored);
      if (now === undefined) return { outcome: 'removed' };
      if (result.outcome === 'followed') return { outcome: 'followed', stored: now };
      stored = now;
    }
    throw new StorageUnwritableError('The record changes each time that it is to be written.');
  }

  /**
   * Where the newest answer counts, and for as long as the server would answer again, the write demands that nobody else has
   * sent the same refresh token since. Otherwise this may be the only answer that there is, and it goes by its generation alone.
   */
  async #condition(stored: StoredCredential, answer: Credential): Promise<number | undefined> {
    const { epoch } = answer;
    if (epoch === undefined || stored.credential.loginRequired !== undefined) return undefined;
    const countsForMs = (await this.#duties.newestCountsForMs?.(answer)) ?? 0;
    return (tokenAge(answer.tokens, thisMoment()) ?? 0) < countsForMs ? epoch : undefined;
  }

  /** Draws the consequences: what is remembered, removed from the outbox, set aside, revoked. */
  async #settled(
    answer: StoredCredential,
    landing: Landing,
    entries: readonly OutboxAnswer[],
  ): Promise<void> {
    const { credential } = answer;
    const { id } = answer.address;
    switch (landing.outcome) {
      case 'written':
        break;
      case 'removed': {
        const left = await this.#entries.ofLogin(answer, true);
        const newest = left.reduce((a, one) => (isNewer(one.credential, a) ? one.credential : a), credential);
        const isRevoked = await this.#revoked(newest);
        this.#pending.delete(id);
        this.#written.forget(id);
        if (isRevoked) await this.#entries.remove(left, id);
        return;
      }
      case 'followed':
        // The record keeps the state before, so nothing else says that there was an answer: the note must be written.
        await this.#setAside(answer);
        break;
      default:
        if (!isSameAnswer(landing.stored.credential, credential)) {
          await this.#setAside(answer).catch(() => {
            // It is for people, and worth no further try.
          });
        }
    }
    this.#pending.delete(id);
    const stored = landing.outcome === 'followed' ? answer : landing.stored;
    if (landing.outcome === 'followed') this.#written.forget(id);
    else this.#written.remember(stored);
    await this.#entries.removeOutdated(entries, stored.credential, id);
  }

  /** An answer that came too late to be of use is kept for people, where the store has room for such. */
  async #setAside({ address, key, credential }: StoredCredential): Promise<void> {
    const store = this.#store.recordStoreOf(key);
    await store.quarantineLate?.(address, this.#store.sealed(address, key, credential));
  }

  async #revoked(credential: Credential): Promise<boolean> {
    const { resource } = credential;
    try {
      await this.#duties.revoke?.(credential);
      this.#duties.report?.({
        type: 'revoked',
        message: `The login to ${resource} was removed while it was refreshed; the new tokens were revoked.`,
      });
      return true;
    } catch (error) {
      this.#duties.report?.({
        type: 'revoked',
        message: `The login to ${resource} was removed while it was refreshed, and the new tokens could not be revoked. ${error instanceof HoldfastError ? error.message : ''}`,
        hint: 'End the session at the server, where it offers that.',
      });
      return false;
    }
  }

  /** The store does not take it: in memory for this process, and in the outbox for the others. */
  async #put(at: StoredCredential, lease: Lease, error: unknown): Promise<StoredCredential> {
    const where = await this.#entries.put(at).catch(() => undefined);
    this.#pending.set(at.address.id, { at, lease, isSafe: where !== undefined });
    measure({ name: 'set-aside', why: 'unpersisted' });
    const known = error instanceof HoldfastError ? error : undefined;
    const kept =
      where === undefined
        ? 'they are only in the memory of this process'
        : `they are sealed in ${where}, and the next refresh stores them`;
    this.#duties.report?.({
      type: 'unpersisted',
      message: `The new tokens of ${at.credential.resource} could not be stored; ${kept}. ${known?.message ?? ''}`,
      hint: known?.hint,
    });
    this.#retryIn(FIRST_RETRY_MS);
    return at;
  }

  #retryIn(ms: number): void {
    clearTimeout(this.#timer);
    if (this.#isClosed) return;
    this.#timer = setTimeout(() => {
      this.flushSoon();
      void this.#flushing?.then(() => {
        if (this.#pending.size > 0)
          this.#retryIn(Math.min(Math.max(2 * ms, FIRST_RETRY_MS), LONGEST_RETRY_MS));
      });
    }, ms);
    this.#timer.unref();
  }
}
