import { RecordDamagedError, StorageUnwritableError } from '../errors.ts';
import { type RecordKey, seal, unseal } from '../sealing.ts';
import type { RecordAddress, RecordStore } from '../store/record-store.ts';
import { parseStates, type State, serializeStates } from './entry.ts';

/*
 * The sidecar holds everything that docker-agent's entries cannot: one record of ours per entry, sealed under the same
 * key. It is written before the entry and names its tokens. So after a crash in between, the entry still decides.
 */

const SUFFIX = '-beside';

/** The length of a record id: a SHA-256 in base64url. */
const RECORD_ID_LENGTH = 43;

/** Whether the record at that address belongs to an entry, and is not a credential of its own. */
export function isOfAnEntry({ id }: RecordAddress): boolean {
  return id.length > RECORD_ID_LENGTH;
}

export class Sidecar {
  readonly #store: RecordStore;

  constructor(store: RecordStore) {
    this.#store = store;
  }

  /**
   * Returns the entry's states, the newest first. It returns none when the sidecar does not open: then the entry
   * decides alone.
   */
  async states(key: RecordKey, id: string): Promise<readonly State[]> {
    return (await this.#read(key, id)).states;
  }

  /** Call this only under docker-agent's lock. It quarantines a sidecar that does not open. */
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
