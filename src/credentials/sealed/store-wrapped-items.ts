import { createHash } from 'node:crypto';
import { KeyringBrokenError } from '../../errors.ts';
import { WRAPPED_KID, type WrappedItem, type WrappedItems } from '../../keyring/kms/wrapped-items.ts';
import type { RecordAddress, RecordStore } from '../../store/record-store.ts';

/** Stores the items in a store of records. */
export class StoreWrappedItems implements WrappedItems {
  readonly #store: RecordStore;

  /** @param store the owner of the store closes it */
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
    // The store's answer is unknown. Each wrapping yields a different text, so an equal stored text proves this write.
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
