import { join } from 'node:path';
import { HoldfastError } from '../errors.ts';
import { MAX_RECORD_BYTES } from '../sealing.ts';
import type { RecordAddress } from '../store/store.ts';
import { removeFileDurably, stagedFor, writeFileAtomically } from '../system/atomic-file.ts';
import type { Environment } from '../system/environment.ts';
import type { Layout } from '../system/paths.ts';
import {
  checkPrivateDirectory,
  ensurePrivateDirectories,
  listPrivateDirectory,
  readPrivateFile,
} from '../system/private-directory.ts';

/*
 * Where a record goes that its store could not take: tokens that a server gave exist nowhere else, and the process that
 * has them may end. Sealed like any record; the next process that is to refresh that credential brings it home. So it does
 * with a record that was staged by a process which died before it could give it its name.
 */
export class Spill {
  readonly #layout: Layout;
  readonly #environment: Environment;

  constructor(layout: Layout, environment: Environment) {
    this.#layout = layout;
    this.#environment = environment;
  }

  /**
   * Keeps the record in the first place that takes it.
   *
   * @returns where it is; `undefined` when no place took it
   */
  async keep(address: RecordAddress, record: string): Promise<string | undefined> {
    for (const directory of this.#layout.spills) {
      try {
        await ensurePrivateDirectories([directory], this.#environment);
        const path = join(directory, fileName(address));
        await writeFileAtomically(path, Buffer.from(record, 'latin1'), { temporary: directory });
        return path;
      } catch (error) {
        // Full, read-only, or someone else's: the next one may do.
        if (!(error instanceof HoldfastError)) throw error;
      }
    }
    return undefined;
  }

  /** What was kept or staged for that address, the best place first. What cannot be read is passed over. */
  async find(address: RecordAddress): Promise<readonly string[]> {
    const { spills, temporary } = this.#layout;
    const staged = await stagedFor(`${address.id}.jwe`, temporary);
    const found = await Promise.all([
      ...spills.map((directory) => this.#read(directory, join(directory, fileName(address)))),
      ...staged.map((path) => this.#read(temporary, path)),
    ]);
    return found.filter((record) => record !== undefined);
  }

  async #read(directory: string, path: string): Promise<string | undefined> {
    try {
      if (!(await checkPrivateDirectory(directory, this.#environment))) return undefined;
      const bytes = await readPrivateFile(path, this.#environment, { maxBytes: MAX_RECORD_BYTES });
      return bytes?.toString('latin1');
    } catch {
      return undefined;
    }
  }

  /** How many records lie here that no store has taken yet. A place that cannot be read counts as empty. */
  async count(): Promise<number> {
    const names = await Promise.all(
      this.#layout.spills.map((directory) =>
        listPrivateDirectory(directory, this.#environment).catch(() => []),
      ),
    );
    return names.flat().filter((name) => name.endsWith('.jwe')).length;
  }

  /** Removes what was kept for that address, once its store has it. */
  async remove(address: RecordAddress): Promise<void> {
    for (const directory of this.#layout.spills) {
      await removeFileDurably(join(directory, fileName(address))).catch(() => {
        // It is older than what the store has, so nobody will take it for newer.
      });
    }
  }
}

function fileName({ kid, id }: RecordAddress): string {
  return `${kid}.${id}.jwe`;
}
