import type { HoldfastError } from '../../../src/errors.ts';
import type { Keyring, KeyringOpener, KeyringProbe } from '../../../src/keyring/keyring.ts';
import { MemoryKeyring } from '../../../src/keyring/memory.ts';

/** Stands in for a desktop's keyring: it outlives the vaults that open it, counts its calls, and can be locked. */
export class DesktopKeyring implements Keyring {
  readonly id = 'desktop';
  readonly tier = 'native';
  readonly calls: string[] = [];
  locked = false;
  refusesWrites: HoldfastError | undefined;
  readonly #items = new MemoryKeyring();

  async probe(): Promise<KeyringProbe> {
    this.calls.push('probe');
    return this.locked
      ? { status: 'locked', reason: 'The desktop keyring is locked.', hint: 'Unlock it.' }
      : { status: 'usable', lifetime: 'disk' };
  }

  async get(name: string) {
    this.calls.push(`get ${name}`);
    return this.#items.get(name);
  }

  async set(name: string, secret: Uint8Array) {
    this.calls.push(`set ${name}`);
    if (this.refusesWrites !== undefined) throw this.refusesWrites;
    return this.#items.set(name, secret);
  }

  delete(name: string) {
    this.calls.push(`delete ${name}`);
    return this.#items.delete(name);
  }

  async close() {
    // Closing keeps the items, which belong to the desktop.
  }
}

export function opener(keyring: Keyring): KeyringOpener {
  return { id: keyring.id, tier: keyring.tier, open: async () => keyring };
}
