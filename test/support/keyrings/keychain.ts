import type { KeychainLibrary } from '../../../src/keyring/native/keychain.ts';
import type { DefaultKeychain, KeychainStatus } from '../../../src/system/os/macos-keychain.ts';

/** In the place of a failure: the call never ends. */
export const HANGS = Symbol('hangs');

/*
 * Stand-ins for what exists on a Mac only. The library behaves as the declarations and the README of
 * @napi-rs/keyring 2.1.2 say: `null` for what is not there, `false` for a removal of nothing, a rejection whose message
 * holds the system's text, and not its number, for everything else; a call that has begun ends in its own time.
 */
export class MacStandIn {
  status: KeychainStatus | Error = 'unlocked';
  /** What the library's next calls fail with, first to last. */
  readonly failures: (string | typeof HANGS)[] = [];
  readonly calls: string[] = [];
  dialogs = true;
  readonly #items = new Map<string, Uint8Array>();

  readonly system = async (): Promise<DefaultKeychain> => ({
    forbidDialogs: () => {
      this.dialogs = false;
    },
    status: () => {
      if (this.status instanceof Error) throw this.status;
      return this.status;
    },
  });

  readonly library = async (): Promise<KeychainLibrary> => {
    const call = async <T>(name: string, step: () => T): Promise<T> => {
      this.calls.push(name);
      const failure = this.failures.shift();
      if (failure === HANGS) return new Promise(() => {});
      if (failure !== undefined) {
        throw new Error(`Platform secure storage failure: ${failure}\n\nCaused by:\n    ${failure}`);
      }
      return step();
    };
    const items = this.#items;
    return {
      LinuxStore: {},
      AsyncEntry: class {
        readonly #key: string;

        constructor(service: string, account: string) {
          this.#key = JSON.stringify([service, account]);
        }

        getSecret() {
          const key = this.#key;
          return call(`get ${key}`, () => {
            const found = items.get(key);
            return found === undefined ? null : Array.from(found);
          });
        }

        setSecret(secret: Uint8Array) {
          const copy = Uint8Array.from(secret);
          const key = this.#key;
          return call(`set ${key}`, () => void items.set(key, copy));
        }

        deleteCredential() {
          const key = this.#key;
          return call(`delete ${key}`, () => items.delete(key));
        }
      },
    };
  };
}
