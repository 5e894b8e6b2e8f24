import type { Credential } from '../../credential.ts';
import { HoldfastError, LoginRequiredError, StorageUnwritableError } from '../../errors.ts';
import type { Lease } from '../../store/record-store.ts';
import { thisMoment } from '../../system/clock.ts';
import { sleep } from '../../system/locks/keyed-mutex.ts';
import { measure } from '../../system/metric-channel.ts';
import { defined } from '../../values/defined.ts';
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
 * Makes sure that no answer with tokens is dropped: nothing else in the world has them. The outbox writes each answer
 * by its generation, not by its lease, to the place where its record is by then, and retries. If the store does not
 * take it, the outbox holds it in memory and in a sealed entry. It writes the answer again if the store forgets it.
 */

/** Pauses between tries to write an answer while its caller waits, in milliseconds. */
const WRITE_PAUSES_MS = [20, 100, 500];

/** The pause between tries when no caller waits, in milliseconds; it grows. */
const FIRST_RETRY_MS = 250;
const LONGEST_RETRY_MS = 1_000;

/** Maximum number of changes to a record while one answer is written: refreshes do not change it this often. */
const MOST_CHANGES = 20;

export interface OutboxDuties {
  readonly report?: ((event: VaultEvent) => void) | undefined;
  /**
   * How long that credential's server answers the same refresh token again and lets the newest answer count, in
   * milliseconds since the request. During that time an older answer must not replace another process's. 0: every
   * answer may be the only one.
   */
  readonly newestCountsForMs?: ((credential: Credential) => Promise<number>) | undefined;
  /** Revokes the tokens of a login that was removed while the request for them was running. */
  readonly revoke?: ((credential: Credential) => Promise<void>) | undefined;
}

/** An answer that no record has yet. */
interface Pending {
  readonly at: StoredCredential;
  /** Held until the answer is saved: no other process may send the refresh token that it came from. */
  readonly lease?: Lease | undefined;
  /** Saved in the outbox, so that another process can find it. */
  readonly isSafe: boolean;
}

