import { KeyringDeniedError, KeyringLockedError } from '../../errors.ts';
import { quote } from '../../quote.ts';
import { type Bus, BusError, type Deadline } from '../../system/dbus/connection.ts';
import { type BusKeyring, busFailure } from '../../system/dbus/session-bus.ts';
import { Variant } from '../../system/dbus/value.ts';

/*
 * The calls of the freedesktop.org Secret Service that do not depend on whose item it is. Nothing here prompts: `Unlock`
 * shows no prompt by itself, only `Prompt.Prompt` does, and that is never called. A prompt that an answer holds is dismissed,
 * since on a machine without a display nobody would ever answer it.
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
/** How D-Bus spells "no object". */
export const NOTHING = '/';

/** The errors of a service that lives and does not do what it was asked. */
const REFUSALS =
  /^org\.freedesktop\.(Secret\.Error\.\w+|DBus\.Error\.(AccessDenied|Failed|InvalidArgs|NotSupported|UnknownMethod|UnknownObject))$/;

/** Of items that one `Unlock` asks for: several programs may use the same attributes, never so many. */
const MAX_UNLOCKED = 64;

/** For each operation, of however many calls. A service that was just activated has to start within it. */
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

  /** The items that have these attributes, among others, in all collections. */
  async search(attributes: Attributes): Promise<{ unlocked: string[]; locked: string[] }> {
    const [unlocked, locked] = await this.call(ROOT, IS_SERVICE, 'SearchItems', 'a{ss}', [attributes]);
    return { unlocked: paths(unlocked), locked: paths(locked) };
  }

  /** Plain: both ends are on this machine's own bus, which only this user can read. */
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

  /** The collection that programs write to when they name none; `undefined` when there is none yet. */
  async defaultCollection(): Promise<string | undefined> {
    const [path] = await this.call(ROOT, IS_SERVICE, 'ReadAlias', 's', ['default']);
    return typeof path === 'string' && path !== NOTHING ? path : undefined;
  }

  /**
   * Opens the collection, where that needs no person: after a login without a password, GNOME Keyring calls a collection
   * with a blank password locked until somebody asks for it.
   *
   * @returns whether it was locked before, so that a search may find more now
   * @throws KeyringLockedError
   */
  async expectOpen(collection: string): Promise<boolean> {
    if (await this.#isOpen(collection)) return false;
    if ((await this.unlock([collection])).length === 0) throw await this.#locked(collection);
    return true;
  }

  /**
   * As `expectOpen`, for items.
   *
   * @returns those that are open now, at least one
   * @throws KeyringLockedError where the collection is locked; KeyringDeniedError where it is open, and its items are locked
   *   for this program
   */
  async expectOpenItems(items: readonly string[]): Promise<string[]> {
    const open = await this.unlock(items);
    const [first] = items;
    if (open.length > 0 || first === undefined) return open;
    const collection = first.slice(0, first.lastIndexOf('/'));
    const isOpen = await this.#isOpen(collection).catch(() => false);
    throw isOpen ? lockedForUs() : await this.#locked(collection);
  }

  /** Opens what opens without a person; answers which of the objects did. */
  async unlock(objects: readonly string[]): Promise<string[]> {
    const asked = objects.slice(0, MAX_UNLOCKED);
    try {
      const [unlocked, prompt] = await this.call(ROOT, IS_SERVICE, 'Unlock', 'ao', [asked]);
      await this.#dismiss(prompt);
      const open = new Set(paths(unlocked));
      return asked.filter((path) => open.has(path));
    } catch (error) {
      // A service that cannot unlock, or a filter in front of it, leaves it locked.
      if (error instanceof BusError && REFUSALS.test(error.errorName)) return [];
      throw error;
    }
  }

  /** The collection that ends with the login session, by its alias; `undefined` where there is none. */
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

  /** With the collection's name: of several, a person has to know which. */
  async #locked(collection: string): Promise<KeyringLockedError> {
    const label = await this.property(collection, IS_COLLECTION, 'Label').catch(() => undefined);
    return lockedError(typeof label === 'string' && label !== '' ? label : undefined);
  }

  async property(path: string, of: string, name: string): Promise<unknown> {
    const [value] = await this.call(path, 'org.freedesktop.DBus.Properties', 'Get', 'ss', [of, name]);
    return value instanceof Variant ? value.value : undefined;
  }

  /**
   * For what was asked of an open collection.
   *
   * @throws KeyringDeniedError where the answer is a prompt: the collection is open, so it is no password that is asked for
   */
  async refusePrompt(prompt: unknown, step: string): Promise<void> {
    if (!(await this.#dismiss(prompt))) return;
    throw new KeyringDeniedError(`The Secret Service is unlocked, but asks a person before it ${step}.`, {
      hint: 'KeePassXC does so at every write. Holdfast shows no such question: choose another keyring, such as --keyring file',
    });
  }

  /** `false` where there is no prompt. */
  async #dismiss(prompt: unknown): Promise<boolean> {
    if (typeof prompt !== 'string' || prompt === NOTHING) return false;
    await this.call(prompt, 'org.freedesktop.Secret.Prompt', 'Dismiss').catch(() => {
      // It is not waited for either way.
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

/** Such as in KeePassXC, which asks a person about each program. */
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

/** What a failed call says of the keyring. Anything but a BusError comes back as it is. */
export function secretServiceError(error: unknown): unknown {
  return isLocked(error) ? lockedError() : busFailure(error, SECRET_SERVICE);
}
