import { join } from 'node:path';
import {
  HoldfastError,
  KeyringBrokenError,
  StorageUnreadableError,
  StorageUnsafeError,
} from '../../errors.ts';
import { quote } from '../../quote.ts';
import type { Environment } from '../../system/environment.ts';
import { removeFileDurably, writeFileAtomically } from '../../system/files/atomic-file.ts';
import type { Layout } from '../../system/files/paths.ts';
import {
  checkCanMakeDirectory,
  checkPrivateDirectories,
  checkPrivateDirectory,
  ensurePrivateDirectories,
  readPrivateFile,
} from '../../system/files/private-directory.ts';
import { shellPath } from '../../system/files/storage-error.ts';
import { sleep } from '../../system/locks/keyed-mutex.ts';
import type { Keyring, KeyringProbe } from '../keyring.ts';
import { decryptItem, encryptItem, itemFileName, MAX_ITEM_BYTES } from './file-item.ts';
import { obtainPassphrase, type Passphrase, readPassphrase } from './passphrase.ts';

/** Names that are not files, or not files of an item. */
const RESERVED = new Set(['', '.', '..', 'passphrase']);

/** Windows reads a colon as a stream of another file and a device's name as the device. It drops a dot at the end. */
const NO_WINDOWS_FILE = /[<>:"|?*\\\p{Cc}]|[ .]$|^(con|prn|aux|nul|com\d|lpt\d)(\.|$)/iu;

/** Other programs of this format truncate the file and rewrite it, so a reader may see an incomplete file. */
const REREADS = 5;
const REREAD_AFTER_MS = 10;

/**
 * Items encrypted under a passphrase, as files in a private directory, for systems without a native keyring. The format
 * is that of 99designs/keyring, so other programs can read the items with the passphrase.
 */
export class FileKeyring implements Keyring {
  readonly id = 'file';
  readonly tier = 'file';
  readonly #layout: Layout;
  readonly #environment: Environment;
  #passphrase: Passphrase | undefined;

  constructor(layout: Layout, environment: Environment) {
    this.#layout = layout;
    this.#environment = environment;
  }

  async probe(): Promise<KeyringProbe> {
    const { home, keyring } = this.#layout;
    try {
      for (const directory of [home, keyring]) {
        if (!(await checkPrivateDirectory(directory, this.#environment)))
          await checkCanMakeDirectory(directory, this.#environment);
      }
      this.#passphrase = await readPassphrase(this.#layout, this.#environment);
      return { status: 'usable', lifetime: 'disk' };
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      const unreadable = error instanceof StorageUnreadableError || error instanceof StorageUnsafeError;
      return {
        status: error.code === 'keyring-absent' ? 'absent' : unreadable ? 'denied' : 'broken',
        reason: error.message,
        hint: error.hint ?? `See: ls -ld ${shellPath(keyring)}`,
        cause: error,
      };
    }
  }

  async get(name: string): Promise<Uint8Array | undefined> {
    const path = this.#path(name);
    for (let again = REREADS; ; again -= 1) {
      const text = await this.#read(path);
      if (text === undefined) return undefined;
      if (text.split('.').length !== 5 && again > 0) {
        await sleep(REREAD_AFTER_MS);
        continue;
      }
      this.#passphrase ??= await readPassphrase(this.#layout, this.#environment);
      if (this.#passphrase === undefined) {
        throw new KeyringBrokenError(
          `${shellPath(path)} is there, but the passphrase that opens it is gone.`,
          {
            hint: `Put ${shellPath(this.#layout.passphrase)} back from a backup, or set HOLDFAST_PASSPHRASE.`,
          },
        );
      }
      return (await this.#open(text, this.#passphrase, path)).data;
    }
  }

  async set(name: string, secret: Uint8Array): Promise<void> {
    const path = this.#path(name);
    const { home, keyring, temporary } = this.#layout;
    await ensurePrivateDirectories([home, keyring, temporary], this.#environment);
    const passphrase = await obtainPassphrase(this.#layout, this.#environment);
    // Does not overwrite an item that fails to open: the right passphrase may still open it.
    const before = await this.#read(path);
    if (before !== undefined) await this.#open(before, passphrase, path);
    const item = await encryptItem({ key: name, data: secret }, passphrase.text, passphrase.rounds);
    await writeFileAtomically(path, Buffer.from(item, 'ascii'), { temporary });
  }

  async delete(name: string): Promise<boolean> {
    const path = this.#path(name);
    if (!(await checkPrivateDirectory(this.#layout.keyring, this.#environment))) return false;
    return removeFileDurably(path);
  }

  async close(): Promise<void> {
    // No resource stays open between calls.
  }

  #path(name: string): string {
    if (RESERVED.has(name) || (this.#environment.platform === 'win32' && NO_WINDOWS_FILE.test(name))) {
      throw new KeyringBrokenError(`${quote(name)} cannot name an item of the file keyring.`, {
        hint: 'Choose another name.',
      });
    }
    return join(this.#layout.keyring, itemFileName(name));
  }

  async #read(path: string): Promise<string | undefined> {
    const { home, keyring } = this.#layout;
    if (!(await checkPrivateDirectories([home, keyring], this.#environment))) return undefined;
    const bytes = await readPrivateFile(path, this.#environment, { maxBytes: MAX_ITEM_BYTES });
    return bytes?.toString('latin1');
  }

  async #open(text: string, passphrase: Passphrase, path: string): Promise<{ data: Uint8Array }> {
    try {
      return await decryptItem(text, passphrase.text);
    } catch (error) {
      if (!(error instanceof KeyringBrokenError)) throw error;
      throw new KeyringBrokenError(`${shellPath(path)}: ${error.message}`, {
        cause: error,
        ...(error.hint === undefined ? {} : { hint: error.hint }),
      });
    }
  }
}
