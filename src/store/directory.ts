import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { StorageUnreadableError, StorageUnsafeError } from '../errors.ts';
import { MAX_RECORD_BYTES } from '../sealing.ts';
import {
  moveFileDurably,
  removeFileDurably,
  sweepTemporaries,
  writeFileAtomically,
} from '../system/atomic-file.ts';
import type { Environment } from '../system/environment.ts';
import { acquireLock, type Lock, type LockOptions } from '../system/lock.ts';
import type { Layout } from '../system/paths.ts';
import {
  checkPrivateDirectory,
  ensurePrivateDirectory,
  fileVersion,
  listPrivateDirectory,
  readPrivateFile,
  readPrivateFileWithVersion,
} from '../system/private-directory.ts';
import { shellPath } from '../system/storage-error.ts';
import type {
  CasResult,
  Durability,
  Lease,
  LeaseOptions,
  RecordAddress,
  RecordVersion,
  Store,
  StoredRecord,
} from './store.ts';

const SUFFIX = '.jwe';

/** Both parts of an address are base64url of ours; anything else would be a path of somebody's. */
const NAME = /^[\w-]{1,64}$/;

/** The commit itself takes a few milliseconds; whoever holds this longer is stopped or its disk is. */
const COMMIT_WAIT_MS = 30_000;

/**
 * Records as files, `credentials/<kid>/<record id>.jwe`: atomic, private, synced, one credential a file.
 *
 * Two locks for each record id. `<id>.lock` is the lease: held while a refresh is under way, for seconds. `<id>.commit.lock`
 * makes compare and write one step, for milliseconds, so that a login need not wait for a refresh to end.
 */
export class DirectoryStore implements Store {
  readonly id = 'directory';
  readonly #layout: Layout;
  readonly #environment: Environment;

  constructor(layout: Layout, environment: Environment) {
    this.#layout = layout;
    this.#environment = environment;
  }

  async read(address: RecordAddress): Promise<StoredRecord | undefined> {
    if (!(await this.#reachable(address))) return undefined;
    const file = await readPrivateFileWithVersion(this.#path(address), this.#environment, {
      maxBytes: MAX_RECORD_BYTES,
    });
    return file && { record: file.bytes.toString('latin1'), version: file.version };
  }

  version(address: RecordAddress): Promise<RecordVersion | undefined> {
    return fileVersion(this.#path(address));
  }

  async cas(address: RecordAddress, expected: RecordVersion | undefined, record: string): Promise<CasResult> {
    const path = this.#path(address);
    await this.#prepare(this.#layout.locks);
    return this.#committing(address.id, async () => {
      await this.#prepare(this.#layout.credentials, join(this.#layout.credentials, address.kid));
      if ((await fileVersion(path)) !== expected) return { outcome: 'conflict' };
      await this.#prepare(this.#layout.temporary);
      await writeFileAtomically(path, Buffer.from(record, 'latin1'), { temporary: this.#layout.temporary });
      const version = await fileVersion(path);
      return version === undefined
        ? { outcome: 'unknown', cause: new Error('The record vanished after it was written.') }
        : { outcome: 'ok', version };
    });
  }

  async remove(address: RecordAddress, expected?: RecordVersion): Promise<boolean> {
    if (!(await this.#reachable(address))) return false;
    const path = this.#path(address);
    await this.#prepare(this.#layout.locks);
    return this.#committing(address.id, async () => {
      if (expected !== undefined && (await fileVersion(path)) !== expected) return false;
      return removeFileDurably(path);
    });
  }

  async quarantine(address: RecordAddress): Promise<string | undefined> {
    if (!(await this.#reachable(address))) return undefined;
    await this.#prepare(this.#layout.locks, this.#layout.quarantine);
    const aside = join(
      this.#layout.quarantine,
      `${address.kid}.${address.id}.${randomBytes(6).toString('hex')}${SUFFIX}`,
    );
    return this.#committing(address.id, async () =>
      (await moveFileDurably(this.#path(address), aside)) ? aside : undefined,
    );
  }

  async list(): Promise<RecordAddress[]> {
    if (!(await checkPrivateDirectory(this.#layout.home, this.#environment))) return [];
    const kids = await this.#names(this.#layout.credentials);
    const lists = await Promise.all(
      kids.map(async (kid) => {
        const files = await listPrivateDirectory(join(this.#layout.credentials, kid), this.#environment);
        return files
          .filter((file) => file.endsWith(SUFFIX) && NAME.test(file.slice(0, -SUFFIX.length)))
          .map((file) => ({ kid, id: file.slice(0, -SUFFIX.length) }));
      }),
    );
    return lists.flat();
  }

  async kidsOf(id: string): Promise<string[]> {
    if (!(await checkPrivateDirectory(this.#layout.home, this.#environment))) return [];
    const kids = await this.#names(this.#layout.credentials);
    const versions = await Promise.all(kids.map((kid) => this.version({ kid, id })));
    return kids.filter((_, index) => versions[index] !== undefined);
  }

  async lock(id: string, options: LeaseOptions): Promise<Lease> {
    await this.#prepare(this.#layout.locks);
    return this.#acquire(`${name(id)}.lock`, options);
  }

  async rehearse(): Promise<void> {
    const { temporary } = this.#layout;
    await this.#prepare(temporary, this.#layout.locks, this.#layout.credentials);
    await sweepTemporaries(temporary);
    // Of the size of a record: a disk with a few bytes left takes a small file and refuses the credential.
    const written = randomBytes(8 * 1024);
    const path = join(temporary, `rehearsal.${randomBytes(6).toString('hex')}`);
    try {
      await writeFileAtomically(path, written, { temporary });
      const found = await readPrivateFile(path, this.#environment, { maxBytes: written.length });
      if (found === undefined || !found.equals(written)) {
        throw new StorageUnreadableError(`What was written to ${shellPath(temporary)} came back different.`, {
          hint: 'The disk or its file system is failing: set HOLDFAST_HOME to a directory on another one.',
        });
      }
    } finally {
      await removeFileDurably(path);
    }
  }

  durability(): Durability {
    return 'disk';
  }

  async close(): Promise<void> {
    // Nothing is held between two calls.
  }

  #path({ kid, id }: RecordAddress): string {
    return join(this.#layout.credentials, name(kid), `${name(id)}${SUFFIX}`);
  }

  async #names(directory: string): Promise<string[]> {
    return (await listPrivateDirectory(directory, this.#environment)).filter((entry) => NAME.test(entry));
  }

  /** Whether the record's directory is there, every step of the way private. */
  async #reachable({ kid }: RecordAddress): Promise<boolean> {
    const { home, credentials } = this.#layout;
    const steps = await Promise.all(
      [home, credentials, join(credentials, name(kid))].map((path) =>
        checkPrivateDirectory(path, this.#environment),
      ),
    );
    return steps.every((there) => there);
  }

  /** Makes the directories, from the outermost to the innermost. */
  async #prepare(...directories: string[]): Promise<void> {
    for (const directory of [this.#layout.home, ...directories]) {
      await ensurePrivateDirectory(directory, this.#environment);
    }
  }

  async #committing<T>(id: string, step: () => Promise<T>): Promise<T> {
    const lock = await this.#acquire(`${name(id)}.commit.lock`, { waitMs: COMMIT_WAIT_MS });
    try {
      return await step();
    } finally {
      await lock.release();
    }
  }

  #acquire(file: string, options: LockOptions): Promise<Lock> {
    return acquireLock(join(this.#layout.locks, file), options);
  }
}

function name(part: string): string {
  if (NAME.test(part)) return part;
  throw new StorageUnsafeError('A record address holds characters that no record address has.');
}
