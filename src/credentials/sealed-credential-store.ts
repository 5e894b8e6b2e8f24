import {
  accountLabel,
  type Credential,
  canonicalResource,
  parseCredential,
  recordId,
  serializeCredential,
} from '../credential.ts';
import {
  HoldfastError,
  KeyringBrokenError,
  KeyringDeniedError,
  KeyringLockedError,
  KeyUnavailableError,
  RecordDamagedError,
  StorageUnwritableError,
} from '../errors.ts';
import type { SealingKey, SealingKeys } from '../keyring/sealing-key.ts';
import { WRAPPED_KID } from '../keyring/wrapped-items.ts';
import { seal, unseal } from '../sealing.ts';
import type {
  Lease,
  LeaseOptions,
  RecordAddress,
  RecordVersion,
  Reservation,
  Store,
  WriteOptions,
} from '../store/store.ts';
import { thisMoment } from '../system/clock.ts';
import { loginCommand } from './login-required.ts';
import type { Spill } from './outbox-files.ts';
import { dated, tokenAge } from './token-age.ts';

/*
 * Sealed credentials: where keyring and store meet. Reading goes from the strongest key to the weakest, and touches no
 * keyring when there is no record to open. A record that does not open is left where it is; only a new login moves it
 * aside.
 */

/** Which credential: a canonical resource and an account label. */
export interface Name {
  readonly resource: string;
  readonly account: string;
}

/** A credential as it was found, and what writing it back needs. */
export interface Held {
  readonly credential: Credential;
  readonly address: RecordAddress;
  readonly version: RecordVersion;
  readonly key: SealingKey;
}

/** A credential that was looked for, and the keys that have a record of its name. */
export interface Found {
  readonly held: Held;
  readonly kids: readonly string[];
}

/** A record that could not be opened from here, and why. */
export interface Unopened extends RecordAddress {
  readonly error: HoldfastError;
}

/** A login lost its race against this many others before it gives up; nobody logs in so often. */
const KEEP_ATTEMPTS = 20;

/** @throws InvalidArgumentError when either part is unusable */
export function nameOf(resource: string, account: string | undefined): Name {
  return { resource: canonicalResource(resource), account: accountLabel(account) };
}

export class Custody {
  readonly #lasting: Store;
  readonly #passing: Store;
  readonly #spill: Spill | undefined;
  readonly #keys: SealingKeys;

  /**
   * @param stores.lasting takes what is sealed under a key that outlives this process
   * @param stores.passing takes the rest: a record whose key is gone tomorrow must not litter a disk
   * @param stores.spill takes what the lasting one cannot
   */
  constructor(stores: { lasting: Store; passing: Store; spill?: Spill | undefined }, keys: SealingKeys) {
    this.#lasting = stores.lasting;
    this.#passing = stores.passing;
    this.#spill = stores.spill;
    this.#keys = keys;
  }

