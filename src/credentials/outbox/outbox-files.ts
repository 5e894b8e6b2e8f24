import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { HoldfastError } from '../../errors.ts';
import { MAX_RECORD_BYTES } from '../../sealing.ts';
import type { OutboxEntry, RecordStore } from '../../store/record-store.ts';
import type { Environment } from '../../system/environment.ts';
import {
  removeFileDurably,
  stagedFor,
  sweepTemporaries,
  writeFileAtomically,
} from '../../system/files/atomic-file.ts';
import type { Layout } from '../../system/files/paths.ts';
import {
  checkPrivateDirectory,
  ensurePrivateDirectories,
  listPrivateDirectory,
  readPrivateFile,
} from '../../system/files/private-directory.ts';

/*
 * The outbox of one machine: answers that no store took, one sealed file each. The next process that holds the lease of
 * such a login writes them to the store. This class also finds records that a process staged before it died, and the
 * single file per record of earlier versions.
 */

const SUFFIX = '.jwe';

/**
 * Lifetime of an answer that no process has recovered, in milliseconds. By then its login has been replaced or has
 * ended.
 */
const KEPT_MS = 90 * 24 * 60 * 60 * 1000;

/** A sealed answer, and the file that it was read from. */
export interface OutboxFile {
  readonly record: string;
  readonly path: string;
  /** A staged file belongs to its writer, who may still be alive. */
  readonly isStaged: boolean;
}

/** The store that these answers belong to. All homes and engines of a user share `/dev/shm` and `/tmp`. */
export type StoreIdentity = Pick<RecordStore, 'id' | 'tenant'>;

export class OutboxFiles {
  readonly #layout: Layout;
  readonly #environment: Environment;

  constructor(layout: Layout, environment: Environment) {
    this.#layout = layout;
    this.#environment = environment;
  }

  /**
   * Saves the answer in the first directory that takes it.
   *
   * @param entry named `generation.epoch.random`
   * @returns the file; `undefined` when no directory took it
   */
  async put(store: StoreIdentity, id: string, { name, record }: OutboxEntry): Promise<string | undefined> {
    for (const directory of this.#layout.outboxes) {
      try {
        await ensurePrivateDirectories([directory], this.#environment);
        await sweepTemporaries(directory, () => KEPT_MS);
        const path = join(directory, `${this.#prefix(directory, store, id)}.${name}${SUFFIX}`);
        await writeFileAtomically(path, Buffer.from(record, 'latin1'), { temporary: directory });
        return path;
      } catch (error) {
        // Full, read-only, or owned by another user: try the next directory.
        if (!(error instanceof HoldfastError)) throw error;
      }
    }
    return undefined;
  }

  /** All answers for that record id, in no order. Skips files that it cannot read. */
  async list(store: StoreIdentity, id: string): Promise<readonly OutboxFile[]> {
    const { temporary } = this.#layout;
    const staged = await stagedFor(`${id}${SUFFIX}`, temporary);
    const listed = this.#directories().map(async (directory) => {
      const prefix = `${this.#prefix(directory, store, id)}.`;
      const names = await this.#names(directory);
      const wanted = names.filter((name) => name.startsWith(prefix) || isOfEarlierVersion(name, id));
      return Promise.all(wanted.map((name) => this.#read(directory, join(directory, name), false)));
    });
    const found = await Promise.all([
      ...listed,
      Promise.all(staged.map((path) => this.#read(temporary, path, true))),
    ]);
    return found.flat().filter((file) => file !== undefined);
  }

  async remove(paths: readonly string[]): Promise<void> {
    for (const path of paths) {
      await removeFileDurably(path).catch(() => {
        // The store has newer tokens, so no process takes this file for the newest.
      });
    }
  }

  /** The number of answers that wait on this machine. An unreadable directory counts as empty. */
  async count(): Promise<number> {
    return (await this.#all()).length;
  }

  /** The kids of the keys that seal the answers on this machine. */
  async kids(): Promise<readonly string[]> {
    const kids = new Set<string>();
    for (const [directory, name] of await this.#all()) {
      const file = await this.#read(directory, join(directory, name), false);
      const kid = file && kidIn(file.record);
      if (kid !== undefined) kids.add(kid);
    }
    return [...kids];
  }

  /** The directories for writing, and the one of earlier versions. */
  #directories(): readonly string[] {
    return [...this.#layout.outboxes, this.#layout.spill];
  }

  async #all(): Promise<readonly (readonly [directory: string, name: string])[]> {
    const lists = await Promise.all(
      this.#directories().map(async (directory) => {
        const names = await this.#names(directory);
        return names.filter((name) => name.endsWith(SUFFIX)).map((name) => [directory, name] as const);
      }),
    );
    return lists.flat();
  }

  #names(directory: string): Promise<string[]> {
    return listPrivateDirectory(directory, this.#environment).catch(() => []);
  }

  /**
   * Hashes the store into the file name. Outside the home directory, the name also includes the home if the store is a
   * directory.
   */
  #prefix(directory: string, { id: store, tenant }: StoreIdentity, id: string): string {
    const { home } = this.#layout;
    const isInHome = directory === this.#layout.outboxes[0];
    const parts = [store, tenant ?? (isInHome ? '' : home), id];
    return createHash('sha256').update(parts.join('\0')).digest('base64url');
  }

  async #read(directory: string, path: string, isStaged: boolean): Promise<OutboxFile | undefined> {
    try {
      if (!(await checkPrivateDirectory(directory, this.#environment))) return undefined;
      const bytes = await readPrivateFile(path, this.#environment, { maxBytes: MAX_RECORD_BYTES });
      return bytes && { record: bytes.toString('latin1'), path, isStaged };
    } catch {
      return undefined;
    }
  }
}

/** Earlier versions named the file `<kid>.<record id>.jwe`. */
function isOfEarlierVersion(name: string, id: string): boolean {
  return name.endsWith(`.${id}${SUFFIX}`) && name.split('.').length === 3;
}

/** The kid that a record declares; it is not authenticated yet. */
export function kidIn(record: string): string | undefined {
  try {
    const header: unknown = JSON.parse(Buffer.from(record.split('.', 1)[0] ?? '', 'base64url').toString());
    const isNamed = typeof header === 'object' && header !== null && 'kid' in header;
    return isNamed && typeof header.kid === 'string' ? header.kid : undefined;
  } catch {
    return undefined;
  }
}
