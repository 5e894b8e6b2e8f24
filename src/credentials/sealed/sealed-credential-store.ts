import type { Credential, CredentialId } from '../../credential.ts';
import { HoldfastError, LockTimeoutError, RecordDamagedError, StorageUnwritableError } from '../../errors.ts';
import type { SealingKey, SealingKeys } from '../../keyring/sealing-key.ts';
import type {
  Lease,
  RecordAddress,
  RecordIndex,
  RecordStore,
  RecordVersion,
  Reservation,
  WriteOptions,
} from '../../store/record-store.ts';
import { mapBounded } from '../../system/bounded-map.ts';
import type { MachineUse } from '../../system/os/machine-note.ts';
import type { CredentialStore, Lookup, StoredCredential, Undecryptable } from '../credential-store.ts';
import { ClaimLease } from '../lease/claim-lease.ts';
import type { CredentialLease } from '../lease/credential-lease.ts';
import { quietly } from '../lease/lease-steps.ts';
import { LockLease } from '../lease/lock-lease.ts';
import { Outbox, type OutboxDuties } from '../outbox/outbox.ts';
import type { OutboxFiles } from '../outbox/outbox-files.ts';
import type { CredentialRecords, RecordWrite } from './credential-records.ts';
import type { RecordAccess, WriteResult } from './record-access.ts';
import { RecordLookup } from './record-lookup.ts';
import { SealedRecords } from './sealed-records.ts';

/*
 * Stores credentials as sealed records, with keys from keyrings and records in record stores. A record that cannot be
 * opened stays in its place; only a new login moves it aside.
 */

/** Maximum compare-and-swap retries of a login. */
const SAVE_ATTEMPTS = 20;

/**
 * How long a successful login waits for a running refresh, in milliseconds, so that the refresh's answer comes first.
 * Afterwards the login is saved anyway, and the answer finds it there.
 */
const SAVE_WAIT_MS = 2_000;

/** Maximum number of concurrent lease queries, if the store needs a query for each lease. */
const LOOKS_AT_ONCE = 16;

export interface SealedCredentialStoreParts extends OutboxDuties {
  /** Stores the records whose key outlives this process. */
  readonly persistent: RecordStore | CredentialRecords;
  /** Stores the other records: a record whose key is lost at the end of the process must not litter a disk. */
  readonly ephemeral: RecordStore;
  readonly keys: SealingKeys;
  /** Store the answers that the persistent store does not take. */
  readonly files?: OutboxFiles | undefined;
}

export class SealedCredentialStore implements CredentialStore, RecordAccess {
  readonly #records: RecordLookup;
  readonly #persistent: CredentialRecords;
  readonly #ephemeral: CredentialRecords;
  readonly #keys: SealingKeys;
  readonly #outbox: Outbox;

  constructor({ persistent, ephemeral, keys, files, ...duties }: SealedCredentialStoreParts) {
    this.#persistent = 'index' in persistent ? persistent : new SealedRecords(persistent);
    this.#ephemeral = new SealedRecords(ephemeral);
    this.#keys = keys;
    this.#records = new RecordLookup(this.#persistent, this.#ephemeral, keys);
    this.#outbox = new Outbox(this, files, duties);
  }

  find(id: CredentialId): Promise<Lookup | undefined> {
    return this.#records.find(id);
  }

  kidsOf(recordId: string): Promise<readonly string[]> {
    return this.#records.kidsOf(recordId);
  }

  /** Reads the credential again under the same key; `undefined` when it is gone. */
  reread(stored: StoredCredential): Promise<StoredCredential | undefined> {
    return this.#records.open(stored.address, stored.key, undefined);
  }

  version(stored: StoredCredential): Promise<RecordVersion | undefined> {
    return this.recordStoreOf(stored.key).version(stored.address);
  }

  newest(stored: StoredCredential, seen?: StoredCredential): StoredCredential {
    return this.#outbox.newest(stored, seen);
  }