  /**
   * The credential of that name, under the strongest key that has one; `undefined` when no key has.
   *
   * @throws RecordDamagedError, RecordNewerError when the strongest one does not open
   * @throws KeyringLockedError, KeyringDeniedError, KeyringBrokenError, KeyUnavailableError when there is one, sealed
   *   under a key that cannot be reached
   */
  async find(name: Name): Promise<Found | undefined> {
    const id = recordId(name.resource, name.account);
    const begin = performance.now();
    for (;;) {
      const kids = await this.kidsOf(id);
      const held = await this.#strongest(name, id, kids);
      if (held !== undefined) {
        const others = kids.filter((kid) => kid !== held.key.kid);
        if (!this.#keys.lookAgainFor(others, begin)) return { held, kids };
      } else if (kids.length === 0) {
        return undefined;
      } else if (!this.#keys.lookAgain(begin)) {
        // Removed since it was looked for, it is not sealed under anything; moved by a rekey, it is under another key.
        const kidsNow = await this.kidsOf(id);
        if (kidsNow.length === 0) return undefined;
        if (kidsNow.some((kid) => !kids.includes(kid))) continue;
        throw unreachable(`The login to ${name.resource}`, this.#keys.problems());
      }
    }
  }

  /** The record under the strongest key that is reachable and has one. */
  async #strongest(name: Name, id: string, kids: readonly string[]): Promise<Held | undefined> {
    if (kids.length === 0) return undefined;
    for await (const key of this.#keys.reachable()) {
      const held = kids.includes(key.kid) ? await this.#open({ kid: key.kid, id }, key, name) : undefined;
      if (held !== undefined) return held;
    }
    return undefined;
  }

  /** The keys that have a record of this id, in both stores; touches no keyring. */
  async kidsOf(id: string): Promise<readonly string[]> {
    const lists = await Promise.all([this.#lasting.kidsOf(id), this.#passing.kidsOf(id)]);
    return lists.flat();
  }

  /** The same credential as it is now; `undefined` when it was removed. */
  reread(held: Held): Promise<Held | undefined> {
    return this.#open(held.address, held.key, held.credential);
  }

  /** The version of the record now: changes with every write, by whichever process. */
  version(held: Held): Promise<RecordVersion | undefined> {
    return this.#storeOf(held.key).version(held.address);
  }

  /** The exclusive right to refresh this credential. */
  lease(held: Held, options: LeaseOptions): Promise<Lease> {
    return this.#storeOf(held.key).lock(held.address.id, options);
  }

  /**
   * The lease for a refresh, and the credential as it is under it: `held` is absent when it was removed. Without a lease, the
   * record has changed, and there is nothing to refresh.
   */
  async claim(
    held: Held,
    options: LeaseOptions,
  ): Promise<{ readonly lease: Lease; readonly held: Held | undefined } | undefined> {
    const store = this.#storeOf(held.key);
    if (store.claim === undefined) {
      const lease = await store.lock(held.address.id, options);
      try {
        return { lease, held: await this.reread(held) };
      } catch (error) {
        await lease.release().catch(() => {});
        throw error;
      }
    }
    const lease = await store.claim(held.address, held.version, options);
    return lease && { lease, held };
  }

  /** Whether other machines have the same records. */
  get isShared(): boolean {
    return this.#lasting.tenant !== undefined;
  }

  /** Whether the lease of that credential can pass to another while its holder lives. */
  hasClaims({ key }: Held): boolean {
    return this.#storeOf(key).claim !== undefined;
  }

  /** Where what outlives this process lies. */
  get store(): Store {
    return this.#lasting;
  }

  /** For how long a token in memory is served before the store is asked again, in milliseconds; absent, as usual. */
  get lookEveryMs(): number | undefined {
    return this.#lasting.lookEveryMs;
  }

  /** Keeps an answer that came too late to be of use, for people, where the store has a place for such. */
  async journal({ address, key }: Held, credential: Credential): Promise<void> {
    const store = this.#storeOf(key);
    await store.journal?.(address, this.#sealed(address, key, credential));
  }

  /** Whether someone is refreshing that credential now. */
  leased(held: Held): Promise<boolean> {
    return this.#storeOf(held.key).locked(held.address.id);
  }

  /** Makes sure that the next state can be written, before a server is asked for it. */
  reserve(held: Held): Promise<Reservation> {
    return this.#storeOf(held.key).reserve();
  }

  /**
   * Keeps, sealed, what the store could not take, where the next process finds it.
   *
   * @returns where it is; `undefined` when no place took it
   */
  async spill({ address, key }: Held, credential: Credential): Promise<string | undefined> {
    return this.#spill?.keep(address, this.#sealed(address, key, credential));
  }

  /** What was spilled for that record and opens. */
  async spilled({ address, key }: Held): Promise<readonly Credential[]> {
    const records = (await this.#spill?.find(address)) ?? [];
    return records.flatMap((record) => {
      try {
        return [this.#unsealed(address, key, record)];
      } catch (error) {
        if (error instanceof HoldfastError) return [];
        throw error;
      }
    });
  }

  /** Removes what was spilled for that record. */
  async removeSpilled({ address }: Held): Promise<void> {
    await this.#spill?.remove(address);
  }

  /**
   * Writes the next state of a credential under the key that it was read from.
   *
   * @param lease ends with the write, where the store can do both in one step
   * @returns `undefined` when the record has changed since it was read
   */
  async commit(held: Held, next: Credential, lease?: Lease): Promise<Held | undefined> {
    return this.#write(held.address, held.key, held.version, next, lease);
  }

  /**
   * Seals a credential under another key, in place of the record that it was read from (`rekey`).
   *
   * @returns `occupied` when that key has a login of this name already, which is another one and stays; `gone` when the
   *   record was removed or changed meanwhile
   */
  async move(held: Held, key: SealingKey, options: LeaseOptions): Promise<'moved' | 'occupied' | 'gone'> {
    // A refresh under way ends first, or its answer would have no place.
    const lease = await this.lease(held, options);
    try {
      const current = await this.reread(held);
      if (current === undefined) return 'gone';
      const { id } = held.address;
      const to = { kid: key.kid, id };
      if ((await this.#lasting.version(to)) !== undefined) return 'occupied';
      const record = this.#sealed(to, key, current.credential);
      const options = { ageMs: tokenAge(current.credential.tokens, thisMoment()) };
      const result = await this.#lasting.move(held.address, to, current.version, record, options);
      if (result.outcome === 'unknown') throw result.cause;
      return result.outcome === 'ok' ? 'moved' : 'gone';
    } finally {
      await lease.release();
    }
  }

  /** @throws InvalidArgumentError where the records lie under another program's key */
  checkRekeyable(): void {
    this.#lasting.checkRekeyable?.();
  }

  /** Whether a record could be kept now under a key of that life; throws what a write would throw. */
  async rehearse(lifetime: SealingKey['lifetime']): Promise<void> {
    await (lifetime === 'process' ? this.#passing : this.#lasting).rehearse();
  }

  /**
   * Whether a login may be kept under that key, in place of what is there; a damaged record may be moved aside.
   *
   * @throws RecordNewerError, StorageUnsafeError, StorageUnreadableError when what is there must stay
   */
  async checkReplaceable(key: SealingKey, name: Name): Promise<void> {
    try {
      await this.#open({ kid: key.kid, id: recordId(name.resource, name.account) }, key, name);
    } catch (error) {
      if (!(error instanceof RecordDamagedError)) throw error;
    }
  }

  /**
   * Keeps what a login yielded, under that key, in place of what was there.
   *
   * @param make the credential, given the generation that it follows
   * @returns where a damaged record that stood in its place was moved to, if there was one
   * @throws RecordNewerError when what is there was written by a newer Holdfast; it stays
   */
  async keep(
    key: SealingKey,
    name: Name,
    make: (generation: number) => Credential,
  ): Promise<{ held: Held; quarantined: string | undefined }> {
    const address = { kid: key.kid, id: recordId(name.resource, name.account) };
    const store = this.#storeOf(key);
    let quarantined: string | undefined;
    for (let attempt = 0; attempt < KEEP_ATTEMPTS; attempt += 1) {
      let before: Held | undefined;
      try {
        before = await this.#open(address, key, name);
      } catch (error) {
        if (!(error instanceof RecordDamagedError)) throw error;
        quarantined = await store.quarantine(address);
        continue;
      }
      const credential = make((before?.credential.generation ?? 0) + 1);
      const held = await this.#write(address, key, before?.version, credential);
      if (held !== undefined) return { held, quarantined };
    }
    throw new StorageUnwritableError(
      'The record was changed by others each time that it was to be written.',
      {
        hint: 'See which program writes it, then log in again.',
      },
    );
  }

  /** Removes that record. `false` when it has changed since it was read, or is gone. */
  remove(held: Held): Promise<boolean> {
    return this.#storeOf(held.key).remove(held.address, held.version);
  }

  /**
   * Everything that is there, the strongest key first, and what could not be opened.
   *
   * @param only the records of this name, when given
   */
  async list(only?: Name): Promise<{ held: Held[]; unopened: Unopened[] }> {
    const wanted = only && recordId(only.resource, only.account);
    const all = await this.addresses();
    return this.open(wanted === undefined ? all : all.filter(({ id }) => id === wanted), only);
  }

  /** Where every record lies, in no order; touches no keyring. */
  async addresses(): Promise<RecordAddress[]> {
    const lists = await Promise.all([this.#lasting.list(), this.#passing.list()]);
    return lists.flat().filter(({ kid }) => kid !== WRAPPED_KID);
  }

  /**
   * What lies there, the strongest key first, and what could not be opened.
   *
   * @param name of all of them, where they have one name
   */
  async open(
    addresses: readonly RecordAddress[],
    name?: Name,
  ): Promise<{ held: Held[]; unopened: Unopened[] }> {
    const begin = performance.now();
    const byKid = new Map<string, RecordAddress[]>();
    for (const address of addresses) {
      byKid.set(address.kid, [...(byKid.get(address.kid) ?? []), address]);
    }
    const held: Held[] = [];
    const unopened: Unopened[] = [];
    while (byKid.size > 0) {
      for await (const key of this.#keys.reachable()) {
        for (const address of byKid.get(key.kid) ?? []) {
          try {
            const found = await this.#open(address, key, name);
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
      unopened.push({ ...address, error: unreachable('This record', this.#keys.problems()) });
    }
    return { held, unopened };
  }

  async close(): Promise<void> {
    await Promise.all([this.#lasting.close(), this.#passing.close(), this.#keys.close()]);
  }

  /** Bound to the record id, and to the tenant where the store has those: a record opens under no other name. */
  #sealed(address: RecordAddress, key: SealingKey, credential: Credential): string {
    return seal(serializeCredential(credential), key, subjectOf(address, this.#storeOf(key)));
  }

  #unsealed(address: RecordAddress, key: SealingKey, record: string): Credential {
    return parseCredential(unseal(record, key, subjectOf(address, this.#storeOf(key))));
  }

  #storeOf(key: SealingKey): Store {
    return key.lifetime === 'process' ? this.#passing : this.#lasting;
  }

  async #open(address: RecordAddress, key: SealingKey, name: Name | undefined): Promise<Held | undefined> {
    // From before it was asked for: a token may be older than it looks here, and never younger.
    const asked = thisMoment();
    const found = await this.#storeOf(key).read(address);
    if (found === undefined) return undefined;
    try {
      const credential = dated(this.#unsealed(address, key, found.record), found.ageMs, asked);
      return { credential, address, version: found.version, key };
    } catch (error) {
      throw error instanceof RecordDamagedError ? damaged(error, name) : error;
    }
  }

  async #write(
    address: RecordAddress,
    key: SealingKey,
    expected: RecordVersion | undefined,
    credential: Credential,
    lease?: Lease,
  ): Promise<Held | undefined> {
    const record = this.#sealed(address, key, credential);
    const store = this.#storeOf(key);
    const options: WriteOptions = { ageMs: tokenAge(credential.tokens, thisMoment()), lease };
    const result = await store.cas(address, expected, record, options);
    if (result.outcome === 'ok') return { credential, address, version: result.version, key };
    if (result.outcome !== 'unknown') return undefined;
    // The engine broke off. Each sealing draws a new nonce, so the same text there is this very write.
    const found = await store.read(address);
    if (found?.record === record) return { credential, address, version: found.version, key };
    if (found?.version !== expected) return undefined;
    throw new StorageUnwritableError(
      'The store broke off while it wrote, and the record is as it was before.',
      {
        cause: result.cause,
        hint: 'Try again.',
      },
    );
  }
}

function subjectOf({ id }: RecordAddress, { tenant }: Store): string {
  return tenant === undefined ? id : `${tenant}/${id}`;
}

function damaged(error: RecordDamagedError, name: Name | undefined): RecordDamagedError {
  if (name === undefined) return error;
  return new RecordDamagedError(`The stored login to ${name.resource} is damaged. ${error.message}`, {
    cause: error,
    hint: `Put the record back from a backup, or log in again: ${loginCommand(name.resource, name.account)} (the damaged record is then moved to quarantine/, not deleted).`,
  });
}

/** A record is there, and no key for it. The reason that a person can mend comes first. */
function unreachable(what: string, problems: readonly HoldfastError[]): HoldfastError {
  const sealed = `${what} is sealed under a key that cannot be read now.`;
  for (const Problem of [KeyringLockedError, KeyringDeniedError, KeyringBrokenError]) {
    const problem = problems.find((candidate) => candidate instanceof Problem);
    if (problem) {
      return new Problem(`${sealed} ${problem.message}`, {
        cause: problem,
        ...(problem.hint === undefined ? {} : { hint: problem.hint }),
      });
    }
  }
  const reasons = problems.map((problem) => ` ${problem.message}`).join('');
  return new KeyUnavailableError(`${sealed}${reasons}`, {
    hint: 'Run Holdfast where that login was made (the same desktop session and passphrase), or log in again from here. See: holdfast doctor',
  });
}
