import {
  type HoldfastError,
  KeyringAbsentError,
  KeyringBrokenError,
  KeyringDeniedError,
  KeyringLockedError,
  retryable,
} from '../../errors.ts';
import { quote } from '../../quote.ts';
import type { Environment } from '../../system/environment.ts';
import { type DefaultKeychain, defaultKeychain } from '../../system/os/macos-keychain.ts';
import type { Keyring, KeyringProbe } from '../keyring.ts';
import { probing } from '../probe-result.ts';

/*
 * The user's default keychain on macOS, through @napi-rs/keyring. Each item is one generic password with the bare
 * secret as its data. Nothing here waits for a person: the code first asks the system whether the keychain is open, and
 * it switches dialogs off. A library call that waits for a person cannot be cancelled, and would keep the process from
 * exiting.
 *
 * The library gives only the text of an error, not its number, and macOS may translate the text. So the keychain's
 * status after a failure decides; the text only refines it.
 */

const LIBRARY: string = '@napi-rs/keyring';

/** The used part of version 2 of the library. `withTarget` is not used, as it overwrites items on other systems. */
export interface KeychainLibrary {
  /** Since 2.1. Version 1 reports "not there" for every read failure, which would start a new login over a good one. */
  readonly LinuxStore?: unknown;
  readonly AsyncEntry: new (
    service: string,
    account: string,
  ) => {
    getSecret(signal?: AbortSignal): Promise<ArrayLike<number> | null | undefined>;
    setSecret(secret: Uint8Array, signal?: AbortSignal): Promise<void>;
    deleteCredential(signal?: AbortSignal): Promise<boolean>;
  };
}

export interface KeychainOptions {
  /** The service of a program built on 99designs/keyring, which shares its items. */
  readonly as99designs?: string | undefined;
  /** The service of any other program. */
  readonly service?: string | undefined;
  /** Replacements for the library and for Security.framework, for tests. */
  readonly library?: (() => Promise<KeychainLibrary>) | undefined;
  readonly system?: (() => Promise<DefaultKeychain>) | undefined;
  readonly timeoutMs?: number | undefined;
}

/**
 * Time limits in milliseconds. Without dialogs, each call is one request to a daemon. With dialogs, a person has to
 * find and answer one.
 */
const DEADLINE_MS = 3_000;
const ASKING_DEADLINE_MS = 120_000;

/**
 * Allows the dialogs, so that a person can give another program, such as a newer Node, permanent access to the item.
 */
const PROMPT = 'HOLDFAST_KEYCHAIN_PROMPT';

/**
 * Opens the Keychain.
 *
 * @throws KeyringAbsentError on another system, or when the library is not installed
 * @throws KeyringBrokenError when Security.framework cannot be called
 */
export async function openKeychain(
  environment: Environment,
  options: KeychainOptions = {},
): Promise<Keyring> {
  if (environment.platform !== 'darwin') {
    throw new KeyringAbsentError('The Keychain is a part of macOS.', {
      hint: 'Leave the choice to Holdfast: --keyring auto',
    });
  }
  const library = await (options.library ?? load)().catch(missing);
  if (library.LinuxStore === undefined) missing(new TypeError('it is older than 2.1'));
  const asking = environment.variables[PROMPT] === '1';
  try {
    const system = await (options.system ?? defaultKeychain)();
    if (!asking) system.forbidDialogs();
    return new Keychain(library, system, {
      service: options.service ?? options.as99designs ?? 'holdfast',
      timeoutMs: options.timeoutMs ?? (asking ? ASKING_DEADLINE_MS : DEADLINE_MS),
      remote: Boolean(environment.variables['SSH_CONNECTION']),
    });
  } catch (cause) {
    // Without Security.framework, a dialog could hang the process.
    throw new KeyringBrokenError(`Security.framework cannot be called: ${quote(String(cause))}.`, {
      cause,
      hint: 'It is called by koffi, which may be missing for this processor: npm install koffi',
    });
  }
}

function missing(cause: unknown): never {
  throw new KeyringAbsentError(`The Keychain needs ${LIBRARY} 2.1, which cannot be loaded.`, {
    cause,
    hint: `Install it beside Holdfast: npm install ${LIBRARY}@2`,
  });
}

/** A computed name, so that compilers and bundlers do not resolve it: the library is optional. */
async function load(): Promise<KeychainLibrary> {
  const loaded: { default?: KeychainLibrary } & KeychainLibrary = await import(LIBRARY);
  return loaded.default ?? loaded;
}

interface Settings {
  readonly service: string;
  readonly timeoutMs: number;
  /** Over SSH, no person sits at the desktop that would show a dialog. */
  readonly remote: boolean;
}

