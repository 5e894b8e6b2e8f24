import { type Bus, deadlineIn } from '../../system/dbus/connection.ts';
import { sessionBus } from '../../system/dbus/session-bus.ts';
import type { Environment } from '../../system/environment.ts';
import {
  DEADLINE_MS,
  IS_ITEM,
  SECRET_SERVICE,
  SecretServiceCalls,
  secretServiceError,
} from '../native/secret-service-calls.ts';
import { type ExternalItem, type ExternalItems, MAX_ITEM_BYTES, MAX_ITEMS } from './external-item.ts';

/*
 * Another program's items in the Secret Service, found by the attribute `service`. The keyring crate names the account
 * `username`, keytar names it `account`. A write replaces the text in the existing item, so that its label and
 * attributes stay.
 */

interface FoundItem extends ExternalItem {
  readonly path: string;
  readonly contentType: string;
}

export class ExternalSecretService implements ExternalItems {
  readonly #bus: Bus;
  readonly #service: string;

  private constructor(bus: Bus, service: string) {
    this.#bus = bus;
    this.#service = service;
  }

  /** @throws KeyringAbsentError when no session bus exists; KeyringBrokenError when it does not answer */
  static async open(environment: Environment, service: string): Promise<ExternalSecretService> {
    return new ExternalSecretService(await sessionBus(environment, SECRET_SERVICE, DEADLINE_MS), service);
  }

  list(): Promise<readonly ExternalItem[]> {
    return this.#operation((calls) => this.#found(calls));
  }

  replace(item: ExternalItem, text: string | undefined): Promise<'done' | 'changed' | 'gone'> {
    return this.#operation(async (calls) => {
      const session = await calls.openSession();
      const same = (await this.#found(calls, session)).filter(({ account }) => account === item.account);
      if (same.length === 0) return 'gone';
      const now = same.find((one) => one.text === item.text);
      if (now === undefined) return 'changed';
      if (text === undefined) await calls.remove(now.path);
      else {
        const secret = [session, Buffer.alloc(0), Buffer.from(text), now.contentType];
        await calls.call(now.path, IS_ITEM, 'SetSecret', '(oayays)', [secret]);
      }
      return 'done';
    });
  }

  async close(): Promise<void> {
    this.#bus.close();
  }

  async #found(calls: SecretServiceCalls, session?: string): Promise<FoundItem[]> {
    const { unlocked, locked } = await calls.search({ service: this.#service });
    if (locked.length > 0) {
      const opened = await calls.expectOpenItems(locked);
      // An incomplete list would hide items of the program, so any locked item is an error.
      if (opened.length < locked.length)
        await calls.expectOpenItems(locked.filter((one) => !opened.includes(one)));
      unlocked.push(...opened);
    }
    if (unlocked.length === 0) {
      // A locked collection may hide its attributes. Without a collection, no program has stored anything.
      const collection = await calls.defaultCollection();
      const isOpenedNow = collection !== undefined && (await calls.expectOpen(collection));
      return isOpenedNow ? this.#found(calls, session) : [];
    }
    const through = session ?? (await calls.openSession());
    const items = await Promise.all(
      unlocked.slice(0, MAX_ITEMS).map(async (path): Promise<FoundItem[]> => {
        const [attributes, { value, contentType }] = await Promise.all([
          calls.property(path, IS_ITEM, 'Attributes'),
          calls.secretOf(path, through),
        ]);
        const account = accountIn(attributes);
        if (account === undefined || value.length > MAX_ITEM_BYTES) return [];
        return [{ account, text: Buffer.from(value).toString('utf8'), path, contentType }];
      }),
    );
    return items.flat();
  }

  async #operation<T>(step: (calls: SecretServiceCalls) => Promise<T>): Promise<T> {
    try {
      return await step(new SecretServiceCalls(this.#bus, deadlineIn(DEADLINE_MS)));
    } catch (error) {
      throw secretServiceError(error);
    }
  }
}

/** D-Bus returns `a{ss}` as pairs. */
function accountIn(attributes: unknown): string | undefined {
  const pairs = (Array.isArray(attributes) ? attributes : []) as readonly (readonly unknown[])[];
  const account = ['username', 'account']
    .map((name) => pairs.find(([key]) => key === name)?.[1])
    .find((value) => typeof value === 'string');
  return typeof account === 'string' ? account : undefined;
}
