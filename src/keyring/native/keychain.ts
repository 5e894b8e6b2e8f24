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
 * The user's default keychain on macOS, by @napi-rs/keyring: one generic password for each item, its data the bare
 * secret. Whether the keychain is open is asked of the system first, and dialogs are switched off, so that nothing here
 * waits for a person: a call of the library that does cannot be ended, and would keep the process from exiting.
 *
 * The library gives the text of an error and not its number, and macOS may translate the text. So what counts is what
 * the system says of the keychain after a failure; the text only refines it.
 */

const LIBRARY: string = '@napi-rs/keyring';

/** The part of version 2 of the library that is used. `withTarget` is not: it overwrites on other systems. */
export interface KeychainLibrary {
  /** Since 2.1. Version 1 answers "not there" whenever reading fails, which would start a new login over a good one. */
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
  /** The service of a program built on 99designs/keyring, whose items are shared with it. */
  readonly as99designs?: string | undefined;
  /** The service of any other program. */
  readonly service?: string | undefined;
  /** What answers in place of the library, and of Security.framework. */
  readonly library?: (() => Promise<KeychainLibrary>) | undefined;
  readonly system?: (() => Promise<DefaultKeychain>) | undefined;
  readonly timeoutMs?: number | undefined;
}

/** Without dialogs each call is one question to a daemon. With one, a person has to find and answer it. */
const DEADLINE_MS = 3_000;
const ASKING_DEADLINE_MS = 120_000;

/** Allows the dialogs: to let another program, such as a newer Node, at the item once and for all. */
const PROMPT = 'HOLDFAST_KEYCHAIN_PROMPT';

/**
 * @throws KeyringAbsentError on another system, or where the library is not installed
 * @throws KeyringBrokenError where Security.framework cannot be called
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
    // Going on without would let a dialog hang the process.
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

/** The name is not resolved when this is compiled or bundled: the library need not be there. */
async function load(): Promise<KeychainLibrary> {
  const loaded: { default?: KeychainLibrary } & KeychainLibrary = await import(LIBRARY);
  return loaded.default ?? loaded;
}

interface Settings {
  readonly service: string;
  readonly timeoutMs: number;
  /** Over SSH nobody sits before the desktop that would show a dialog. */
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
      // Two processes looked for the item, found none, and both added it: now it is there to be changed.
      if (!isDuplicate(error)) throw error;
      await write();
    }
  }

  async delete(name: string): Promise<boolean> {
    return this.#call(name, (entry, signal) => entry.deleteCredential(signal));
  }

  async close(): Promise<void> {
    // Nothing is held between two calls.
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
      // It ends a call that has not begun; one that has cannot be ended.
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

  /** Why the keychain cannot be used now, as far as can be known without touching an item. */
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
    // It may have been locked meanwhile, by a timer or by sleep.
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

/** The system knows programs by their signature; after some upgrades Node is another program. */
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
