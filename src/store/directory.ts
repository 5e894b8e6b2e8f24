import { createHash, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { LockTimeoutError, StorageUnsafeError } from '../errors.ts';
import { MAX_RECORD_BYTES } from '../sealing.ts';
import type { Environment } from '../system/environment.ts';
import {
  moveFileDurably,
  overwriteFile,
  removeFileDurably,
  reserveSpace,
  stageFile,
  writeFileAtomically,
} from '../system/files/atomic-file.ts';
import type { Layout } from '../system/files/paths.ts';
import {
  changedAt,
  checkPrivateDirectories,
  checkPrivateDirectory,
  ensurePrivateDirectories,
  exists,
  listPrivateDirectory,
  readPrivateFile,
} from '../system/files/private-directory.ts';
import type { UnseenLease } from '../system/locks/lease-file.ts';
import { acquireLock, type Lock, type LockKind, lockKindOf } from '../system/locks/lock.ts';
import type { MachineUse } from '../system/os/machine-note.ts';
import {
  type CasResult,
  type Durability,
  type Lease,
  type LeaseOptions,
  MAX_NOTE_BYTES,
  type RecordAddress,
  type RecordStore,
  type RecordVersion,
  type Reservation,
  type StoredRecord,
} from './record-store.ts';

const SUFFIX = '.jwe';

/** Both parts of an address are base64url of ours. Anything else would be a path that somebody else chose. */
const NAME = /^[\w-]{1,64}$/;

/** Room for a record and its directory entry; records have a few kilobytes. */
const RESERVED_BYTES = 16 * 1024;

/** Number of digits in the lease counter. */
const EPOCH_BYTES = 16;

/** Maximum number of looks at the directories while other processes move records between keys. */
const MOST_LOOKS = 3;

/**
 * A commit takes a few milliseconds. A process that holds the lock longer is stopped, or its disk is. In milliseconds.
 */
const COMMIT_WAIT_MS = 30_000;

/**
 * Stores records as files, `credentials/<kid>/<record id>.jwe`: atomic, private, synced, one credential per file.
 *
 * Each record id has two locks. `<id>.lock` is the lease, held for the seconds of a refresh. `<id>.commit.lock` makes
 * compare and write one step, for milliseconds. `<id>.note` holds the note of the last holder. `<id>.epoch` counts the
 * holders. `<id>.machines` names the machines that they ran on.
 */
export class DirectoryStore implements RecordStore {
  readonly id = 'directory';
  readonly #layout: Layout;
  readonly #environment: Environment;
  readonly #lockKind: LockKind | undefined;

  /** @throws InvalidArgumentError when HOLDFAST_LOCK names no lock */
  constructor(layout: Layout, environment: Environment) {
    this.#layout = layout;
    this.#environment = environment;
    this.#lockKind = lockKindOf(environment.variables);
  }

  async read(address: RecordAddress): Promise<StoredRecord | undefined> {
    if (!(await this.#reachable(address))) return undefined;
    return this.#read(this.#path(address));
  }

  async version(address: RecordAddress): Promise<RecordVersion | undefined> {
    return (await this.#read(this.#path(address)))?.version;
  }

  async cas(address: RecordAddress, expected: RecordVersion | undefined, record: string): Promise<CasResult> {
    const path = this.#path(address);
    const { credentials, locks, temporary } = this.#layout;
    await this.#prepare(locks, credentials, join(credentials, address.kid), temporary);
    // The slow sync runs while this process takes the lock and compares the versions.
    const staging = stageFile(path, Buffer.from(record, 'latin1'), temporary);
    staging.catch(() => {});
    try {
      return await this.#committing(address.id, async () => {
        if ((await this.#read(path))?.version !== expected) return { outcome: 'conflict' };
        await (await staging).place();
        await this.#noteMachine(address.id);
        return { outcome: 'ok', version: versionOf(record) };
      });
    } finally {
      await staging.then(
        (staged) => staged.discard(),
        () => {},
      );
    }
  }

  async remove(address: RecordAddress, expected?: RecordVersion): Promise<boolean> {
    if (!(await this.#reachable(address))) return false;
    const path = this.#path(address);
    await this.#prepare(this.#layout.locks);
    return this.#committing(address.id, async () => {
      if (expected !== undefined && (await this.#read(path))?.version !== expected) return false;
      await this.#forgetMoves(address);
      return removeFileDurably(path);
    });
  }

  async move(
    from: RecordAddress,
    to: RecordAddress,
    expected: RecordVersion,
    record: string,
  ): Promise<CasResult> {
    const { credentials, locks, moving, temporary } = this.#layout;
    const [source, target] = [this.#path(from), this.#path(to)];
    await this.#prepare(locks, credentials, join(credentials, to.kid), temporary, moving);
    return this.#committing(from.id, async () => {
      if ((await this.#read(source))?.version !== expected || (await exists(target))) {
        return { outcome: 'conflict' };
      }
      await this.#forgetMoves(from);
      const pending = join(moving, `${from.id}.${from.kid}.${to.kid}`);
      await writeFileAtomically(pending, Buffer.from(record, 'latin1'), { temporary });
      // From here on, the record is at its destination: any process that misses the source finishes the move.
      await removeFileDurably(source);
      await moveFileDurably(pending, target);
      return { outcome: 'ok', version: versionOf(record) };
    });
  }

  async quarantine(address: RecordAddress): Promise<string | undefined> {
    if (!(await this.#reachable(address))) return undefined;
    await this.#prepare(this.#layout.locks, this.#layout.quarantine);
    const aside = join(
      this.#layout.quarantine,
      `${address.kid}.${address.id}.${randomBytes(6).toString('hex')}${SUFFIX}`,
    );
    return this.#committing(address.id, async () => {
      await this.#forgetMoves(address);
      return (await moveFileDurably(this.#path(address), aside)) ? aside : undefined;
    });
  }

  async list(): Promise<RecordAddress[]> {
    if (!(await checkPrivateDirectory(this.#layout.home, this.#environment))) return [];
    // A record that another process moves meanwhile may be missed under both keys. Each move changes that directory.
    for (let looks = 1; ; looks += 1) {
      await this.#finishMoves();
      const before = changedAt(this.#layout.moving);
      const found = await this.#addresses();
      if (changedAt(this.#layout.moving) === before || looks === MOST_LOOKS) return found;
    }
  }

  async #addresses(): Promise<RecordAddress[]> {
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

  fileOf(address: RecordAddress): string {
    return this.#path(address);
  }

  async kidsOf(id: string): Promise<string[]> {
    if (!(await checkPrivateDirectory(this.#layout.home, this.#environment))) return [];
    // In the middle of a move the record is at neither key: the next look waits until the move is finished.
    for (let looks = 1; ; looks += 1) {
      await this.#finishMoves(id);
      const kids = await this.#names(this.#layout.credentials);
      const there = await Promise.all(kids.map((kid) => exists(this.#path({ kid, id }))));
      const found = kids.filter((_, index) => there[index]);
      if (found.length > 0 || kids.length === 0 || looks === MOST_LOOKS) return found;
    }
  }

  async lock(id: string, options: LeaseOptions): Promise<Lease> {
    await this.#prepare(this.#layout.locks);
    const lock = await this.#acquire(`${name(id)}.lock`, options);
    const path = join(this.#layout.locks, `${id}.note`);
    return {
      epoch: await this.#nextEpoch(id),
      release: () => lock.release(),
      note: async () => {
        const bytes = await readPrivateFile(path, this.#environment, { maxBytes: MAX_NOTE_BYTES });
        return bytes?.toString('utf8').trimEnd() || undefined;
      },
      setNote: async (text) => {
        // The size is fixed, so that a partial write leaves no tail of an older note behind.
        const bytes = Buffer.alloc(MAX_NOTE_BYTES, ' ');
        bytes.write(text, 'utf8');
        await overwriteFile(path, bytes);
      },
    };
  }

  async locked(id: string): Promise<boolean> {
    if (!(await exists(join(this.#layout.locks, `${name(id)}.lock`)))) return false;
    try {
      await (await this.#acquire(`${id}.lock`, { waitMs: 0 })).release();
      return false;
    } catch (error) {
      if (error instanceof LockTimeoutError) return true;
      throw error;
    }
  }

  async unseenLeases(): Promise<readonly UnseenLease[]> {
    const { locks } = this.#layout;
    const { unseenLeases } = await import('../system/locks/lease-file.ts');
    try {
      return await unseenLeases(locks, await listPrivateDirectory(locks, this.#environment));
    } catch {
      // This list only accompanies another report. A process that takes such a lease gets the error.
      return [];
    }
  }

  async machines(id: string): Promise<readonly MachineUse[]> {
    const { machinesIn, isThisMachine } = await import('../system/os/machine-note.ts');
    const uses = await machinesIn(this.#machinesPath(id), this.#environment);
    if (uses.every(isThisMachine)) return [];
    // On a network file system, all machines share one directory, so nobody has copied it. `doctor` reports whether
    // locks work there.
    const { fileSystemOf } = await import('../system/files/file-system.ts');
    const fileSystem = await fileSystemOf(this.#layout.home, this.#environment.platform).catch(
      () => undefined,
    );
    return fileSystem?.kind === 'network' ? [] : uses;
  }

  async reserve(): Promise<Reservation> {
    const { temporary } = this.#layout;
    await this.#prepare(temporary);
    return reserveSpace(temporary, RESERVED_BYTES);
  }

  async selfTest(): Promise<void> {
    const { temporary } = this.#layout;
    await this.#prepare(temporary, this.#layout.locks, this.#layout.credentials);
    const { testDirectory } = await import('./directory-self-test.ts');
    await testDirectory(temporary, this.#environment);
  }

  durability(): Durability {
    return 'disk';
  }

  async close(): Promise<void> {
    // The store keeps nothing open between two calls.
  }

  /**
   * Returns one more than the last epoch, or the clock in milliseconds if that is higher. So the epoch grows even when
   * the file was lost or could not be written. Only the holder of the lease may call this.
   */
  async #nextEpoch(id: string): Promise<number> {
    const path = join(this.#layout.locks, `${id}.epoch`);
    let last = 0;
    try {
      const bytes = await readPrivateFile(path, this.#environment, { maxBytes: EPOCH_BYTES });
      const read = Number(bytes?.toString('ascii'));
      if (Number.isSafeInteger(read) && read < Number.MAX_SAFE_INTEGER / 2) last = read;
    } catch {
      // The clock alone is enough.
    }
    const epoch = Math.max(last + 1, Date.now());
    await overwriteFile(path, Buffer.from(String(epoch).padStart(EPOCH_BYTES, '0'), 'ascii')).catch(() => {
      // The disk may be full; the clock alone is enough.
    });
    return epoch;
  }

  /** Finishes the moves of processes that died in the middle. Skips a move that has not removed its source yet. */
  async #finishMoves(only?: string): Promise<void> {
    for (const entry of await listPrivateDirectory(this.#layout.moving, this.#environment)) {
      const [id, from, to, ...rest] = entry.split('.');
      if (!id || !from || !to || rest.length > 0 || (only !== undefined && id !== only)) continue;
      if (![id, from, to].every((part) => NAME.test(part))) continue;
      const pending = join(this.#layout.moving, entry);
      await this.#committing(id, async () => {
        if (await exists(this.#path({ kid: from, id }))) return;
        const target = this.#path({ kid: to, id });
        // Another process has logged in again since, and has the newer tokens.
        if (await exists(target)) await removeFileDurably(pending);
        else await moveFileDurably(pending, target);
      });
    }
  }

  /**
   * Removes the pending file of a move that died before it removed its source. It holds an earlier state. It must not
   * return when the record is removed for another reason. Call this only under the commit lock.
   */
  async #forgetMoves({ kid, id }: RecordAddress): Promise<void> {
    const { moving } = this.#layout;
    for (const entry of await listPrivateDirectory(moving, this.#environment)) {
      if (entry.startsWith(`${id}.${kid}.`)) await removeFileDurably(join(moving, entry));
    }
  }

  /** Call this only under the commit lock. The module is loaded here because serving a fresh token writes nothing. */
  async #noteMachine(id: string): Promise<void> {
    try {
      const { noteMachine } = await import('../system/os/machine-note.ts');
      await noteMachine(this.#machinesPath(id), this.#environment);
    } catch {
      // The record is written; the note about machines is optional.
    }
  }

  #machinesPath(id: string): string {
    return join(this.#layout.locks, `${name(id)}.machines`);
  }

  #path({ kid, id }: RecordAddress): string {
    return join(this.#layout.credentials, name(kid), `${name(id)}${SUFFIX}`);
  }

  async #read(path: string): Promise<StoredRecord | undefined> {
    const bytes = await readPrivateFile(path, this.#environment, { maxBytes: MAX_RECORD_BYTES });
    if (bytes === undefined) return undefined;
    const record = bytes.toString('latin1');
    return { record, version: versionOf(record) };
  }

  async #names(directory: string): Promise<string[]> {
    return (await listPrivateDirectory(directory, this.#environment)).filter((entry) => NAME.test(entry));
  }

  /** Whether the record's directory exists, and each directory on its path is private. */
  #reachable({ kid }: RecordAddress): Promise<boolean> {
    const { home, credentials } = this.#layout;
    return checkPrivateDirectories([home, credentials, join(credentials, name(kid))], this.#environment);
  }

  /** Creates the directories, from the outermost to the innermost. */
  async #prepare(...directories: string[]): Promise<void> {
    await ensurePrivateDirectories([this.#layout.home, ...directories], this.#environment);
  }

  async #committing<T>(id: string, step: () => Promise<T>): Promise<T> {
    const lock = await this.#acquire(`${name(id)}.commit.lock`, { waitMs: COMMIT_WAIT_MS });
    try {
      return await step();
    } finally {
      await lock.release();
    }
  }

  #acquire(file: string, options: LeaseOptions): Promise<Lock> {
    return acquireLock(join(this.#layout.locks, file), { ...options, kind: this.#lockKind });
  }
}

function name(part: string): string {
  if (NAME.test(part)) return part;
  throw new StorageUnsafeError('A record address holds characters that no record address has.');
}

/**
 * Hashes the content. Inode and times may repeat within one tick of the clock, or come from a cache of a network file
 * system. Each sealing draws a new nonce, so no two writes have the same content.
 */
function versionOf(record: string): RecordVersion {
  return createHash('sha256').update(record, 'latin1').digest('base64url');
}
