import { KeyringDeniedError, KeyringLockedError } from '../../errors.ts';
import { quote } from '../../quote.ts';
import { type Bus, BusError, type Deadline } from '../../system/dbus/connection.ts';
import { type BusKeyring, busFailure } from '../../system/dbus/session-bus.ts';
import { Variant } from '../../system/dbus/value.ts';

/*
 * The calls of the freedesktop.org Secret Service that do not depend on an item's owner. Nothing here prompts: `Unlock`
 * itself shows no prompt, only `Prompt.Prompt` does, and no code here calls it. A prompt in an answer is dismissed,
 * since on a machine without a display it would stay open forever.
 */

export const SECRET_SERVICE: BusKeyring = {
  name: 'The Secret Service',
  busName: 'org.freedesktop.secrets',
  whenAbsent: 'Install and start one, such as gnome-keyring.',
  daemons: 'gnome-keyring-daemon or kwalletd',
};
export const ROOT = '/org/freedesktop/secrets';
export const IS_SERVICE = 'org.freedesktop.Secret.Service';
export const IS_COLLECTION = 'org.freedesktop.Secret.Collection';
export const IS_ITEM = 'org.freedesktop.Secret.Item';
/** The D-Bus spelling of "no object". */
export const NOTHING = '/';

/** Errors of a running service that refuses a request. */
const REFUSALS =
  /^org\.freedesktop\.(Secret\.Error\.\w+|DBus\.Error\.(AccessDenied|Failed|InvalidArgs|NotSupported|UnknownMethod|UnknownObject))$/;

/** Maximum number of items in one `Unlock`. Several programs may use the same attributes, but never this many. */
const MAX_UNLOCKED = 64;

/**
 * Time limit for each operation, with all of its calls, in milliseconds. A service that D-Bus just activated must start
 * within it.
 */
export const DEADLINE_MS = 3_000;

export type Attributes = Readonly<Record<string, string>>;

/** The calls of one operation, which share its deadline. */
export class SecretServiceCalls {
  readonly #bus: Bus;
  readonly #deadline: Deadline;

  constructor(bus: Bus, deadline: Deadline) {
    this.#bus = bus;
    this.#deadline = deadline;
  }

  /** Finds the items that have at least these attributes, in all collections. */
  async search(attributes: Attributes): Promise<{ unlocked: string[]; locked: string[] }> {
    const [unlocked, locked] = await this.call(ROOT, IS_SERVICE, 'SearchItems', 'a{ss}', [attributes]);
    return { unlocked: paths(unlocked), locked: paths(locked) };
  }

  /** Uses the `plain` algorithm: both ends are on this machine's own bus, which only this user can read. */
  async openSession(): Promise<string> {
    const body = ['plain', new Variant('s', '')];
    const [, session] = await this.call(ROOT, IS_SERVICE, 'OpenSession', 'sv', body);
    if (typeof session !== 'string') throw new BusError('nonsense', 'OpenSession gave no session');
    return session;
  }

  async secretOf(item: string, session: string): Promise<{ value: Uint8Array; contentType: string }> {
    const [secret] = await this.call(item, IS_ITEM, 'GetSecret', 'o', [session]);
    const [, , value, contentType] = (Array.isArray(secret) ? secret : []) as unknown[];
    if (!(value instanceof Uint8Array)) throw new BusError('nonsense', 'GetSecret gave no bytes');
    return { value, contentType: typeof contentType === 'string' ? contentType : 'text/plain' };
  }

  async remove(item: string): Promise<void> {
    const [prompt] = await this.call(item, IS_ITEM, 'Delete');
    await this.refusePrompt(prompt, 'removes an item');
  }

  /** The collection for programs that name none; `undefined` if it does not exist yet. */
  async defaultCollection(): Promise<string | undefined> {
    const [path] = await this.call(ROOT, IS_SERVICE, 'ReadAlias', 's', ['default']);
    return typeof path === 'string' && path !== NOTHING ? path : undefined;
  }

