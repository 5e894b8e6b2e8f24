import type { KeychainLibrary } from '../../../src/keyring/native/keychain.ts';
import type { DefaultKeychain, KeychainStatus } from '../../../src/system/os/macos-keychain.ts';

/** Used as a failure: the call never ends. */
export const HANGS = Symbol('hangs');

/*
 * Stand-ins for things that exist only on a Mac. The library behaves as the declarations and the README of
 * @napi-rs/keyring 2.1.2 say: `null` for a missing item, `false` for the removal of a missing item, and for everything
 * else a rejection whose message has the system's text, but not its number. A call that has begun cannot be cancelled.
 */
export class MacStandIn {
  status: KeychainStatus | Error = 'unlocked';
  /** Failures of the library's next calls, in order. */
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
