import type { Keyring } from '../keyring.ts';

/*
 * Another program's items in the OS keyring: the items of one service, in the layout of the library that wrote them.
 * Nothing here creates items or prompts. No keyring compares and replaces in one step. So an item is read again right
 * before a write, and a change by the other program in between is lost.
 */

export interface ExternalItem {
  /** The item's name within the other program's service. */
  readonly account: string;
  /** The item's text. A secret. */
  readonly text: string;
}

export interface ExternalItems {
  /**
   * Lists the items of the service.
   *
   * @param accounts the names to look up in keyrings without a search: the Keychain and the Credential Manager
   * @throws KeyringLockedError, KeyringDeniedError, KeyringBrokenError
   */
  list(accounts: readonly string[]): Promise<readonly ExternalItem[]>;
  /**
   * Replaces the item's text, or removes the item if `text` is `undefined`, if it still holds the text that was read.
   *
   * @throws KeyringLockedError, KeyringDeniedError, KeyringBrokenError
   */
  replace(item: ExternalItem, text: string | undefined): Promise<'done' | 'changed' | 'gone'>;
  close(): Promise<void>;
}

/** The library that the other program uses; it decides the names of the items. */
export type ExternalLayout = 'keyring-crate' | 'keytar';

/**
 * Maximum size of an item in bytes; a larger one is not a login. Windows allows 2,560 bytes, and goose puts all its
 * secrets into one item.
 */
export const MAX_ITEM_BYTES = 1024 * 1024;
/** Maximum number of items read from one service. */
export const MAX_ITEMS = 500;

/** Items of a keyring without a search: each is read by its name. */
export class NamedItems implements ExternalItems {
  readonly #keyring: Keyring;
  readonly #encoding: 'utf8' | 'utf16le';

  constructor(keyring: Keyring, encoding: 'utf8' | 'utf16le') {
    this.#keyring = keyring;
    this.#encoding = encoding;
  }

  async list(accounts: readonly string[]): Promise<readonly ExternalItem[]> {
    const items: ExternalItem[] = [];
    // One at a time, since a Mac may prompt for each.
    for (const account of new Set(accounts.slice(0, MAX_ITEMS))) {
      const text = await this.#text(account);
      if (text !== undefined) items.push({ account, text });
    }
    return items;
  }

  async replace(item: ExternalItem, text: string | undefined): Promise<'done' | 'changed' | 'gone'> {
    const now = await this.#text(item.account);
    if (now === undefined) return 'gone';
    if (now !== item.text) return 'changed';
    if (text === undefined) await this.#keyring.delete(item.account);
    else await this.#keyring.set(item.account, Buffer.from(text, this.#encoding));
    return 'done';
  }

  close(): Promise<void> {
    return this.#keyring.close();
  }

  async #text(account: string): Promise<string | undefined> {
    const bytes = await this.#keyring.get(account);
    return bytes === undefined || bytes.length > MAX_ITEM_BYTES
      ? undefined
      : Buffer.from(bytes).toString(this.#encoding);
  }
}
