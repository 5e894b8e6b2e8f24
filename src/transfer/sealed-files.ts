import { join } from 'node:path';
import { HoldfastError } from '../errors.ts';
import type { SealingKey, SealingKeys } from '../keyring/sealing-key.ts';
import { MAX_RECORD_BYTES, seal, unseal } from '../sealing.ts';
import type { Environment } from '../system/environment.ts';
import { removeFileDurably, writeFileAtomically } from '../system/files/atomic-file.ts';
import type { Layout } from '../system/files/paths.ts';
import {
  checkPrivateDirectory,
  ensurePrivateDirectories,
  listPrivateDirectory,
  readPrivateFile,
} from '../system/files/private-directory.ts';
import { acquireLock, lockKindOf } from '../system/locks/lock.ts';

/*
 * Files of hand-overs on this machine, sealed like records, in `handover/<kind>.<kid>.<id>.jwe`: `code`, the key of a
 * code made here; `sent`, the blob of a login that moved away. A file whose key ends with this process stays in memory.
 */

export type HandoverFile = 'code' | 'sent';

export interface SavedHandover {
  readonly id: string;
  readonly key: SealingKey;
  readonly plaintext: Uint8Array;
}

const SUFFIX = '.jwe';
const NAME = /^[\w-]{1,64}$/;

/** Held for one blob; no network. */
const LOCK_WAIT_MS = 30_000;

export class HandoverFiles {
  readonly #keys: SealingKeys;
  readonly #layout: Layout;
  readonly #environment: Environment;
  /** Sealed files that would not outlive this process, by file name. */
  readonly #inMemory = new Map<string, string>();

  constructor(context: { keys: SealingKeys; layout: Layout; environment: Environment }) {
    this.#keys = context.keys;
    this.#layout = context.layout;
    this.#environment = context.environment;
  }

  /**
   * Runs one step at a time on this machine, so that two processes cannot both open one blob.
   *
   * @throws LockTimeoutError
   */
  async exclusively<T>(step: () => Promise<T>): Promise<T> {
    const { home, locks } = this.#layout;
    await ensurePrivateDirectories([home, locks], this.#environment);
    const lock = await acquireLock(join(locks, 'handover.lock'), {
      waitMs: LOCK_WAIT_MS,
      kind: lockKindOf(this.#environment.variables),
    });
    try {
      return await step();
    } finally {
      await lock.release();
    }
  }

  /**
   * Writes the file, and replaces one of the same name. Durable when it returns.
   *
   * @throws StorageFullError, StorageUnwritableError, StorageUnsafeError
   */
  async write(kind: HandoverFile, { id, key, plaintext }: SavedHandover): Promise<void> {
    const name = fileName(kind, key.kid, id);
    const text = seal(plaintext, key, subjectOf(kind, id));
    if (key.lifetime === 'process') {
      this.#inMemory.set(name, text);
      return;
    }
    const { home, handover, temporary } = this.#layout;
    await ensurePrivateDirectories([home, handover, temporary], this.#environment);
    await writeFileAtomically(join(handover, name), Buffer.from(text, 'latin1'), { temporary });
  }

  /**
   * Finds the file of that id that the strongest key opens.
   *
   * @throws RecordDamagedError
   */
  async find(kind: HandoverFile, id: string): Promise<SavedHandover | undefined> {
    return (await this.#open(kind, id))[0];
  }

  /** Returns every file of that kind that opens here. */
  all(kind: HandoverFile): Promise<SavedHandover[]> {
    return this.#open(kind);
  }

  async remove(kind: HandoverFile, { id, key }: Pick<SavedHandover, 'id' | 'key'>): Promise<void> {
    const name = fileName(kind, key.kid, id);
    if (this.#inMemory.delete(name)) return;
    if (await checkPrivateDirectory(this.#layout.handover, this.#environment)) {
      await removeFileDurably(join(this.#layout.handover, name));
    }
  }

  async #open(kind: HandoverFile, only?: string): Promise<SavedHandover[]> {
    const names = [...(await this.#names()), ...this.#inMemory.keys()].flatMap((name) => {
      const [of, kid = '', id = ''] = name.slice(0, -SUFFIX.length).split('.');
      const wanted = of === kind && NAME.test(kid) && NAME.test(id) && (only === undefined || id === only);
      return wanted ? [{ name, kid, id }] : [];
    });
    const found: SavedHandover[] = [];
    // Do not touch a keyring if there is nothing to open.
    if (names.length === 0) return found;
    for await (const key of this.#keys.reachable()) {
      for (const { name, id } of names.filter(({ kid }) => kid === key.kid)) {
        const text = this.#inMemory.get(name) ?? (await this.#read(name));
        if (text === undefined) continue;
        try {
          found.push({ id, key, plaintext: unseal(text, key, subjectOf(kind, id)) });
        } catch (error) {
          // A damaged file must not make the others unusable.
          if (only !== undefined || !(error instanceof HoldfastError)) throw error;
        }
      }
    }
    return found;
  }

  async #names(): Promise<string[]> {
    const { home, handover } = this.#layout;
    if (!(await checkPrivateDirectory(home, this.#environment))) return [];
    return (await listPrivateDirectory(handover, this.#environment)).filter((name) => name.endsWith(SUFFIX));
  }

  async #read(name: string): Promise<string | undefined> {
    const path = join(this.#layout.handover, name);
    const bytes = await readPrivateFile(path, this.#environment, { maxBytes: MAX_RECORD_BYTES });
    return bytes?.toString('latin1');
  }
}

function fileName(kind: HandoverFile, kid: string, id: string): string {
  return `${kind}.${kid}.${id}${SUFFIX}`;
}

/** Binds a file to its kind and id: neither a record stored here nor a file stored as a record opens. */
function subjectOf(kind: HandoverFile, id: string): string {
  return `handover ${kind} ${id}`;
}
