import type { CredentialId } from '../../credential.ts';
import { HoldfastError } from '../../errors.ts';
import { WRAPPED_KID } from '../../keyring/kms/wrapped-items.ts';
import type { SealingKey, SealingKeys } from '../../keyring/sealing-key.ts';
import type { RecordAddress } from '../../store/record-store.ts';
import type { Lookup, StoredCredential, Undecryptable } from '../credential-store.ts';
import { loginCommand } from '../login-required.ts';
import type { CredentialRecords } from './credential-records.ts';
import { FORGET, unreachable } from './sealed-errors.ts';

/*
 * Finds the store and the key of a credential. It looks from the strongest key to the weakest, and touches no keyring
 * when there is no record to open.
 */

/** Maximum number of sealed records in memory at once. */
const CHUNK = 200;

/** Maximum number of looks at a record that moves during the look: a rekey moves records one by one. */
const MOST_LOOKS = 10;

export class RecordLookup {
  readonly #persistent: CredentialRecords;
  readonly #ephemeral: CredentialRecords;
  readonly #keys: SealingKeys;

  constructor(persistent: CredentialRecords, ephemeral: CredentialRecords, keys: SealingKeys) {
    this.#persistent = persistent;
    this.#ephemeral = ephemeral;
    this.#keys = keys;
  }

  /** The records that a key with that lifetime protects. */
  recordsOf({ lifetime }: Pick<SealingKey, 'lifetime'>): CredentialRecords {
    return lifetime === 'process' ? this.#ephemeral : this.#persistent;
  }

  async find(id: CredentialId): Promise<Lookup | undefined> {
    const { recordId } = id;
    const begin = performance.now();
    for (let looks = 1; ; looks += 1) {
      const kids = await this.kidsOf(recordId);
      const { held, hasMoved } = await this.#strongest(id, kids);
      if (held !== undefined) {
        // The stronger key's record has moved to another key, so this may be an earlier login.
        if (hasMoved && looks < MOST_LOOKS) continue;
        const others = kids.filter((kid) => kid !== held.key.kid);
        if (!this.#keys.lookAgainFor(others, begin)) return { held, kids };
      } else if (kids.length === 0) {
        return undefined;
      } else if (!this.#keys.lookAgain(begin)) {
        // A record that was removed meanwhile has no key; one that a rekey moved has another key.
        const kidsNow = await this.kidsOf(recordId);
        if (kidsNow.length === 0) return undefined;
        if (kidsNow.some((kid) => !kids.includes(kid))) continue;
        const again = `log in again: ${loginCommand(id.resource, id.account)}`;
        throw unreachable(`The login to ${id.resource}`, this.#keys.problems(), again);
      }
    }
  }

  /** All records of that credential: one under each key that sealed a login. */
  async all(id: CredentialId): Promise<{ held: StoredCredential[]; undecryptable: Undecryptable[] }> {
    for (let looks = 1; ; looks += 1) {
      const addresses = (await this.kidsOf(id.recordId)).map((kid) => ({ kid, id: id.recordId }));
      const found = await this.openAll(addresses, id);
      // A missing record may be under another key by now, and a logout must not miss it.
      const isWhole = found.held.length + found.undecryptable.length === addresses.length;
      if (isWhole || looks === MOST_LOOKS) return found;
    }
  }

  /** The kids in both stores. */
  async kidsOf(recordId: string): Promise<readonly string[]> {
    const both = [this.#persistent, this.#ephemeral];
    const lists = await Promise.all(both.map(({ index }) => index.kidsOf(recordId)));
    return lists.flat();
  }

  async open(
    address: RecordAddress,
    key: SealingKey,
    id: CredentialId | undefined,
  ): Promise<StoredCredential | undefined> {
    const found = await this.recordsOf(key).read(address, key, id);
    return found && { ...found, address, key };
  }

  async addresses(): Promise<RecordAddress[]> {
    const lists = await Promise.all([this.#persistent, this.#ephemeral].map(({ index }) => index.list()));
    return lists.flat().filter(({ kid }) => kid !== WRAPPED_KID);
  }

  /** @param id of all the addresses, if they share one */
  async openAll(
    addresses: readonly RecordAddress[],
    id: CredentialId | undefined,
  ): Promise<{ held: StoredCredential[]; undecryptable: Undecryptable[] }> {
    const begin = performance.now();
    const byKid = new Map<string, RecordAddress[]>();
    for (const address of addresses) {
      const those = byKid.get(address.kid);
      if (those === undefined) byKid.set(address.kid, [address]);
      else those.push(address);
    }
    const held: StoredCredential[] = [];
    const undecryptable: Undecryptable[] = [];
    while (byKid.size > 0) {
      for await (const key of this.#keys.reachable()) {
        await this.#openUnder(key, byKid.get(key.kid) ?? [], id, { held, undecryptable });
        byKid.delete(key.kid);
        if (byKid.size === 0) break;
      }
      if (byKid.size === 0 || !this.#keys.lookAgain(begin)) break;
    }
    for (const address of [...byKid.values()].flat()) {
      const file = this.#persistent.index.fileOf?.(address);
      undecryptable.push({
        ...address,
        file,
        error: unreachable('This record', this.#keys.problems(), FORGET),
      });
    }
    return { held, undecryptable };
  }

  async #openUnder(
    key: SealingKey,
    addresses: readonly RecordAddress[],
    id: CredentialId | undefined,
    { held, undecryptable }: { held: StoredCredential[]; undecryptable: Undecryptable[] },
  ): Promise<void> {
    const records = this.recordsOf(key);
    for (let begin = 0; begin < addresses.length; begin += CHUNK) {
      const chunk = addresses.slice(begin, begin + CHUNK);
      const found = await records.readMany(chunk, key, id);
      for (const [at, address] of chunk.entries()) {
        const one = found[at];
        const file = records.index.fileOf?.(address);
        if (one instanceof HoldfastError) undecryptable.push({ ...address, file, error: one });
        else if (one !== undefined) held.push({ ...one, address, key });
      }
    }
  }

  /**
   * The record under the strongest reachable key that has one, and whether a stronger key of `kids` had lost its
   * record.
   */
  async #strongest(
    id: CredentialId,
    kids: readonly string[],
  ): Promise<{ readonly held?: StoredCredential; readonly hasMoved: boolean }> {
    let hasMoved = false;
    if (kids.length === 0) return { hasMoved };
    for await (const key of this.#keys.reachable()) {
      if (!kids.includes(key.kid)) continue;
      const held = await this.open({ kid: key.kid, id: id.recordId }, key, id);
      if (held !== undefined) return { held, hasMoved };
      hasMoved = true;
    }
    return { hasMoved };
  }
}