  /**
   * Opens the collection if that needs no person. After a login without a password, GNOME Keyring reports a collection
   * with a blank password as locked until a program asks to unlock it.
   *
   * @returns whether it was locked before, so that a search may now find more
   * @throws KeyringLockedError
   */
  async expectOpen(collection: string): Promise<boolean> {
    if (await this.#isOpen(collection)) return false;
    if ((await this.unlock([collection])).length === 0) throw await this.#locked(collection);
    return true;
  }

  /**
   * Like `expectOpen`, for items.
   *
   * @returns the items that are open now, at least one
   * @throws KeyringLockedError when the collection is locked
   * @throws KeyringDeniedError when the collection is open but its items are locked for this program
   */
  async expectOpenItems(items: readonly string[]): Promise<string[]> {
    const open = await this.unlock(items);
    const [first] = items;
    if (open.length > 0 || first === undefined) return open;
    const collection = first.slice(0, first.lastIndexOf('/'));
    const isOpen = await this.#isOpen(collection).catch(() => false);
    throw isOpen ? lockedForUs() : await this.#locked(collection);
  }

  /** Unlocks objects that need no person. Returns the paths of the unlocked objects. */
  async unlock(objects: readonly string[]): Promise<string[]> {
    const asked = objects.slice(0, MAX_UNLOCKED);
    try {
      const [unlocked, prompt] = await this.call(ROOT, IS_SERVICE, 'Unlock', 'ao', [asked]);
      await this.#dismiss(prompt);
      const open = new Set(paths(unlocked));
      return asked.filter((path) => open.has(path));
    } catch (error) {
      // A service that cannot unlock, or a filter in front of it, leaves the object locked.
      if (error instanceof BusError && REFUSALS.test(error.errorName)) return [];
      throw error;
    }
  }

  /** The collection that ends with the login session, by its alias; `undefined` if it does not exist. */
  async sessionCollection(): Promise<string | undefined> {
    try {
      const [path] = await this.call(ROOT, IS_SERVICE, 'ReadAlias', 's', ['session']);
      return typeof path === 'string' && path !== NOTHING ? path : undefined;
    } catch (error) {
      if (error instanceof BusError && REFUSALS.test(error.errorName)) return undefined;
      throw error;
    }
  }

  async #isOpen(collection: string): Promise<boolean> {
    return (await this.property(collection, IS_COLLECTION, 'Locked')) === false;
  }

  /** Includes the collection's name, so that a person with several knows which one to unlock. */
  async #locked(collection: string): Promise<KeyringLockedError> {
    const label = await this.property(collection, IS_COLLECTION, 'Label').catch(() => undefined);
    return lockedError(typeof label === 'string' && label !== '' ? label : undefined);
  }

  async property(path: string, of: string, name: string): Promise<unknown> {
    const [value] = await this.call(path, 'org.freedesktop.DBus.Properties', 'Get', 'ss', [of, name]);
    return value instanceof Variant ? value.value : undefined;
  }

  /**
   * Refuses the prompt of a request to an open collection.
   *
   * @throws KeyringDeniedError when the answer is a prompt; as the collection is open, the prompt does not ask for a
   *   password
   */
  async refusePrompt(prompt: unknown, step: string): Promise<void> {
    if (!(await this.#dismiss(prompt))) return;
    throw new KeyringDeniedError(`The Secret Service is unlocked, but asks a person before it ${step}.`, {
      hint: 'KeePassXC does so at every write. Holdfast shows no such question: choose another keyring, such as --keyring file',
    });
  }

  /** Dismisses the prompt. Returns `false` if there was no prompt. */
  async #dismiss(prompt: unknown): Promise<boolean> {
    if (typeof prompt !== 'string' || prompt === NOTHING) return false;
    await this.call(prompt, 'org.freedesktop.Secret.Prompt', 'Dismiss').catch(() => {
      // Nothing waits for the prompt, so a failure does not matter.
    });
    return true;
  }

  call(path: string, of: string, member: string, signature?: string, body?: readonly unknown[]) {
    const call = { destination: SECRET_SERVICE.busName, path, interface: of, member, signature, body };
    return this.#bus.call(call, this.#deadline);
  }
}

export function paths(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((path) => typeof path === 'string') : [];
}

function lockedError(collection?: string): KeyringLockedError {
  const which = collection === undefined ? '' : ` (collection ${quote(collection, 60)})`;
  return new KeyringLockedError(`The Secret Service is locked${which}.`, {
    hint: 'Unlock it by logging in to the desktop, or in its password manager (Seahorse, KWalletManager), then try again.',
  });
}

/** An error such as with KeePassXC, which prompts for each program. */
function lockedForUs(): KeyringDeniedError {
  return new KeyringDeniedError(
    'The Secret Service is unlocked, but keeps its items from a program until a person has agreed.',
    {
      hint: 'In KeePassXC, under Settings, Secret Service Integration, switch off "Confirm when passwords are retrieved by clients".',
    },
  );
}

export function isLocked(error: unknown): boolean {
  return error instanceof BusError && error.errorName === 'org.freedesktop.Secret.Error.IsLocked';
}

/** Maps the error of a failed call. Any error other than a BusError comes back unchanged. */
export function secretServiceError(error: unknown): unknown {
  return isLocked(error) ? lockedError() : busFailure(error, SECRET_SERVICE);
}
