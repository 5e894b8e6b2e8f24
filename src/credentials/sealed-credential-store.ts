import { randomBytes } from 'node:crypto';
import { type Credential, type CredentialId, parseCredential, serializeCredential } from '../credential.ts';
import { HoldfastError, LockTimeoutError, RecordDamagedError, StorageUnwritableError } from '../errors.ts';
import type { SealingKey, SealingKeys } from '../keyring/sealing-key.ts';
import { WRAPPED_KID } from '../keyring/wrapped-items.ts';
import { seal, unseal } from '../sealing.ts';
import type {
  CasResult,
  Lease,
  RecordAddress,
  RecordVersion,
  Reservation,
  Store,
  WriteOptions,
} from '../store/store.ts';
import { thisMoment } from '../system/clock.ts';
import { ClaimLease } from './claim-lease.ts';
import type { CredentialLease } from './credential-lease.ts';
import type { CredentialStore, Lookup, StoredCredential, Undecryptable } from './credential-store.ts';
import { LockLease } from './lock-lease.ts';
import { loginCommand } from './login-required.ts';
import { Outbox, type OutboxDuties } from './outbox.ts';
import type { OutboxFiles } from './outbox-files.ts';
import type { RecordAccess, WriteResult } from './record-access.ts';
import { damaged, FORGET, unreachable } from './sealed-errors.ts';
import { dueInMs, redated, tokenAge } from './token-age.ts';

/*
 * Credentials as sealed records: keyrings and record stores meet here. Reading goes from the strongest key to the weakest, and
 * touches no keyring when there is no record to open. A record that does not open is left where it is; only a new login moves
 * it aside.
 */

/** Maximum compare-and-swap retries of a login. */
const SAVE_ATTEMPTS = 20;

/**
 * How long a login that has succeeded waits for a refresh to end, in milliseconds, so that its answer comes first. After that
 * the login is saved all the same, and the answer finds it there.
 */
const SAVE_WAIT_MS = 2_000;

/** One sealing of a state: kept for each retry of its write, which is recognised by it. */
interface Draft {
  readonly kid: string;
  readonly record: string;
  readonly version: RecordVersion;
}

export interface SealedCredentialStoreParts extends OutboxDuties {
  /** Takes what is sealed under a key that outlives this process. */
  readonly lasting: Store;
  /** Takes the rest: a record whose key is gone tomorrow must not litter a disk. */
  readonly passing: Store;
  readonly keys: SealingKeys;
  /** Take what the lasting store cannot. */
  readonly files?: OutboxFiles | undefined;
}

export class SealedCredentialStore implements CredentialStore, RecordAccess {
  readonly #lasting: Store;
  readonly #passing: Store;
  readonly #keys: SealingKeys;
  readonly #outbox: Outbox;
  readonly #drafts = new WeakMap<Credential, Draft>();

  constructor({ lasting, passing, keys, files, ...duties }: SealedCredentialStoreParts) {
    this.#lasting = lasting;
    this.#passing = passing;
    this.#keys = keys;
    this.#outbox = new Outbox(this, files, duties);
  }

