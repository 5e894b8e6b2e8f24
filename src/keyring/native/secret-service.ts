import { KeyringAbsentError, KeyringBrokenError } from '../../errors.ts';
import { quote } from '../../quote.ts';
import { type Bus, deadlineIn } from '../../system/dbus/connection.ts';
import { sessionBus } from '../../system/dbus/session-bus.ts';
import { Variant } from '../../system/dbus/value.ts';
import type { Environment } from '../../system/environment.ts';
import { decodeSharedItem, encodeSharedItem } from '../file/layout-99designs.ts';
import type { Keyring, KeyringProbe, Lifetime } from '../keyring.ts';
import { probingLifetime } from '../probe-result.ts';
import {
  DEADLINE_MS,
  IS_COLLECTION,
  IS_ITEM,
  IS_SERVICE,
  isLocked,
  paths,
  ROOT,
  SECRET_SERVICE,
  SecretServiceCalls,
  secretServiceError,
} from './secret-service-calls.ts';

/* The freedesktop.org Secret Service over D-Bus: GNOME Keyring, KeePassXC, KWallet of Plasma 6. */

/** The collection that GNOME Keyring holds only in the daemon's memory. */
const SESSION_COLLECTION = `${ROOT}/collection/session`;

/** The collection, attributes and format of items. */
interface ItemLayout {
  /** The name of a collection, decoded from its path; by default the default collection. */
  readonly collection?: string;
  readonly contentType: string;
  readonly attributes: (name: string) => Record<string, string>;
  readonly label: (name: string) => string;
  readonly encode: (name: string, secret: Uint8Array) => Uint8Array;
  readonly decode: (bytes: Uint8Array) => Uint8Array;
}

/** The layout that `secret-tool lookup service holdfast username NAME` finds. */
const OURS: ItemLayout = {
  contentType: 'text/plain',
  attributes: (name) => ({ service: 'holdfast', username: name }),
  label: (name) => `Holdfast ${name}`,
  encode: (_name, secret) => secret,
  decode: (bytes) => bytes,
};

/** The layout of 99designs/keyring for the items of a service. */
function sharedLayout(collection: string): ItemLayout {
  return {
    collection,
    contentType: 'application/json',
    attributes: (name) => ({ profile: name }),
    label: (name) => name,
    encode: (key, data) => encodeSharedItem({ key, data }),
    decode: (bytes) => decodeSharedItem(bytes).data,
  };
}

/**
 * Connects to the Secret Service of this session.
 *
 * @param options.as99designs the service of a program built on 99designs/keyring, which shares its collection; the
 *   collection must exist, since creating one prompts
 * @throws KeyringAbsentError when no session bus exists; KeyringBrokenError when it does not answer
 */
export async function openSecretService(
  environment: Environment,
  options: { as99designs?: string | undefined } = {},
): Promise<Keyring> {
  const { as99designs } = options;
  const layout = as99designs === undefined ? OURS : sharedLayout(as99designs);
  const connect = () => sessionBus(environment, SECRET_SERVICE, DEADLINE_MS);
  return new SecretService(await connect(), layout, connect);
}

class SecretService implements Keyring {
  readonly id = 'secret-service';
  readonly tier = 'native';
  readonly #bus: Bus;
  readonly #layout: ItemLayout;
  readonly #connect: () => Promise<Bus>;

  constructor(bus: Bus, layout: ItemLayout, connect: () => Promise<Bus>) {
    this.#bus = bus;
    this.#layout = layout;
    this.#connect = connect;
  }

  probe(): Promise<KeyringProbe> {
    return probingLifetime(() => this.#operation((service) => service.lifetime()));
  }

  get(name: string): Promise<Uint8Array | undefined> {
    return this.#operation(async (service) => {
      const [item, session] = await Promise.all([service.find(name), service.openSession()]);
      return item === undefined ? undefined : service.read(item, session);
    });
  }

  async set(name: string, secret: Uint8Array): Promise<void> {
    const isNew = await this.#operation(async (service) => {
      const [collection, session] = await Promise.all([service.collection(), service.openSession()]);
      const before = await service.found(name);
      await service.write(collection, session, name, secret);
      return before.length === 0;
    });
    try {
      await this.#readBack(name, secret);
    } catch (error) {
      // Only this connection can read the item, so no other process would have the key.
      if (isNew) await this.delete(name).catch(() => false);
      throw error;
    }
  }

  delete(name: string): Promise<boolean> {
    return this.#operation(async (service) => {
      const item = await service.find(name);
      if (item === undefined) return false;
      await service.remove(item);
      return true;
    });
  }

  async close(): Promise<void> {
    this.#bus.close();
  }

  /**
   * Reads the secret over its own connection. A service that prompts for each client, such as KeePassXC, shows an item
   * only to the connection that made it.
   */
  async #readBack(name: string, secret: Uint8Array): Promise<void> {
    const bus = await this.#connect();
    try {
      const found = await this.#operation(async (service) => {
        const [item, session] = await Promise.all([service.find(name), service.openSession()]);
        return item === undefined ? undefined : service.read(item, session);
      }, bus);
      if (found !== undefined && Buffer.from(secret).equals(found)) return;
      throw new KeyringBrokenError(
        'The Secret Service does not show another process what was written to it.',
        {
          hint: 'Choose another keyring, such as --keyring file',
        },
      );
    } finally {
      bus.close();
    }
  }

  async #operation<T>(step: (calls: Calls) => Promise<T>, bus = this.#bus): Promise<T> {
    try {
      return await step(new Calls(bus, this.#layout));
    } catch (error) {
      throw secretServiceError(error);
    }
  }
}

