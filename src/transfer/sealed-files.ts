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
 * What hand-overs keep on this machine, sealed as records are, `handover/<kind>.<kid>.<id>.jwe`: `code`, the key of a code
 * that was made here; `sent`, the blob of a login that moved away. What is sealed under a key that ends with this process
 * stays in its memory.
 */

export type HandoverFile = 'code' | 'sent';

export interface SavedHandover {
  readonly id: string;
  readonly key: SealingKey;
  readonly plaintext: Uint8Array;
}

const SUFFIX = '.jwe';
const NAME = /^[\w-]{1,64}$/;

/** Whoever holds it opens one blob, and asks no server meanwhile. */
const LOCK_WAIT_MS = 30_000;

export class HandoverFiles {
  readonly #keys: SealingKeys;
  readonly #layout: Layout;
  readonly #environment: Environment;
  /** By file name: the sealed texts that would not outlive this process. */
  readonly #passing = new Map<string, string>();

  constructor(context: { keys: SealingKeys; layout: Layout; environment: Environment }) {
    this.#keys = context.keys;
    this.#layout = context.layout;
    this.#environment = context.environment;
  }

  /**
   * One at a time on this machine, so that a blob that is opened twice at once is opened once.
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
   * Puts it there, in place of what has that name. Durable when it returns.
   *
   * @throws StorageFullError, StorageUnwritableError, StorageUnsafeError
   */
  async write(kind: HandoverFile, { id, key, plaintext }: SavedHandover): Promise<void> {
    const name = fileName(kind, key.kid, id);
    const text = seal(plaintext, key, subjectOf(kind, id));
    if (key.lifetime === 'process') {
      this.#passing.set(name, text);
      return;
    }
    const { home, handover, temporary } = this.#layout;
    await ensurePrivateDirectories([home, handover, temporary], this.#environment);
    await writeFileAtomically(join(handover, name), Buffer.from(text, 'latin1'), { temporary });
  }

  /**
   * What is there under that id and opens, under the strongest key that has it.
   *
   * @throws RecordDamagedError
   */
  async find(kind: HandoverFile, id: string): Promise<SavedHandover | undefined> {
    return (await this.#open(kind, id))[0];
  }

  /** Everything of that kind that opens from here. */
  all(kind: HandoverFile): Promise<SavedHandover[]> {
    return this.#open(kind);
  }

  async remove(kind: HandoverFile, { id, key }: Pick<SavedHandover, 'id' | 'key'>): Promise<void> {
    const name = fileName(kind, key.kid, id);
    if (this.#passing.delete(name)) return;
    if (await checkPrivateDirectory(this.#layout.handover, this.#environment)) {
      await removeFileDurably(join(this.#layout.handover, name));
    }
  }

  async #open(kind: HandoverFile, only?: string): Promise<SavedHandover[]> {
    const names = [...(await this.#names()), ...this.#passing.keys()].flatMap((name) => {
      const [of, kid = '', id = ''] = name.slice(0, -SUFFIX.length).split('.');
      const wanted = of === kind && NAME.test(kid) && NAME.test(id) && (only === undefined || id === only);
      return wanted ? [{ name, kid, id }] : [];
    });
    const found: SavedHandover[] = [];
    // No keyring is touched where there is nothing to open.
    if (names.length === 0) return found;
    for await (const key of this.#keys.reachable()) {
      for (const { name, id } of names.filter(({ kid }) => kid === key.kid)) {
        const text = this.#passing.get(name) ?? (await this.#read(name));
        if (text === undefined) continue;
        try {
          found.push({ id, key, plaintext: unseal(text, key, subjectOf(kind, id)) });
        } catch (error) {
          // One that is damaged must not keep the others from being used.
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

/** A record that is put here, or the other way round, does not open. */
function subjectOf(kind: HandoverFile, id: string): string {
  return `handover ${kind} ${id}`;
}