class Keychain implements Keyring {
  readonly id = 'keychain';
  readonly tier = 'native';
  readonly #library: KeychainLibrary;
  readonly #system: DefaultKeychain;
  readonly #settings: Settings;

  constructor(library: KeychainLibrary, system: DefaultKeychain, settings: Settings) {
    this.#library = library;
    this.#system = system;
    this.#settings = settings;
  }

  probe(): Promise<KeyringProbe> {
    return probing('disk', async () => this.#expectOpen());
  }

  async get(name: string): Promise<Uint8Array | undefined> {
    const found = await this.#call(name, (entry, signal) => entry.getSecret(signal));
    return found === null || found === undefined ? undefined : Uint8Array.from(found);
  }

  async set(name: string, secret: Uint8Array): Promise<void> {
    const write = () => this.#call(name, (entry, signal) => entry.setSecret(secret, signal));
    try {
      await write();
    } catch (error) {
      // Two processes looked for the item, did not find it, and both added it. A second write changes it.
      if (!isDuplicate(error)) throw error;
      await write();
    }
  }

  async delete(name: string): Promise<boolean> {
    return this.#call(name, (entry, signal) => entry.deleteCredential(signal));
  }

  async close(): Promise<void> {
    // No resource stays open between calls.
  }

  async #call<T>(
    name: string,
    step: (entry: InstanceType<KeychainLibrary['AsyncEntry']>, signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    this.#expectOpen();
    const { service, timeoutMs } = this.#settings;
    const over = new AbortController();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(lateError(timeoutMs)), timeoutMs);
    });
    try {
      const entry = new this.#library.AsyncEntry(service, name);
      return await Promise.race([step(entry, over.signal), late]);
    } catch (error) {
      // Cancels a call that has not started; a started call cannot be cancelled.
      over.abort();
      throw this.#errorOf(error);
    } finally {
      clearTimeout(timer);
    }
  }

  #expectOpen(): void {
    const problem = this.#problem();
    if (problem !== undefined) throw problem;
  }

  /** Why the keychain is unusable now, as far as can be known without a read of an item. */
  #problem(): HoldfastError | undefined {
    try {
      switch (this.#system.status()) {
        case 'unlocked':
          return undefined;
        case 'locked':
          return lockedError();
        case 'absent':
          return new KeyringAbsentError('There is no default keychain.', {
            hint: 'See: security default-keychain. A user without a desktop login may have none.',
          });
      }
    } catch (cause) {
      return new KeyringBrokenError(
        `The Keychain does not say whether it is open: ${quote(String(cause))}.`,
        {
          cause,
          hint: 'See: security show-keychain-info',
        },
      );
    }
  }

  #errorOf(error: unknown): HoldfastError {
    if (error instanceof KeyringBrokenError) return error;
    // A timer or sleep may have locked it in the meantime.
    const problem = this.#problem();
    if (problem !== undefined) return problem;
    const text = error instanceof Error ? error.message : String(error);
    if (/interaction is not allowed|-25308/i.test(text)) {
      return this.#settings.remote ? lockedError(error) : strangerError(error);
    }
    if (/user cancell?ed|-128\b/i.test(text)) {
      return new KeyringDeniedError('The Keychain asked, and the question was cancelled.', {
        cause: error,
        hint: 'Do it again, and choose Always Allow.',
      });
    }
    if (/passphrase you entered is not correct|authorization.*failed|-25293/i.test(text)) {
      return strangerError(error);
    }
    return new KeyringBrokenError(`The Keychain does not work: ${quote(text)}.`, {
      cause: error,
      hint: 'Look at it in Keychain Access.',
    });
  }
}

function lockedError(cause?: unknown): KeyringLockedError {
  return new KeyringLockedError('The Keychain is locked.', {
    cause,
    hint: 'Unlock it, over SSH too: security unlock-keychain',
  });
}

/** macOS identifies programs by signature. After some upgrades, Node counts as another program. */
function strangerError(cause: unknown): KeyringDeniedError {
  return new KeyringDeniedError('The Keychain does not let this program at the item without asking.', {
    cause,
    hint: `This may be another Node than the one that made it. To be asked, at the Mac's own desktop: ${PROMPT}=1 holdfast doctor, and choose Always Allow.`,
  });
}

function lateError(timeoutMs: number): KeyringBrokenError {
  return retryable(
    new KeyringBrokenError(`The Keychain did not answer within ${timeoutMs} ms.`, {
      hint: 'A question of it may be open on the desktop; answer it, and try again. Otherwise see: security list-keychains',
    }),
  );
}

/** errSecDuplicateItem. */
function isDuplicate(error: unknown): boolean {
  return error instanceof KeyringBrokenError && /already exists|-25299/i.test(error.message);
}
