import { KeyringAbsentError } from '../errors.ts';
import { quote } from '../quote.ts';
import { type Bus, deadlineIn } from '../system/dbus.ts';
import { Variant } from '../system/dbus-value.ts';
import type { Environment } from '../system/environment.ts';
import type { Keyring, KeyringProbe } from './keyring.ts';
import { decodeSharedItem, encodeSharedItem } from './layout-99designs.ts';
import {
  DEADLINE_MS,
  IS_COLLECTION,
  IS_ITEM,
  IS_SERVICE,
  lockedError,
  paths,
  ROOT,
  SECRET_SERVICE,
  SecretServiceCalls,
  secretServiceError,
} from './secret-service-calls.ts';
import { sessionBus } from './session-bus.ts';
import { probing } from './verdict.ts';

/* The freedesktop.org Secret Service over D-Bus: GNOME Keyring, KeePassXC, KWallet of Plasma 6. */

/** How items lie there: where, under which attributes, in which form. */
interface ItemLayout {
  /** The name of a collection, as its path spells it; the default one otherwise. */
  readonly collection?: string;
  readonly contentType: string;
  readonly attributes: (name: string) => Record<string, string>;
  readonly label: (name: string) => string;
  readonly encode: (name: string, secret: Uint8Array) => Uint8Array;
  readonly decode: (bytes: Uint8Array) => Uint8Array;
}

/** So that `secret-tool lookup service holdfast username NAME` finds it. */
const OURS: ItemLayout = {
  contentType: 'text/plain',
  attributes: (name) => ({ service: 'holdfast', username: name }),
  label: (name) => `Holdfast ${name}`,
  encode: (_name, secret) => secret,
  decode: (bytes) => bytes,
};

/** As 99designs/keyring keeps the items of a service. */
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
 * @param options.as99designs the service of a program built on 99designs/keyring, whose collection is shared with it; it
 *   must be there, since making one prompts
 * @throws KeyringAbsentError where no session bus is; KeyringBrokenError when it does not answer
 */
export async function openSecretService(
  environment: Environment,
  options: { as99designs?: string | undefined } = {},
): Promise<Keyring> {
  const { as99designs } = options;
  const layout = as99designs === undefined ? OURS : sharedLayout(as99designs);
  return new SecretService(await sessionBus(environment, SECRET_SERVICE, DEADLINE_MS), layout);
}

class SecretService implements Keyring {
  readonly id = 'secret-service';
  readonly tier = 'native';
  readonly #bus: Bus;
  readonly #layout: ItemLayout;

  constructor(bus: Bus, layout: ItemLayout) {
    this.#bus = bus;
    this.#layout = layout;
  }

  probe(): Promise<KeyringProbe> {
    return probing('disk', () => this.#operation((service) => service.collection()));
  }

  get(name: string): Promise<Uint8Array | undefined> {
    return this.#operation(async (service) => {
      const [item, session] = await Promise.all([service.find(name), service.openSession()]);
      return item === undefined ? undefined : service.read(item, session);
    });
  }

  set(name: string, secret: Uint8Array): Promise<void> {
    return this.#operation(async (service) => {
      const [collection, session] = await Promise.all([service.collection(), service.openSession()]);
      await service.write(collection, session, name, secret);
    });
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

  async #operation<T>(step: (calls: Calls) => Promise<T>): Promise<T> {
    try {
      return await step(new Calls(this.#bus, this.#layout));
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

  /** The item with our attributes, in whichever collection the user keeps it. */
  async find(name: string): Promise<string | undefined> {
    const wanted = this.#layout.attributes(name);
    if (this.#layout.collection !== undefined) {
      const collection = await this.collection();
      const [items] = await this.call(collection, IS_COLLECTION, 'SearchItems', 'a{ss}', [wanted]);
      return paths(items)[0];
    }
    const { unlocked, locked } = await this.search(wanted);
    const [item] = unlocked;
    if (item !== undefined) return item;
    if (locked.length > 0) throw lockedError();
    // A locked collection may keep its attributes to itself: "not found" means something only in an open one.
    await this.collection();
    return undefined;
  }

  /** The collection that is written to, if it is open. */
  async collection(): Promise<string> {
    const { collection: name } = this.#layout;
    const path = name === undefined ? await this.#default() : await this.#named(name);
    await this.expectOpen(path);
    return path;
  }

  async read(item: string, session: string): Promise<Uint8Array> {
    const { value } = await this.secretOf(item, session);
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
    await this.refusePrompt(prompt);
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
    const path = collections.find((one) => nameOf(one) === name);
    if (path !== undefined) return path;
    throw new KeyringAbsentError(`The Secret Service has no collection ${quote(name)}.`, {
      hint: 'The program that shares it makes it when it keeps something there.',
    });
  }
}

/** The last part of a collection's path; `_2d` stands for a character that a path may not have. */
function nameOf(path: string): string {
  const last = path.slice(path.lastIndexOf('/') + 1);
  const bytes = last.replace(/_([0-9a-f]{2})/gi, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  return Buffer.from(bytes, 'latin1').toString('utf8');
}
