import { KeyringLockedError } from '../errors.ts';
import { type Bus, BusError, type Deadline } from '../system/dbus.ts';
import { Variant } from '../system/dbus-value.ts';
import { type BusKeyring, busFailure } from './session-bus.ts';

/*
 * The calls of the freedesktop.org Secret Service that do not depend on whose item it is. Nothing here prompts: no Unlock,
 * no new collection, and a prompt that an answer holds is dismissed, since on a machine without a display nobody would ever
 * answer it.
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
    await this.refusePrompt(prompt);
  }

  /** The collection that programs write to when they name none; `undefined` when there is none yet. */
  async defaultCollection(): Promise<string | undefined> {
    const [path] = await this.call(ROOT, IS_SERVICE, 'ReadAlias', 's', ['default']);
    return typeof path === 'string' && path !== NOTHING ? path : undefined;
  }

  /** @throws KeyringLockedError */
  async expectOpen(collection: string): Promise<void> {
    if ((await this.property(collection, IS_COLLECTION, 'Locked')) !== false) throw lockedError();
  }

  async property(path: string, of: string, name: string): Promise<unknown> {
    const [value] = await this.call(path, 'org.freedesktop.DBus.Properties', 'Get', 'ss', [of, name]);
    return value instanceof Variant ? value.value : undefined;
  }

  /** @throws KeyringLockedError where the answer is a prompt */
  async refusePrompt(prompt: unknown): Promise<void> {
    if (typeof prompt !== 'string' || prompt === NOTHING) return;
    await this.call(prompt, 'org.freedesktop.Secret.Prompt', 'Dismiss').catch(() => {
      // It is not waited for either way.
    });
    throw lockedError();
  }

  call(path: string, of: string, member: string, signature?: string, body?: readonly unknown[]) {
    const call = { destination: SECRET_SERVICE.busName, path, interface: of, member, signature, body };
    return this.#bus.call(call, this.#deadline);
  }
}

export function paths(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((path) => typeof path === 'string') : [];
}

export function lockedError(): KeyringLockedError {
  return new KeyringLockedError('The Secret Service is locked.', {
    hint: 'Unlock it by logging in to the desktop, or in its password manager (Seahorse, KWalletManager), then try again.',
  });
}

/** What a failed call says of the keyring. Anything but a BusError comes back as it is. */
export function secretServiceError(error: unknown): unknown {
  const locked = error instanceof BusError && error.errorName === 'org.freedesktop.Secret.Error.IsLocked';
  return locked ? lockedError() : busFailure(error, SECRET_SERVICE);
}
