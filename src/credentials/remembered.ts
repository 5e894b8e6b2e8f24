import type { Credential } from '../credential.ts';
import type { RecordAddress } from '../store/record-store.ts';
import type { StoredCredential } from './stored-credential.ts';
import { isNewer } from './versions.ts';

/*
 * The last state of each login that this process saw written, so that it can tell a store that forgot it. The number is
 * bounded: a replica lags only by seconds, and a refresher of a million logins must not hold them all.
 */

/** Number of recently written logins to remember. */
const MOST = 256;

export class Remembered {
  readonly #written = new Map<string, StoredCredential>();

  remember(stored: StoredCredential): void {
    const { id } = stored.address;
    this.#written.delete(id);
    this.#written.set(id, stored);
    if (this.#written.size <= MOST) return;
    for (const oldest of this.#written.keys()) {
      this.#written.delete(oldest);
      break;
    }
  }

  forget(id: string): void {
    this.#written.delete(id);
  }

  /** The state that was written, if the store has an older one. */
  newer({ address, credential }: StoredCredential): Credential | undefined {
    const written = this.#written.get(address.id)?.credential;
    return written !== undefined && isNewer(written, credential) ? written : undefined;
  }

  /** The addresses of all remembered states. */
  addresses(): readonly RecordAddress[] {
    return [...this.#written.values()].map(({ address }) => address);
  }
}
