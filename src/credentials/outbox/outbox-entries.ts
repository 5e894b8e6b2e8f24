import { randomBytes } from 'node:crypto';
import type { Credential } from '../../credential.ts';
import type { RecordIndex } from '../../store/record-store.ts';
import type { RecordAccess } from '../sealed/record-access.ts';
import type { StoredCredential } from '../stored-credential.ts';
import { isNewer } from '../versions.ts';
import { kidIn, type OutboxFiles } from './outbox-files.ts';

/** An answer in the outbox, decrypted. */
export interface OutboxAnswer {
  readonly credential: Credential;
  readonly file?: string | undefined;
  readonly row?: string | undefined;
}

/** The entries of the outbox: rows in the engine, which every machine sees, and files on this machine. */
export class OutboxEntries {
  readonly #store: RecordAccess;
  readonly #files: OutboxFiles | undefined;

  constructor(store: RecordAccess, files: OutboxFiles | undefined) {
    this.#store = store;
    this.#files = files;
  }

  /**
   * Saves an answer as an outbox entry: a row if the store answers, else a file.
   *
   * @returns the entry's location for messages; `undefined` when it could not be saved
   */
  async put({ address, key, credential }: StoredCredential): Promise<string | undefined> {
    if (key.lifetime === 'process') return undefined;
    const store = this.#store.recordStoreOf(key);
    const random = randomBytes(9).toString('base64url');
    const name = `${credential.generation}.${credential.epoch ?? 0}.${random}`;
    const entry = { name, kid: address.kid, record: this.#store.sealed(address, key, credential) };
    const isRow = await store.putOutbox?.(address.id, entry).catch(() => false);
    return isRow === true ? `the outbox of ${store.id}` : this.#files?.put(store, address.id, entry);
  }

  /** All answers of that login that this process can decrypt. */
  async ofLogin(
    { address, key, credential }: StoredCredential,
    rows: boolean,
  ): Promise<readonly OutboxAnswer[]> {
    const entries = await this.of(address.id, this.#store.recordStoreOf(key), rows);
    return entries.filter((one) => one.credential.loggedInAt === credential.loggedInAt);
  }

  /** All answers with that record id that this process can decrypt. */
  async of(id: string, store: RecordIndex, rows: boolean): Promise<readonly OutboxAnswer[]> {
    const [files, found] = await Promise.all([
      this.#files?.list(store, id) ?? [],
      rows ? (store.listOutbox?.(id) ?? []) : [],
    ]);
    const entries: OutboxAnswer[] = [];
    const add = async (record: string, at: Omit<OutboxAnswer, 'credential'>) => {
      const opened = await this.#store.unsealed(id, kidIn(record), record);
      if (opened !== undefined) entries.push({ credential: opened, ...at });
    };
    for (const { record, path, isStaged } of files) await add(record, { file: isStaged ? undefined : path });
    for (const { record, name } of found) await add(record, { row: name });
    return entries;
  }

  /** Removes only the entries that the record supersedes or equals, and only as they were read. */
  async removeOutdated(entries: readonly OutboxAnswer[], stored: Credential, id: string): Promise<void> {
    await this.remove(
      entries.filter(({ credential }) => !isNewer(credential, stored)),
      id,
    );
  }

  async remove(entries: readonly OutboxAnswer[], id: string): Promise<void> {
    await this.#files?.remove(entries.flatMap(({ file }) => file ?? []));
    const rows = entries.flatMap(({ row }) => row ?? []);
    if (rows.length === 0) return;
    await this.#store.recordStore.removeOutbox?.(id, rows).catch(() => {
      // A leftover entry only costs one more look.
    });
  }
}
