import { createHash } from 'node:crypto';
import { KeyringBrokenError } from '../../errors.ts';
import type { RecordAddress, RecordStore } from '../../store/record-store.ts';

/*
 * Where the items of a keyring lie that a KMS wraps: beside the records, under an address that no record can have.
 */

/** Stands in the place of a key's id: no key has that one, since theirs have 22 characters. */
export const WRAPPED_KID = 'wrapped';

export interface WrappedItem {
  /** Wrapped by the KMS; of no use without it. */
  readonly value: string;
  /** Opaque. */
  readonly version: string;
}

/** A place for wrapped items that many machines share. It compares and writes in one step. */
export interface WrappedItems {
  /** Whose items these are. What is wrapped is bound to it. */
  readonly tenant: string;
  read(name: string): Promise<WrappedItem | undefined>;
  /** Writes if what is there has that version (`undefined`: if nothing is there); `false` when it has another. */
  write(name: string, expected: string | undefined, value: string): Promise<boolean>;
  /** Removes it if it has that version. */
  remove(name: string, expected: string): Promise<boolean>;
}

/** In a store of records. */
export class StoreWrappedItems implements WrappedItems {
  readonly #store: RecordStore;

  /** @param store stays its owner's to close */
  constructor(store: RecordStore) {
    this.#store = store;
  }

  get tenant(): string {
    return this.#store.tenant ?? 'default';
  }

  async read(name: string): Promise<WrappedItem | undefined> {
    const found = await this.#store.read(addressOf(name));
    return found && { value: found.record, version: found.version };
  }

  async write(name: string, expected: string | undefined, value: string): Promise<boolean> {
    const address = addressOf(name);
    const result = await this.#store.cas(address, expected, value);
    if (result.outcome !== 'unknown') return result.outcome === 'ok';
    // The store broke off. Each wrapping is another text, so the same text there is this very write.
    const found = await this.#store.read(address);
    if (found?.record === value) return true;
    if (found?.version !== expected) return false;
    throw new KeyringBrokenError(
      `The store ${this.#store.id} broke off while the wrapped key was written to it.`,
      {
        cause: result.cause,
        hint: 'Try again.',
      },
    );
  }

  remove(name: string, expected: string): Promise<boolean> {
    return this.#store.remove(addressOf(name), expected);
  }
}

function addressOf(name: string): RecordAddress {
  return { kid: WRAPPED_KID, id: createHash('sha256').update(name).digest('base64url') };
}