  async find(id: CredentialId): Promise<Lookup | undefined> {
    const { recordId } = id;
    const begin = performance.now();
    for (;;) {
      const kids = await this.kidsOf(recordId);
      const held = await this.#strongest(id, kids);
      if (held !== undefined) {
        const others = kids.filter((kid) => kid !== held.key.kid);
        if (!this.#keys.lookAgainFor(others, begin)) return { held, kids };
      } else if (kids.length === 0) {
        return undefined;
      } else if (!this.#keys.lookAgain(begin)) {
        // Removed meanwhile, it is sealed under no key; moved by a rekey, under another one.
        const kidsNow = await this.kidsOf(recordId);
        if (kidsNow.length === 0) return undefined;
        if (kidsNow.some((kid) => !kids.includes(kid))) continue;
        const again = `log in again: ${loginCommand(id.resource, id.account)}`;
        throw unreachable(`The login to ${id.resource}`, this.#keys.problems(), again);
      }
    }
  }

  /** The record under the strongest key that is reachable and has one. */
  async #strongest(id: CredentialId, kids: readonly string[]): Promise<StoredCredential | undefined> {
    if (kids.length === 0) return undefined;
    for await (const key of this.#keys.reachable()) {
      if (!kids.includes(key.kid)) continue;
      const held = await this.#open({ kid: key.kid, id: id.recordId }, key, id);
      if (held !== undefined) return held;
    }
    return undefined;
  }

  /** In both stores. */
  async kidsOf(recordId: string): Promise<readonly string[]> {
    const lists = await Promise.all([this.#lasting.kidsOf(recordId), this.#passing.kidsOf(recordId)]);
    return lists.flat();
  }

  /** The same credential as it is now, under the same key; `undefined` when it is not there. */
  reread(stored: StoredCredential): Promise<StoredCredential | undefined> {
    return this.#open(stored.address, stored.key, undefined);
  }

  version(stored: StoredCredential): Promise<RecordVersion | undefined> {
    return this.recordStoreOf(stored.key).version(stored.address);
  }

  newest(stored: StoredCredential): StoredCredential {
    return this.#outbox.newest(stored);
  }

  lease(stored: StoredCredential): CredentialLease {
    const store = this.recordStoreOf(stored.key);
    return store.claim === undefined
      ? new LockLease(this, this.#outbox, stored)
      : new ClaimLease(this, this.#outbox, stored);
  }

  get isShared(): boolean {
    return this.#lasting.tenant !== undefined;
  }

  /** Where records are that outlive this process. */
  get recordStore(): Store {
    return this.#lasting;
  }

  get lookEveryMs(): number | undefined {
    return this.#lasting.lookEveryMs;
  }

  leased({ key, address }: StoredCredential): Promise<boolean> {
    return this.recordStoreOf(key).locked(address.id);
  }

  reserve({ key }: StoredCredential): Promise<Reservation> {
    return this.recordStoreOf(key).reserve();
  }

  /**
   * Writes the next state of a credential under the key that it was read from. Said again with the same `next`, it is the same
   * write, and recognised as such.
   *
   * @param options.lease ends with the write, where the store can do both in one step
   * @throws StorageUnwritableError when it is not known whether the write landed
   */
  write(
    { address, key, version }: StoredCredential,
    next: Credential,
    options: Pick<WriteOptions, 'lease' | 'onlyIfLast'> = {},
  ): Promise<WriteResult> {
    return this.#cas(address, key, version, next, options);
  }

  /** As `write`, where nothing but the version matters. `undefined`: the record has changed since it was read. */
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
   * @returns `occupied` when that key has a login of this name already, which is another one and stays
   */
  async moveRecord(
    stored: StoredCredential,
    key: SealingKey,
    onlyIfLast: number | undefined,
  ): Promise<WriteResult | { readonly outcome: 'occupied' }> {
    const { credential, address, version } = stored;
    const to = { kid: key.kid, id: address.id };
    if ((await this.#lasting.version(to)) !== undefined) return { outcome: 'occupied' };
    const draft = this.#draft(to, key, credential);
    const options = { ...timesOf(credential), version: draft.version, onlyIfLast };
    const result = await this.#lasting.move(address, to, version, draft.record, options);
    if (result.outcome === 'unknown') throw result.cause;
    return this.#written(result, { credential, address: to, key });
  }

  /** @throws InvalidArgumentError where the records are under another program's key */
  checkRekeyable(): void {
    this.#lasting.checkRekeyable?.();
  }

  /** The keys that an answer on this machine is sealed under: they are still needed. */
  kidsInOutbox(): Promise<readonly string[]> {
    return this.#outbox.kids();
  }

  /** Whether a record could be saved now under a key of that life; throws what a write would throw. */
  async rehearse(lifetime: SealingKey['lifetime']): Promise<void> {
    await (lifetime === 'process' ? this.#passing : this.#lasting).rehearse();
  }

  /**
   * Whether a login may be saved under that key, in place of what is there; a damaged record may be moved aside.
   *
   * @throws RecordNewerError, StorageUnsafeError, StorageUnreadableError when what is there must stay
   */
  async checkReplaceable(key: SealingKey, id: CredentialId): Promise<void> {
    try {
      await this.#open({ kid: key.kid, id: id.recordId }, key, id);
    } catch (error) {
      if (!(error instanceof RecordDamagedError)) throw error;
    }
  }

  /**
   * Saves what a login yielded under that key, in place of what was there.
   *
   * @param make the credential, given the generation that it follows
   * @returns where a damaged record that stood in its place was moved to, if there was one
   * @throws RecordNewerError when what is there was written by a newer Holdfast; it stays
   */
  async save(
    key: SealingKey,
    id: CredentialId,
    make: (generation: number) => Credential,
  ): Promise<{ held: StoredCredential; quarantined: string | undefined }> {
    const address = { kid: key.kid, id: id.recordId };
    const store = this.recordStoreOf(key);
    const lease = await momentarily(store.lock(id.recordId, { waitMs: SAVE_WAIT_MS }));
    let quarantined: string | undefined;
    try {
      for (let attempt = 0; attempt < SAVE_ATTEMPTS; attempt += 1) {
        let before: StoredCredential | undefined;
        try {
          before = await this.#open(address, key, id);
        } catch (error) {
          if (!(error instanceof RecordDamagedError)) throw error;
          quarantined = await store.quarantine(address);
          continue;
        }
        const credential = make((before?.credential.generation ?? 0) + 1);
        const result = await this.#cas(address, key, before?.version, credential, { lease });
        if (result.outcome === 'written') return { held: result.stored, quarantined };
      }
    } finally {
      await lease?.release().catch(() => {
        // It lapses by itself.
      });
    }
    throw new StorageUnwritableError(
      'The record was changed by other processes each time that it was to be written.',
      { hint: 'See which program writes it, then log in again.' },
    );
  }

  async list(only?: CredentialId): Promise<{ held: StoredCredential[]; unopened: Undecryptable[] }> {
    const all = await this.addresses();
    return this.open(only === undefined ? all : all.filter(({ id }) => id === only.recordId), only);
  }

  async addresses(): Promise<RecordAddress[]> {
    const lists = await Promise.all([this.#lasting.list(), this.#passing.list()]);
    return lists.flat().filter(({ kid }) => kid !== WRAPPED_KID);
  }

  /** @param id of all of them, where they have one name */
  async open(
    addresses: readonly RecordAddress[],
    id?: CredentialId,
  ): Promise<{ held: StoredCredential[]; unopened: Undecryptable[] }> {
    const begin = performance.now();
    const byKid = new Map<string, RecordAddress[]>();
    for (const address of addresses) {
      byKid.set(address.kid, [...(byKid.get(address.kid) ?? []), address]);
    }
    const held: StoredCredential[] = [];
    const unopened: Undecryptable[] = [];
    while (byKid.size > 0) {
      for await (const key of this.#keys.reachable()) {
        for (const address of byKid.get(key.kid) ?? []) {
          try {
            const found = await this.#open(address, key, id);
            if (found !== undefined) held.push(found);
          } catch (error) {
            if (!(error instanceof HoldfastError)) throw error;
            unopened.push({ ...address, error });
          }
        }
        byKid.delete(key.kid);
        if (byKid.size === 0) break;
      }
      if (byKid.size === 0 || !this.#keys.lookAgain(begin)) break;
    }
    for (const address of [...byKid.values()].flat()) {
      unopened.push({ ...address, error: unreachable('This record', this.#keys.problems(), FORGET) });
    }
    return { held, unopened };
  }

  flushSoon(): void {
    this.#outbox.flushSoon();
  }

  settle(): Promise<readonly Credential[]> {
    return this.#outbox.settle();
  }

  async close(): Promise<void> {
    await Promise.all([this.#lasting.close(), this.#passing.close(), this.#keys.close()]);
  }

  recordStoreOf(key: SealingKey): Store {
    return key.lifetime === 'process' ? this.#passing : this.#lasting;
  }

  /** Bound to the record id, and to the tenant where the store has those: a record opens under no other name. */
  sealed(address: RecordAddress, key: SealingKey, credential: Credential): string {
    return this.#draft(address, key, credential).record;
  }

  /**
   * Opens what `sealed` made, under whichever reachable key it is sealed.
   *
   * @returns `undefined` when no reachable key opens it
   */
  async unsealed(id: string, kid: string | undefined, record: string): Promise<Credential | undefined> {
    for await (const key of this.#keys.reachable()) {
      if (key.kid !== kid) continue;
      try {
        return parseCredential(unseal(record, key, this.#subject(id, key)));
      } catch (error) {
        if (error instanceof HoldfastError) return undefined;
        throw error;
      }
    }
    return undefined;
  }

  #subject(id: string, key: SealingKey): string {
    const { tenant } = this.recordStoreOf(key);
    return tenant === undefined ? id : `${tenant}/${id}`;
  }

  #draft({ id }: RecordAddress, key: SealingKey, credential: Credential): Draft {
    const known = this.#drafts.get(credential);
    if (known?.kid === key.kid) return known;
    const record = seal(serializeCredential(credential), key, this.#subject(id, key));
    const draft = { kid: key.kid, record, version: randomBytes(12).toString('base64url') };
    this.#drafts.set(credential, draft);
    return draft;
  }

  async #open(
    address: RecordAddress,
    key: SealingKey,
    id: CredentialId | undefined,
  ): Promise<StoredCredential | undefined> {
    // From before it was asked for: a token may be older than it looks here, and never younger.
    const asked = thisMoment();
    const found = await this.recordStoreOf(key).read(address);
    if (found === undefined) return undefined;
    try {
      const plain = parseCredential(unseal(found.record, key, this.#subject(address.id, key)));
      return { credential: redated(plain, found.ageMs, asked), address, version: found.version, key };
    } catch (error) {
      throw error instanceof RecordDamagedError ? damaged(error, id) : error;
    }
  }

  async #cas(
    address: RecordAddress,
    key: SealingKey,
    expected: RecordVersion | undefined,
    credential: Credential,
    { lease, onlyIfLast }: { lease?: Lease | undefined; onlyIfLast?: number | undefined },
  ): Promise<WriteResult> {
    const draft = this.#draft(address, key, credential);
    const store = this.recordStoreOf(key);
    const result = await store.cas(address, expected, draft.record, {
      ...timesOf(credential),
      lease,
      version: draft.version,
      onlyIfLast,
    });
    const state = { credential, address, key };
    if (result.outcome === 'ok' || result.outcome === 'followed') return this.#written(result, state);
    // An earlier try may have landed, or this one, although its answer did not come.
    const found = await store.read(address);
    if (found?.record === draft.record) {
      return { outcome: 'written', stored: { ...state, version: found.version } };
    }
    if (result.outcome === 'conflict' || found?.version !== expected) return { outcome: 'changed' };
    throw new StorageUnwritableError(
      'The store broke off while it wrote, and the record is as it was before.',
      { cause: result.cause, hint: 'Try again.' },
    );
  }

  #written(
    result: Exclude<CasResult, { outcome: 'unknown' }>,
    state: Omit<StoredCredential, 'version'>,
  ): WriteResult {
    if (result.outcome === 'ok') return { outcome: 'written', stored: { ...state, version: result.version } };
    return result.outcome === 'followed' ? result : { outcome: 'changed' };
  }
}

function timesOf(credential: Credential): Pick<WriteOptions, 'ageMs' | 'dueInMs'> {
  const now = thisMoment();
  return { ageMs: tokenAge(credential.tokens, now), dueInMs: dueInMs(credential, now) };
}

/** That lease, unless somebody else has it for so long. */
async function momentarily(lease: Promise<Lease>): Promise<Lease | undefined> {
  try {
    return await lease;
  } catch (error) {
    if (error instanceof LockTimeoutError) return undefined;
    throw error;
  }
}
