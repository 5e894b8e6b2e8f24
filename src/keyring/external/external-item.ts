import type { Keyring } from '../keyring.ts';

/*
 * The items of another program in the OS keyring: those of one service, in the layout of the library that wrote them.
 * Nothing is created here, and nothing prompts. No keyring compares and replaces in one step: an item is read again right
 * before it is written, and what the other program writes in that instant is lost.
 */

export interface ExternalItem {
  /** As the other program names it within its service. */
  readonly account: string;
  /** The text in it. A secret. */
  readonly text: string;
}

export interface ExternalItems {
  /**
   * The items of the service.
   *
   * @param accounts those that are asked for where a keyring cannot be searched: the Keychain and the Credential Manager
   * @throws KeyringLockedError, KeyringDeniedError, KeyringBrokenError
   */
  list(accounts: readonly string[]): Promise<readonly ExternalItem[]>;
  /**
   * Replaces its text, or removes it where none is given, if it still holds what was read.
   *
   * @throws KeyringLockedError, KeyringDeniedError, KeyringBrokenError
   */
  replace(item: ExternalItem, text: string | undefined): Promise<'done' | 'changed' | 'gone'>;
  close(): Promise<void>;
}

/** The library by which the program keeps its items, which decides how they are named. */
export type ExternalLayout = 'keyring-crate' | 'keytar';

/** More than this in one item is no login. Windows takes 2,560 bytes, and goose keeps all its secrets in one. */
export const MAX_ITEM_BYTES = 1024 * 1024;
/** So many items of one service are read, and no more. */
export const MAX_ITEMS = 500;

/** Items of a keyring that is asked for each by its name. */
export class NamedItems implements ExternalItems {
  readonly #keyring: Keyring;
  readonly #encoding: 'utf8' | 'utf16le';

  constructor(keyring: Keyring, encoding: 'utf8' | 'utf16le') {
    this.#keyring = keyring;
    this.#encoding = encoding;
  }

  async list(accounts: readonly string[]): Promise<readonly ExternalItem[]> {
    const items: ExternalItem[] = [];
    // One after the other: at a Mac each may ask a person.
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
