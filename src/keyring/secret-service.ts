import {
  type HoldfastError,
  KeyringAbsentError,
  KeyringBrokenError,
  KeyringDeniedError,
  KeyringLockedError,
} from '../errors.ts';
import { quote } from '../quote.ts';
import { type Bus, type BusCall, BusError, connectBus, sessionBusAddress } from '../system/dbus.ts';
import type { Environment } from '../system/environment.ts';
import type { Keyring, KeyringProbe } from './keyring.ts';

/*
 * The freedesktop.org Secret Service over D-Bus: GNOME Keyring, KeePassXC, KWallet of Plasma 6. Nothing here prompts: no
 * Unlock, no new collection, and a prompt that an answer holds is dismissed, since on a machine without a display nobody
 * would ever answer it.
 */

const SERVICE = 'org.freedesktop.secrets';
const ROOT = '/org/freedesktop/secrets';
const IS_SERVICE = 'org.freedesktop.Secret.Service';
const IS_COLLECTION = 'org.freedesktop.Secret.Collection';
const IS_ITEM = 'org.freedesktop.Secret.Item';
/** How D-Bus spells "no object". */
const NOTHING = '/';

/** For each call. A service that was just activated has to start within it. */
const DEADLINE_MS = 3_000;

/**
 * Connects to the Secret Service of this session.
 *
 * @throws KeyringAbsentError where no session bus is; KeyringBrokenError when it does not answer
 */
export async function openSecretService(environment: Environment): Promise<Keyring> {
  const address = sessionBusAddress(environment);
  if (address === undefined) {
    throw new KeyringAbsentError('The Secret Service is not reachable: there is no D-Bus session bus here.', {
      hint: 'In a desktop session it is there by itself. Over SSH: export DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/$(id -u)/bus',
    });
  }
  try {
    return new SecretService(await connectBus(address, DEADLINE_MS));
  } catch (error) {
    if (error instanceof BusError && error.errorName === 'disconnected') {
      throw new KeyringAbsentError(
        `The Secret Service is not reachable: the session bus is not there (${quote(error.message)}).`,
        { hint: 'Check DBUS_SESSION_BUS_ADDRESS, or unset it.' },
      );
    }
    throw keyringError(error);
  }
}

class SecretService implements Keyring {
  readonly id = 'secret-service';
  readonly tier = 'native';
  readonly #bus: Bus;
  #session: Promise<string> | undefined;

  constructor(bus: Bus) {
    this.#bus = bus;
  }

  async probe(): Promise<KeyringProbe> {
    try {
      await this.#collection();
      return { status: 'usable', lifetime: 'disk' };
    } catch (error) {
      const known = keyringError(error);
      const hint = known.hint ?? 'See: holdfast doctor';
      if (known instanceof KeyringAbsentError) return { status: 'absent', reason: known.message, hint };
      if (known instanceof KeyringLockedError) return { status: 'locked', reason: known.message, hint };
      if (known instanceof KeyringDeniedError) return { status: 'denied', reason: known.message, hint };
      return { status: 'broken', reason: known.message, hint };
    }
  }

