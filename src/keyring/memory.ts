import type { Keyring, KeyringProbe } from './keyring.ts';

/** The last resort: its items end with this process. */
export class MemoryKeyring implements Keyring {
  readonly id = 'memory';
  readonly tier = 'memory';
  readonly #items = new Map<string, Uint8Array>();

  async probe(): Promise<KeyringProbe> {
    return { status: 'usable', lifetime: 'process' };
  }

  async get(name: string): Promise<Uint8Array | undefined> {
    return this.#items.get(name);
  }

  async set(name: string, secret: Uint8Array): Promise<void> {
    this.#items.set(name, Uint8Array.from(secret));
  }

  async delete(name: string): Promise<boolean> {
    return this.#items.delete(name);
  }

  async close(): Promise<void> {
    this.#items.clear();
  }
}
