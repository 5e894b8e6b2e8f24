import { KeyringAbsentError, KeyringBrokenError } from '../../errors.ts';
import { quote } from '../../quote.ts';
import type { Environment } from '../../system/environment.ts';
import { SEALING_KEY_ITEM } from '../key-text.ts';
import type { Keyring, KeyringProbe } from '../keyring.ts';
import { probing } from '../probe-result.ts';
import { RememberedSecret } from '../provided/remembered-secret.ts';
import type { Kms } from './kms.ts';
import { type KmsScheme, type NamedKms, namedKms } from './named-kms.ts';
import type { WrappedItem, WrappedItems } from './wrapped-items.ts';

/*
 * A sealing key by envelope encryption. The wrapped key is stored next to the records, and a key management service,
 * which never exports its own key, unwraps it. So the service is called once every few minutes, not once per record.
 */

/** The prefix of a wrapped item. */
const FORMAT = 'holdfast-wrapped-1';

/** Retry limit for races with other machines that write the item. */
const SET_ATTEMPTS = 10;

/** @throws InvalidArgumentError, KeyringAbsentError, KeyringDeniedError when HOLDFAST_SEALING_KMS cannot be opened */
export async function openKmsKeyring(environment: Environment, items: WrappedItems): Promise<Keyring> {
  const text = environment.variables['HOLDFAST_SEALING_KMS'];
  if (!text) {
    throw new KeyringAbsentError('The variable HOLDFAST_SEALING_KMS is not set.', {
      hint: 'Set it to the URL of a key, or choose another keyring than kms.',
    });
  }
  const named = namedKms(text, environment);
  return new KmsKeyring(await named.open(), items, named);
}

export class KmsKeyring implements Keyring {
  readonly id = 'kms';
  readonly tier = 'shared';
  readonly #kms: Kms;
  readonly #items: WrappedItems;
  readonly #scheme: KmsScheme;
  readonly #remembering: NamedKms['remembering'];
  readonly #remembered = new Map<string, RememberedSecret<Uint8Array>>();

  constructor(
    kms: Kms,
    items: WrappedItems,
    { scheme, remembering }: Pick<NamedKms, 'scheme' | 'remembering'>,
  ) {
    this.#kms = kms;
    this.#items = items;
    this.#scheme = scheme;
    this.#remembering = remembering;
  }

  /** Without a stored key, wraps and unwraps a test value, since only a call shows whether the KMS permits it. */
  probe(): Promise<KeyringProbe> {
    return probing('disk', async () => {
      if ((await this.get(SEALING_KEY_ITEM)) !== undefined) return;
      const binding = { tenant: this.#items.tenant, item: 'probe' };
      await this.#kms.unwrap(await this.#kms.wrap(Buffer.from('probe'), binding), binding);
    });
  }

  async get(name: string): Promise<Uint8Array | undefined> {
    let remembered = this.#remembered.get(name);
    if (remembered === undefined) {
      remembered = new RememberedSecret(async () => (await this.#read(name))?.secret, this.#remembering);
      this.#remembered.set(name, remembered);
    }
    return remembered.get();
  }

  async set(name: string, secret: Uint8Array): Promise<void> {
    const value = await this.#wrapped(name, secret);
    for (let attempt = 0; attempt < SET_ATTEMPTS; attempt += 1) {
      const there = await this.#items.read(name);
      if (await this.#write(name, there, value)) return;
    }
    throw new KeyringBrokenError(
      'The wrapped key was changed by others each time that it was to be written.',
      {
        hint: 'See which program writes it, then try again.',
      },
    );
  }

  async setIf(name: string, expected: Uint8Array | undefined, secret: Uint8Array): Promise<boolean> {
    const there = await this.#read(name);
    const same =
      there === undefined || expected === undefined
        ? there === expected
        : Buffer.from(there.secret).equals(expected);
    return same && this.#write(name, there?.item, await this.#wrapped(name, secret));
  }

  async delete(name: string): Promise<boolean> {
    const there = await this.#items.read(name);
    const removed = there !== undefined && (await this.#items.remove(name, there.version));
    this.#remembered.delete(name);
    return removed;
  }

  forget(readBefore: number): boolean {
    return [...this.#remembered.values()].map((one) => one.forget(readBefore)).includes(true);
  }

  async close(): Promise<void> {
    for (const remembered of this.#remembered.values()) remembered.clear();
    this.#remembered.clear();
    this.#kms.close();
  }

  async #write(name: string, there: WrappedItem | undefined, value: string): Promise<boolean> {
    const written = await this.#items.write(name, there?.version, value);
    this.#remembered.delete(name);
    return written;
  }

  async #read(name: string): Promise<{ item: WrappedItem; secret: Uint8Array } | undefined> {
    const item = await this.#items.read(name);
    if (item === undefined) return undefined;
    const [format, scheme = '', text = '', ...rest] = item.value.split('.');
    const wrapped = Buffer.from(text, 'base64url');
    if (
      format !== FORMAT ||
      rest.length > 0 ||
      wrapped.length === 0 ||
      wrapped.toString('base64url') !== text
    ) {
      throw new KeyringBrokenError(
        'The wrapped key is damaged, or was written by a newer Holdfast; it is left as it is.',
        {
          hint: 'Put it back from a backup of the store.',
        },
      );
    }
    if (scheme !== this.#scheme) {
      throw new KeyringBrokenError(
        `The key was wrapped by ${quote(scheme, 20)}, and HOLDFAST_SEALING_KMS names ${this.#scheme}.`,
        { hint: 'Name the KMS that it was wrapped by.' },
      );
    }
    const plain = Buffer.from(await this.#kms.unwrap(wrapped, { tenant: this.#items.tenant, item: name }));
    const begin = this.#bound(name);
    if (!plain.subarray(0, begin.length).equals(begin)) {
      throw new KeyringBrokenError('The wrapped key belongs to another tenant or item; it is not used.', {
        hint: 'See who copied it there.',
      });
    }
    return { item, secret: new Uint8Array(plain.subarray(begin.length)) };
  }

  async #wrapped(name: string, secret: Uint8Array): Promise<string> {
    const plain = Buffer.concat([this.#bound(name), secret]);
    const wrapped = await this.#kms.wrap(plain, { tenant: this.#items.tenant, item: name });
    return `${FORMAT}.${this.#scheme}.${Buffer.from(wrapped).toString('base64url')}`;
  }

  /** Binds the plaintext too: transit engines before Vault 1.11 ignore the associated data. */
  #bound(name: string): Buffer {
    return Buffer.from(`${JSON.stringify([this.#items.tenant, name])}\n`, 'utf8');
  }
}
