import { RecordDamagedError, StorageUnwritableError } from '../errors.ts';
import { type RecordKey, seal, unseal } from '../sealing.ts';
import type { RecordAddress, RecordStore } from '../store/record-store.ts';
import { parseStates, type State, serializeStates } from './entry.ts';

/*
 * What docker-agent's entries cannot hold, beside them: for each entry one record of ours, sealed under the same key. It is
 * written before the entry, and names the tokens that it belongs to, so whatever comes between, the entry is the truth.
 */

const SUFFIX = '-beside';

/** The length of a record id: a SHA-256 in base64url. */
const RECORD_ID_LENGTH = 43;

/** Whether what lies at that address is not a credential of its own, but belongs to an entry. */
export function isOfAnEntry({ id }: RecordAddress): boolean {
  return id.length > RECORD_ID_LENGTH;
}

export class Beside {
  readonly #store: RecordStore;

  constructor(store: RecordStore) {
    this.#store = store;
  }

  /** What lies beside that entry, the newest first; nothing where it does not open: then the entry speaks for itself. */
  async states(key: RecordKey, id: string): Promise<readonly State[]> {
    return (await this.#read(key, id)).states;
  }

  /** Only under docker-agent's lock. What is there and does not open is moved aside. */
  async write(key: RecordKey, id: string, states: readonly State[]): Promise<void> {
    const address = addressOf(key, id);
    const { version, opens } = await this.#read(key, id);
    if (!opens) await this.#store.quarantine(address);
    const record = seal(serializeStates(states), key, address.id);
    const result = await this.#store.cas(address, opens ? version : undefined, record);
    if (result.outcome === 'ok') return;
    throw new StorageUnwritableError(
      'What lies beside docker-agent’s entry was changed while it was written.',
      {
        hint: 'Try again.',
      },
    );
  }

  async remove(key: RecordKey, id: string): Promise<void> {
    await this.#store.remove(addressOf(key, id));
  }

  async #read(key: RecordKey, id: string) {
    const address = addressOf(key, id);
    const found = await this.#store.read(address);
    if (found === undefined) return { states: [], version: undefined, opens: true };
    try {
      const states = parseStates(unseal(found.record, key, address.id));
      return { states, version: found.version, opens: true };
    } catch (error) {
      if (error instanceof RecordDamagedError) return { states: [], version: found.version, opens: false };
      throw error;
    }
  }
}

function addressOf({ kid }: RecordKey, id: string): RecordAddress {
  return { kid, id: `${id}${SUFFIX}` };
}