/** The outcome of writing an answer. `stored` is the record's state afterwards. */
type WriteOutcome =
  | { readonly outcome: 'written'; readonly stored: StoredCredential }
  /** The record has a newer state, or another login. */
  | { readonly outcome: 'superseded'; readonly stored: StoredCredential }
  /**
   * Another process may have a newer answer. The record still has the refresh token of both answers, which works a
   * third time.
   */
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
   * Returns the credential with the newest tokens that this process knows.
   *
   * @param seen what the store had when this process last looked
   */
  newest(stored: StoredCredential, seen: StoredCredential = stored): StoredCredential {
    const { id } = stored.address;
    const written = this.#written.newer(stored) ?? stored.credential;
    const known = isNewer(seen.credential, written) ? seen.credential : written;
    if (known !== stored.credential && !this.#pending.has(id)) {
      // The store forgot a write that it had acknowledged: a replica without the last writes took over, or a backup was
      // restored.
      this.#pending.set(id, { at: { ...stored, credential: known }, isSafe: false });
      this.#retryIn(0);
    }
    const pending = this.#pending.get(id)?.at.credential;
    return pending !== undefined && isNewer(pending, stored.credential)
      ? { ...stored, credential: pending }
      : stored;
  }

  /** Whether the lease must stay held, because its answer is in no record yet. */
  needs(lease: Lease): boolean {
    return [...this.#pending.values()].some((one) => one.lease === lease);
  }

  /**
   * Recovers the newest tokens of the credential from the record, this process and the outbox, and writes them to the
   * record. Only the holder of the lease may call it.
   *
   * @param lease stays held if this write fails too
   * @param look.rows whether the store may have entries of other machines
   */
  async recover(
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
    let result: WriteOutcome;
    try {
      // Do not pass `lease`: its holder's next step ends it, not this write.
      result = await this.#write(stored, newest, undefined);
    } catch {
      // The store still takes no writes; the entries stay.
      this.#pending.set(stored.address.id, { at, lease, isSafe: entries.length > 0 });
      this.#retryIn(FIRST_RETRY_MS);
      return at;
    }
    await this.#settled(at, result, entries);
    if (result.outcome !== 'followed') return result.stored ?? stored;
    // That answer was set aside. The remaining entries may be older, or there may be none.
    return this.recover(result.stored, lease, look);
  }

  /**
   * Saves a server's answer in the record, or in the outbox if the store does not take it.
   *
   * @param base the record whose refresh token was sent
   * @param lease ends with the write if the store can do both in one step; it stays held while the answer is in no
   * record
   * @returns the record's state afterwards: the answer, or a state that takes precedence
   * @throws LoginRequiredError when the login was removed or moved away meanwhile
   */
  async save(base: StoredCredential, credential: Credential, lease: Lease): Promise<StoredCredential> {
    const at = { ...base, credential };
    for (let attempt = 0; ; attempt += 1) {
      try {
        const result = await this.#write(base, credential, lease);
        await this.#settled(at, result, []);
        if (result.stored === undefined) throw loggedOut(credential);
        if (result.outcome === 'moved-away') throw refused(result.stored.credential);
        return result.stored;
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
   * Revokes and removes the outbox's answers whose login was removed. The process that saved them died, and no record
   * leads to them any more. An answer that cannot be revoked now stays.
   *
   * @param revoked what the caller has revoked already
   */
  async endRemoved(id: string, revoked: readonly Credential[]): Promise<void> {
    const store = this.#store.recordStore;
    const found = await this.#entries.of(id, store, true);
    // A staged file is the record of a login that is being saved.
    const left = found.filter(({ file, row }) => file !== undefined || row !== undefined);
    // Read after the entries: each entry was saved while its record existed.
    if (left.length === 0 || (await store.kidsOf(id)).length > 0) return;
    const newest = left.filter((one) => !left.some((two) => isNewer(two.credential, one.credential)));
    for (const { credential } of newest) {
      const { loggedInAt } = credential;
      const ofLogin = left.filter((one) => one.credential.loggedInAt === loggedInAt);
      const isRevoked = revoked.some(
        (one) => one.loggedInAt === loggedInAt && one.generation >= credential.generation,
      );
      if (isRevoked || (await this.#revoked(credential))) await this.#entries.remove(ofLogin, id);
    }
  }

  /** Retries the writes that the store could not take, in the background. */
  flushSoon(): void {
    if (this.#pending.size === 0) return;
    this.#flushing ??= this.#flush().finally(() => {
      this.#flushing = undefined;
    });
  }

  /**
   * Retries once more the writes that the store could not take.
   *
   * @returns the credentials that are saved nowhere that outlives this process
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
    // The lease expires, and the next holder looks into the outbox first.
    for (const { lease } of left) lease?.abandon?.();
    return left.filter(({ isSafe }) => !isSafe).map(({ at }) => at.credential);
  }

  /** The kids of the keys that seal the answers on this machine. */
  async kids(): Promise<readonly string[]> {
    return (await this.#files?.kids()) ?? [];
  }

  async #flush(): Promise<void> {
    for (const [id, pending] of this.#pending) {
      const { at, lease } = pending;
      try {
        const stored = await locate(this.#store, at);
        const result: WriteOutcome =
          stored === undefined ? { outcome: 'removed' } : await this.#write(stored, at.credential, lease);
        if (this.#pending.get(id) !== pending) continue;
        await this.#settled(at, result, await this.#entries.ofLogin(at, true));
        await lease?.release();
      } catch {
        // The first failure was reported, and the next try may succeed.
      }
    }
  }

  /**
   * Writes the answer to its current record, unless that record's state takes precedence.
   *
   * @throws when the outcome cannot be known
   */
  async #write(base: StoredCredential, answer: Credential, lease: Lease | undefined): Promise<WriteOutcome> {
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
   * While the server would still answer again and the newest answer counts, the write requires that no other process
   * has sent the same refresh token since. Otherwise this may be the only answer, so only its generation decides.
   */
  async #condition(stored: StoredCredential, answer: Credential): Promise<number | undefined> {
    const { epoch } = answer;
    if (epoch === undefined || stored.credential.loginRequired !== undefined) return undefined;
    const countsForMs = (await this.#duties.newestCountsForMs?.(answer)) ?? 0;
    return (tokenAge(answer.tokens, thisMoment()) ?? 0) < countsForMs ? epoch : undefined;
  }

  /** Applies the outcome: what to remember, remove from the outbox, set aside or revoke. */
  async #settled(
    answer: StoredCredential,
    result: WriteOutcome,
    entries: readonly OutboxAnswer[],
  ): Promise<void> {
    const { credential } = answer;
    const { id } = answer.address;
    switch (result.outcome) {
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
        // The record still has the previous state, so only this quarantined answer shows that there was one; the error
        // must surface.
        await this.#quarantine(answer);
        break;
      default:
        if (!isSameAnswer(result.stored.credential, credential)) {
          await this.#quarantine(answer).catch(() => {
            // It is only for people to inspect, and not worth another try.
          });
        }
    }
    this.#pending.delete(id);
    const stored = result.outcome === 'followed' ? answer : result.stored;
    if (result.outcome === 'followed') this.#written.forget(id);
    else this.#written.remember(stored);
    await this.#entries.removeOutdated(entries, stored.credential, id);
  }

  /** Quarantines an answer that came too late, for people to inspect, if the store supports that. */
  async #quarantine({ address, key, credential }: StoredCredential): Promise<void> {
    const store = this.#store.recordStoreOf(key);
    await store.quarantineLate?.(address, this.#store.sealed(address, key, credential));
  }

  async #revoked(credential: Credential): Promise<boolean> {
    const { resource, account } = credential;
    try {
      await this.#duties.revoke?.(credential);
      this.#duties.report?.({
        type: 'revoked',
        message: `The login to ${resource} was removed while it was refreshed; the new tokens were revoked.`,
        resource,
        account,
      });
      return true;
    } catch (error) {
      this.#duties.report?.({
        type: 'revoked',
        message: `The login to ${resource} was removed while it was refreshed, and the new tokens could not be revoked. ${error instanceof HoldfastError ? error.message : ''}`,
        hint: 'End the session at the server, where it offers that.',
        resource,
        account,
        ...(error instanceof HoldfastError ? { code: error.code } : {}),
      });
      return false;
    }
  }

  /** The store did not take the answer. It stays in memory for this process and goes into the outbox for the others. */
  async #put(at: StoredCredential, lease: Lease, error: unknown): Promise<StoredCredential> {
    const where = await this.#entries.put(at).catch(() => undefined);
    this.#pending.set(at.address.id, { at, lease, isSafe: where !== undefined });
    measure({ name: 'set-aside', why: 'unpersisted' });
    const known = error instanceof HoldfastError ? error : undefined;
    const { resource, account } = at.credential;
    const kept =
      where === undefined
        ? 'they are only in the memory of this process'
        : `they are sealed in ${where}, and the next refresh stores them`;
    this.#duties.report?.(
      defined({
        type: 'unpersisted',
        message: `The new tokens of ${resource} could not be stored; ${kept}. ${known?.message ?? ''}`,
        hint: known?.hint,
        resource,
        account,
        code: known?.code,
      }),
    );
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
