import type { Credential } from '../../credential.ts';
import type { SealingKey } from '../../keyring/sealing-key.ts';
import type { Lease } from '../../store/record-store.ts';
import type { Outbox } from '../outbox/outbox.ts';
import type { RecordAccess } from '../sealed/record-access.ts';
import type { StoredCredential } from '../stored-credential.ts';
import type { BeginOptions, CredentialLease, Replaced } from './credential-lease.ts';
import { locate, quietly, replaced } from './lease-steps.ts';

/**
 * A lease that only its holder's release or death frees: a kernel lock, or a turn within this process. No process can
 * take it from a living holder, so there is nothing to fence. But a holder that dies during a request lets the next one
 * in at once.
 */
export class LockLease implements CredentialLease {
  readonly #store: RecordAccess;
  readonly #outbox: Outbox;
  readonly #before: StoredCredential;
  #lock: Lease | undefined;
  #current: StoredCredential | undefined;
  #note: string | undefined;

  constructor(store: RecordAccess, outbox: Outbox, before: StoredCredential) {
    this.#store = store;
    this.#outbox = outbox;
    this.#before = before;
  }

  async begin(options: BeginOptions): Promise<StoredCredential | undefined> {
    const store = this.#store.recordStoreOf(this.#before.key);
    const lock = await store.lock(this.#before.address.id, options);
    this.#lock = lock;
    try {
      const stored = await locate(this.#store, this.#before);
      if (stored === undefined) return undefined;
      this.#current = await this.#outbox.recover(stored, lock, { rows: true });
      this.#note = await quietly(lock.note());
      return this.#current;
    } catch (error) {
      await this.release();
      throw error;
    }
  }

  get note(): string | undefined {
    return this.#note;
  }

  get abandonedAt(): number | undefined {
    return this.#lock?.abandonedAt;
  }

  readonly passesAtOnce = true;

  now(): number {
    return this.#lock?.now?.() ?? Date.now();
  }

  get epoch(): number | undefined {
    return this.#lock?.epoch;
  }

  async look(): Promise<StoredCredential | undefined> {
    const stored = await locate(this.#store, this.#current ?? this.#before);
    this.#current = stored && this.#store.newest(stored);
    return this.#current;
  }

  async leave(note: string): Promise<void> {
    await quietly(this.#lock?.setNote(note));
  }

  announce(): void {
    // The note already tells the other holders.
  }

  async confirm(): Promise<void> {
    await this.#lock?.confirm?.();
  }

  fence(): void {
    this.#lock?.check?.();
  }

  sent(): void {
    // No other holder can have sent a request in between.
  }

  async complete(next: Credential, note: string): Promise<StoredCredential> {
    const lock = this.#held;
    const { epoch } = lock;
    const answer = epoch === undefined ? next : { ...next, epoch };
    const saved = await this.#outbox.save(this.#current ?? this.#before, answer, lock);
    await this.leave(note);
    return saved;
  }

  async replace(current: StoredCredential, next: Credential): Promise<Replaced> {
    return replaced(await this.#store.write(current, next));
  }

  async move(current: StoredCredential, key: SealingKey): Promise<Replaced | 'occupied'> {
    const result = await this.#store.moveRecord(current, key, undefined);
    return result.outcome === 'occupied' ? 'occupied' : replaced(result);
  }

  remove(current: StoredCredential): Promise<boolean> {
    return this.#store.removeRecord(current);
  }

  async release(): Promise<void> {
    // Even if an answer is not saved yet: the next holder finds it in the outbox.
    await quietly(this.#lock?.release());
  }

  get #held(): Lease {
    if (this.#lock === undefined) throw new TypeError('the lease is not held');
    return this.#lock;
  }
}