  lease(stored: StoredCredential): CredentialLease {
    const store = this.recordStoreOf(stored.key);
    return store.claim === undefined
      ? new LockLease(this, this.#outbox, stored)
      : new ClaimLease(this, this.#outbox, stored);
  }

  get isShared(): boolean {
    return this.recordStore.tenant !== undefined;
  }

  /** The store of the records that outlive this process. */
  get recordStore(): RecordIndex {
    return this.#persistent.index;
  }

  get lookEveryMs(): number | undefined {
    return this.recordStore.lookEveryMs;
  }

  /** The ids of the records that a process is changing now; empty if the store cannot tell. */
  async leased(stored: readonly StoredCredential[]): Promise<ReadonlySet<string>> {
    // A record id under two keys has one lock. Two concurrent queries would see each other's lock.
    const ids = [...new Set(stored.map(({ address }) => address.id))];
    const found = await Promise.all(
      [this.#persistent, this.#ephemeral].map(({ index }) => lockedOf(index, ids)),
    );
    return new Set(found.flat());
  }

  async machines({ key, address }: StoredCredential): Promise<readonly MachineUse[]> {
    return (await this.recordStoreOf(key).machines?.(address.id)) ?? [];
  }

  reserve({ key }: StoredCredential): Promise<Reservation> {
    return this.recordStoreOf(key).reserve();
  }

  /**
   * Writes the next state of a credential under the key that it was read with. A repeated call with the same `next` is
   * recognised as the same write.
   *
   * @param options.lease ends with the write, if the store can do both in one step
   * @throws StorageUnwritableError when it is not known whether the write succeeded
   */
  async write(
    { address, key, version }: StoredCredential,
    next: Credential,
    options: Pick<WriteOptions, 'lease' | 'onlyIfLast' | 'onlyIfUnsentSince'> = {},
  ): Promise<WriteResult> {
    const result = await this.#records.recordsOf(key).write(address, key, version, next, options);
    return withState(result, { credential: next, address, key });
  }

  /** Like `write`, but only the version matters. `undefined`: the record has changed since it was read. */
  async replace(stored: StoredCredential, next: Credential): Promise<StoredCredential | undefined> {
    const result = await this.write(stored, next);
    return result.outcome === 'written' ? result.stored : undefined;
  }

  /** Removes that record. `false` when it has changed since it was read, is gone, or was claimed after `onlyIfLast`. */
  removeRecord({ address, key, version }: StoredCredential, onlyIfLast?: number): Promise<boolean> {
    return this.recordStoreOf(key).remove(address, version, { onlyIfLast });
  }

  /**
   * Seals a credential under another key, in place of the record that it was read from.
   *
   * @returns `occupied` when that key already has a login with this id, which is a different one and stays
   */
  async moveRecord(
    stored: StoredCredential,
    key: SealingKey,
    onlyIfLast: number | undefined,
  ): Promise<WriteResult | { readonly outcome: 'occupied' }> {
    const { credential, address, version } = stored;
    const to = { kid: key.kid, id: address.id };
    if ((await this.recordStore.version(to)) !== undefined) return { outcome: 'occupied' };
    const result = await this.#persistent.move(address, to, key, version, credential, { onlyIfLast });
    return withState(result, { credential, address: to, key });
  }

  /** @throws InvalidArgumentError when the records are under another program's key */
  checkRekeyable(): void {
    this.recordStore.checkRekeyable?.();
  }

  /** The kids of the keys that seal the answers on this machine: they are still needed. */
  kidsInOutbox(): Promise<readonly string[]> {
    return this.#outbox.kids();
  }

  /** Checks that a record could be saved now under a key with that lifetime; throws what a write would throw. */
  async selfTest(lifetime: SealingKey['lifetime']): Promise<void> {
    await this.#records.recordsOf({ lifetime }).index.selfTest();
  }

  /**
   * Checks that a login may replace the record under that key; a damaged record may be moved aside.
   *
   * @throws RecordNewerError, StorageUnsafeError, StorageUnreadableError when the record must stay
   */
  async checkReplaceable(key: SealingKey, id: CredentialId): Promise<void> {
    try {
      await this.#records.open({ kid: key.kid, id: id.recordId }, key, id);
    } catch (error) {
      if (!(error instanceof RecordDamagedError)) throw error;
    }
  }

  /** Ends the outbox's answers of removed logins. Never throws: the next login or logout tries again. */
  async endRemoved({ recordId }: CredentialId, revoked: readonly Credential[] = []): Promise<void> {
    await quietly(this.#outbox.endRemoved(recordId, revoked));
  }

  /**
   * Saves a login under that key. It replaces the earlier record, and those under retired keys of the same keyring. The
   * retired records go last and the newer key is read first, so the new login is found even if the process dies in
   * between.
   *
   * @param make makes the credential, given its generation
   * @returns the location that a damaged record was moved to, if there was one
   * @throws RecordNewerError when a newer Holdfast wrote the record; it stays
   */
  async save(
    key: SealingKey,
    id: CredentialId,
    make: (generation: number) => Credential,
  ): Promise<{ held: StoredCredential; quarantined: string | undefined }> {
    const address = { kid: key.kid, id: id.recordId };
    const records = this.#records.recordsOf(key);
    const store = records.index;
    const lease = await momentarily(store.lock(id.recordId, { waitMs: SAVE_WAIT_MS }));
    let quarantined: string | undefined;
    try {
      const retired = (await quietly(this.#underRetiredKeys(key, id))) ?? [];
      for (let attempt = 0; attempt < SAVE_ATTEMPTS; attempt += 1) {
        let before: StoredCredential | undefined;
        try {
          before = await this.#records.open(address, key, id);
        } catch (error) {
          if (!(error instanceof RecordDamagedError)) throw error;
          quarantined = await store.quarantine(address);
          continue;
        }
        const earlier = [before, ...retired].map((one) => one?.credential.generation ?? 0);
        const credential = make(Math.max(...earlier) + 1);
        const result = await records.write(address, key, before?.version, credential, { lease });
        if (result.outcome !== 'written') continue;
        for (const one of retired) await quietly(this.#removeSuperseded(one));
        return { held: { credential, address, key, version: result.version }, quarantined };
      }
    } finally {
      await lease?.release().catch(() => {
        // The lease expires automatically.
      });
    }
    throw new StorageUnwritableError(
      'The record was changed by other processes each time that it was to be written.',
      { hint: 'See which program writes it, then log in again.' },
    );
  }

  /** The records of that credential under other keys of the same keyring. */
  async #underRetiredKeys(key: SealingKey, id: CredentialId): Promise<readonly StoredCredential[]> {
    const kids = await this.kidsOf(id.recordId);
    if (kids.every((kid) => kid === key.kid)) return [];
    const { held } = await this.#records.all(id);
    return held.filter((one) => one.key.keyringId === key.keyringId && one.key.kid !== key.kid);
  }

  /** Removes the record of that login, even if it was refreshed meanwhile. */
  async #removeSuperseded({ credential, ...before }: StoredCredential): Promise<void> {
    for (let attempt = 0; attempt < SAVE_ATTEMPTS; attempt += 1) {
      const now = await this.reread({ credential, ...before });
      if (now?.credential.loggedInAt !== credential.loggedInAt || (await this.removeRecord(now))) return;
    }
  }

  async list(only?: CredentialId): Promise<{ held: StoredCredential[]; undecryptable: Undecryptable[] }> {
    if (only === undefined) return this.open(await this.addresses());
    return this.#records.all(only);
  }

  addresses(): Promise<RecordAddress[]> {
    return this.#records.addresses();
  }

  open(
    addresses: readonly RecordAddress[],
  ): Promise<{ held: StoredCredential[]; undecryptable: Undecryptable[] }> {
    return this.#records.openAll(addresses, undefined);
  }

  flushSoon(): void {
    this.#outbox.flushSoon();
  }

  settle(): Promise<readonly Credential[]> {
    return this.#outbox.settle();
  }

  async close(): Promise<void> {
    await Promise.all([this.#persistent.index.close(), this.#ephemeral.index.close(), this.#keys.close()]);
  }

  recordStoreOf(key: SealingKey): RecordIndex {
    return this.#records.recordsOf(key).index;
  }

  sealed({ id }: RecordAddress, key: SealingKey, credential: Credential): string {
    return this.#records.recordsOf(key).sealed(id, key, credential);
  }

  /**
   * Opens what `sealed` made, under the reachable key that sealed it.
   *
   * @returns `undefined` when no reachable key opens it
   */
  async unsealed(id: string, kid: string | undefined, record: string): Promise<Credential | undefined> {
    for await (const key of this.#keys.reachable()) {
      if (key.kid !== kid) continue;
      try {
        return this.#records.recordsOf(key).unsealed(id, key, record);
      } catch (error) {
        if (error instanceof HoldfastError) return undefined;
        throw error;
      }
    }
    return undefined;
  }
}

function withState(result: RecordWrite, state: Omit<StoredCredential, 'version'>): WriteResult {
  if (result.outcome !== 'written') return result;
  return { outcome: 'written', stored: { ...state, version: result.version } };
}

async function lockedOf(index: RecordIndex, ids: readonly string[]): Promise<readonly string[]> {
  try {
    if (index.lockedAmong !== undefined) return await index.lockedAmong(ids);
    const locked = await mapBounded(ids, LOOKS_AT_ONCE, (id) => index.locked(id).catch(() => false));
    return ids.filter((_, at) => locked[at] === true);
  } catch {
    // The state of a lock is not worth failing a listing for.
    return [];
  }
}

/** The lease, or `undefined` if another process holds it until the time limit. */
async function momentarily(lease: Promise<Lease>): Promise<Lease | undefined> {
  try {
    return await lease;
  } catch (error) {
    if (error instanceof LockTimeoutError) return undefined;
    throw error;
  }
}
