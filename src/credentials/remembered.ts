import type { Credential } from '../credential.ts';
import type { RecordAddress } from '../store/record-store.ts';
import type { StoredCredential } from './stored-credential.ts';
import { isNewer } from './versions.ts';

/*
 * What this process last saw written of each login, so that a store that forgot it is told again. Bounded: a replica that lags
 * does so by seconds, and a refresher of a million logins must not keep them all.
 */

/** So many of the last logins that were written. */
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

  /** The state that was written, where the store has an older one. */
  newer({ address, credential }: StoredCredential): Credential | undefined {
    const written = this.#written.get(address.id)?.credential;
    return written !== undefined && isNewer(written, credential) ? written : undefined;
  }

  /** Where all of them were written. */
  addresses(): readonly RecordAddress[] {
    return [...this.#written.values()].map(({ address }) => address);
  }
}