/** The calls about the items of one layout. */
class Calls extends SecretServiceCalls {
  readonly #layout: ItemLayout;

  constructor(bus: Bus, layout: ItemLayout) {
    super(bus, deadlineIn(DEADLINE_MS));
    this.#layout = layout;
  }

  /** Finds the item with these attributes, in any collection to which the user moved it. */
  async find(name: string): Promise<string | undefined> {
    if (this.#layout.collection !== undefined) return (await this.#foundInCollection(name))[0];
    for (;;) {
      const { unlocked, locked } = await this.search(this.#layout.attributes(name));
      const [item] = unlocked;
      if (item !== undefined) return item;
      if (locked.length > 0) return (await this.expectOpenItems(locked))[0];
      // A locked collection may hide its attributes, so "not found" is reliable only in an open one.
      if (!(await this.expectOpen(await this.#path()))) return undefined;
    }
  }

  /** Finds all items with these attributes, including locked ones. */
  async found(name: string): Promise<string[]> {
    if (this.#layout.collection !== undefined) return this.#foundInCollection(name);
    const { unlocked, locked } = await this.search(this.#layout.attributes(name));
    return [...unlocked, ...locked];
  }

  /** The lifetime of items in the target collection. Throws if the collection is locked. */
  async lifetime(): Promise<Lifetime> {
    const [collection, passing] = await Promise.all([this.collection(), this.sessionCollection()]);
    return collection === passing || collection === SESSION_COLLECTION ? 'session' : 'disk';
  }

  async #foundInCollection(name: string): Promise<string[]> {
    const wanted = this.#layout.attributes(name);
    const collection = await this.collection();
    const [items] = await this.call(collection, IS_COLLECTION, 'SearchItems', 'a{ss}', [wanted]);
    return paths(items);
  }

  /** The target collection for writes. Throws if it is locked. */
  async collection(): Promise<string> {
    const path = await this.#path();
    await this.expectOpen(path);
    return path;
  }

  async read(item: string, session: string): Promise<Uint8Array> {
    const { value } = await this.secretOf(item, session).catch(async (error: unknown) => {
      if (!isLocked(error)) throw error;
      await this.expectOpenItems([item]);
      return this.secretOf(item, session);
    });
    return Uint8Array.from(this.#layout.decode(value));
  }

  async write(collection: string, session: string, name: string, secret: Uint8Array): Promise<void> {
    const { attributes, contentType, encode, label } = this.#layout;
    const properties = {
      [`${IS_ITEM}.Label`]: new Variant('s', label(name)),
      [`${IS_ITEM}.Attributes`]: new Variant('a{ss}', attributes(name)),
    };
    const value = [session, Buffer.alloc(0), encode(name, secret), contentType];
    const body = [properties, value, true];
    const [, prompt] = await this.call(collection, IS_COLLECTION, 'CreateItem', 'a{sv}(oayays)b', body);
    await this.refusePrompt(prompt, 'keeps an item');
  }

  #path(): Promise<string> {
    const { collection: name } = this.#layout;
    return name === undefined ? this.#default() : this.#named(name);
  }

  async #default(): Promise<string> {
    const path = await this.defaultCollection();
    if (path !== undefined) return path;
    throw new KeyringAbsentError('The Secret Service has no default collection yet.', {
      hint: 'Create one, named Default or Login, in the desktop’s password manager (Seahorse, KWalletManager).',
    });
  }

  async #named(name: string): Promise<string> {
    const collections = paths(await this.property(ROOT, IS_SERVICE, 'Collections'));
    const path = collections.find((one) => pathName(one) === name);
    if (path !== undefined) return path;
    throw new KeyringAbsentError(`The Secret Service has no collection ${quote(name)}.`, {
      hint: 'The program that shares it makes it when it keeps something there.',
    });
  }
}

/**
 * Decodes the last part of a collection's path. For example, `_2d` stands for a character that a path cannot contain.
 */
function pathName(path: string): string {
  const last = path.slice(path.lastIndexOf('/') + 1);
  const bytes = last.replace(/_([0-9a-f]{2})/gi, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  return Buffer.from(bytes, 'latin1').toString('utf8');
}