  async get(name: string): Promise<Uint8Array | undefined> {
    return this.#mapping(async () => {
      const item = await this.#find(name);
      if (item === undefined) return undefined;
      const [secret] = await this.#call(item, IS_ITEM, 'GetSecret', 'o', [await this.#openSession()]);
      const value = Array.isArray(secret) ? secret[2] : undefined;
      if (!(value instanceof Uint8Array)) throw new BusError('nonsense', 'GetSecret gave no bytes');
      return Uint8Array.from(value);
    });
  }

  async set(name: string, secret: Uint8Array): Promise<void> {
    await this.#mapping(async () => {
      const collection = await this.#collection();
      const properties = {
        [`${IS_ITEM}.Label`]: this.#bus.variant('s', `Holdfast ${name}`),
        [`${IS_ITEM}.Attributes`]: this.#bus.variant('a{ss}', attributes(name)),
      };
      const value = [await this.#openSession(), Buffer.alloc(0), Buffer.from(secret), 'text/plain'];
      const [, prompt] = await this.#call(collection, IS_COLLECTION, 'CreateItem', 'a{sv}(oayays)b', [
        properties,
        value,
        true,
      ]);
      await this.#refusePrompt(prompt);
    });
  }

  async delete(name: string): Promise<boolean> {
    return this.#mapping(async () => {
      const item = await this.#find(name);
      if (item === undefined) return false;
      const [prompt] = await this.#call(item, IS_ITEM, 'Delete');
      await this.#refusePrompt(prompt);
      return true;
    });
  }

  async close(): Promise<void> {
    this.#bus.close();
  }

  /** The item with our attributes, in whichever collection the user keeps it. */
  async #find(name: string): Promise<string | undefined> {
    const [unlocked, locked] = await this.#call(ROOT, IS_SERVICE, 'SearchItems', 'a{ss}', [attributes(name)]);
    const [item] = paths(unlocked);
    if (item !== undefined) return item;
    if (paths(locked).length > 0) throw lockedError();
    // A locked collection may keep its attributes to itself: "not found" means something only in an open one.
    await this.#collection();
    return undefined;
  }

  /** The default collection, if it is open. */
  async #collection(): Promise<string> {
    const [path] = await this.#call(ROOT, IS_SERVICE, 'ReadAlias', 's', ['default']);
    if (typeof path !== 'string' || path === NOTHING) {
      throw new KeyringAbsentError('The Secret Service has no default collection yet.', {
        hint: 'Create one, named Default or Login, in the desktop’s password manager (Seahorse, KWalletManager).',
      });
    }
    const [locked] = await this.#call(path, 'org.freedesktop.DBus.Properties', 'Get', 'ss', [
      IS_COLLECTION,
      'Locked',
    ]);
    const value =
      typeof locked === 'object' && locked !== null && 'value' in locked ? locked.value : undefined;
    if (value !== false) throw lockedError();
    return path;
  }

  /** Plain: both ends are on this machine's own bus, which only this user can read. */
  #openSession(): Promise<string> {
    this.#session ??= this.#call(ROOT, IS_SERVICE, 'OpenSession', 'sv', [
      'plain',
      this.#bus.variant('s', ''),
    ]).then(([, session]) => String(session));
    return this.#session;
  }

  async #refusePrompt(prompt: unknown): Promise<void> {
    if (typeof prompt !== 'string' || prompt === NOTHING) return;
    await this.#call(prompt, 'org.freedesktop.Secret.Prompt', 'Dismiss').catch(() => {
      // It is not waited for either way.
    });
    throw lockedError();
  }

  #call(path: string, of: string, member: string, signature?: string, body?: BusCall['body']) {
    return this.#bus.call({ destination: SERVICE, path, interface: of, member, signature, body });
  }

  async #mapping<T>(step: () => Promise<T>): Promise<T> {
    try {
      return await step();
    } catch (error) {
      throw keyringError(error);
    }
  }
}

/** So that `secret-tool lookup service holdfast username NAME` finds it. */
function attributes(name: string): Record<string, string> {
  return { service: 'holdfast', username: name };
}

function paths(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((path) => typeof path === 'string') : [];
}

function lockedError(): KeyringLockedError {
  return new KeyringLockedError('The Secret Service is locked.', {
    hint: 'Unlock it by logging in to the desktop, or in its password manager (Seahorse, KWalletManager), then try again.',
  });
}

function keyringError(error: unknown): HoldfastError {
  if (!(error instanceof BusError)) return error as HoldfastError;
  const said = `(${error.errorName}: ${quote(error.message)})`;
  const name = error.errorName.replace(/^org\.freedesktop\.(DBus|Secret)\.Error\./, '');
  switch (name) {
    case 'ServiceUnknown':
    case 'NameHasNoOwner':
      return new KeyringAbsentError('No Secret Service runs on the session bus.', {
        hint: 'Install and start one, such as gnome-keyring.',
      });
    case 'IsLocked':
      return lockedError();
    case 'AccessDenied':
    case 'AuthFailed':
      return new KeyringDeniedError(`The Secret Service refuses this program ${said}.`, {
        hint: 'A sandbox may filter the bus: allow org.freedesktop.secrets there.',
      });
    case 'timeout':
      return new KeyringBrokenError(`The Secret Service does not answer ${said}.`, {
        hint: 'It may hang: see gnome-keyring-daemon or kwalletd, and restart it.',
      });
    default:
      return new KeyringBrokenError(`The Secret Service does not work ${said}.`, {
        hint: 'Restart it, then try again.',
      });
  }
}
