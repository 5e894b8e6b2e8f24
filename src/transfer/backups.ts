import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { HoldfastError, InvalidArgumentError, RecordDamagedError } from '../errors.ts';
import type { SealingKeys } from '../keyring/sealing-key.ts';
import { seal, unseal } from '../sealing.ts';
import { Secret } from '../secret.ts';
import type { Environment } from '../system/environment.ts';
import { removeFileDurably, writeFileAtomically } from '../system/files/atomic-file.ts';
import type { Layout } from '../system/files/paths.ts';
import {
  checkPrivateDirectory,
  ensurePrivateDirectories,
  listPrivateDirectory,
  readPrivateFile,
} from '../system/files/private-directory.ts';
import { shellPath } from '../system/files/storage-error.ts';
import type { Backup, Backups, ExternalFile } from './types.ts';

/*
 * Copies of other programs' files from just before a login was removed from them. They hold tokens, so they are sealed
 * like records, in `backups/<file>.<time>.<kid>.jwe`, where <file> is a hash of the path. Only the newest few of each
 * file are kept.
 */

const KEPT = 5;
const SUFFIX = '.jwe';
const NAME = /^([\w-]{11})\.(\d{1,16})\.([\w-]{1,64})\.jwe$/;
/** Files with logins take kilobytes; Cline's file also holds the other settings of its servers. */
const MAX_BYTES = 16 * 1024 * 1024;
/** Base64url turns three bytes into four. */
const MAX_SEALED_BYTES = 1024 + (MAX_BYTES / 3) * 4;

export class BackupFiles {
  readonly #keys: SealingKeys;
  readonly #layout: Layout;
  readonly #environment: Environment;

  constructor(context: { keys: SealingKeys; layout: Layout; environment: Environment }) {
    this.#keys = context.keys;
    this.#layout = context.layout;
    this.#environment = context.environment;
  }

  /**
   * Seals the file with the strongest key. The backup is durable before older ones are removed and before this returns.
   *
   * @returns its name; `undefined` if no key outlives this process, and then nothing was saved
   * @throws InvalidArgumentError for a file that is too large for a backup
   * @throws StorageFullError, StorageUnwritableError, StorageUnsafeError
   */
  async keep({ from, path, text }: ExternalFile): Promise<string | undefined> {
    const key = await this.#keys.strongest();
    if (key.lifetime === 'process') return undefined;
    const plaintext = Buffer.from(JSON.stringify({ v: 1, from, path, text: text.reveal() }), 'utf8');
    if (plaintext.length > MAX_BYTES) {
      throw new InvalidArgumentError(
        `${shellPath(path)} is too large for a backup (${plaintext.length} bytes), so nothing was taken out of it.`,
        { hint: 'Take the login out by hand, or log out in that program without revoking.' },
      );
    }
    const { home, backups, temporary } = this.#layout;
    await ensurePrivateDirectories([home, backups, temporary], this.#environment);
    const file = createHash('sha256').update(path).digest('base64url').slice(0, 11);
    // Two backups within one millisecond get two names.
    for (let at = Date.now(); ; at += 1) {
      const name = `${file}.${at}`;
      const bytes = Buffer.from(seal(plaintext, key, subjectOf(name)), 'latin1');
      const sealed = join(backups, `${name}.${key.kid}${SUFFIX}`);
      if ((await writeFileAtomically(sealed, bytes, { temporary, exclusive: true })) === 'exists') continue;
      const older = (await this.#names()).filter((one) => one.file === file).slice(KEPT);
      for (const one of older) await removeFileDurably(join(backups, one.entry));
      return name;
    }
  }

  /** Lists every backup that opens here. Opens no keyring if there are no backups. */
  async list(): Promise<Backups> {
    const names = await this.#names();
    if (names.length === 0) return { backups: [], undecryptable: 0 };
    const backups: Backup[] = [];
    for await (const key of this.#keys.reachable()) {
      for (const { entry, name, at } of names.filter(({ kid }) => kid === key.kid)) {
        try {
          const path = join(this.#layout.backups, entry);
          const bytes = await readPrivateFile(path, this.#environment, { maxBytes: MAX_SEALED_BYTES });
          // Another process has removed it because newer ones exist.
          if (bytes === undefined) continue;
          const plaintext = unseal(bytes.toString('latin1'), key, subjectOf(name), MAX_SEALED_BYTES);
          backups.push({ name, at, ...parsed(plaintext) });
        } catch (error) {
          // A damaged backup must not make the others unusable.
          if (!(error instanceof HoldfastError)) throw error;
        }
      }
    }
    return {
      backups: backups.toSorted((a, b) => b.at - a.at),
      undecryptable: names.length - backups.length,
    };
  }

  /** Returns the `kid`s of the keys that backups still use. */
  async kids(): Promise<readonly string[]> {
    return (await this.#names()).map(({ kid }) => kid);
  }

  /** Newest first. */
  async #names() {
    const { home, backups } = this.#layout;
    if (!(await checkPrivateDirectory(home, this.#environment))) return [];
    return (await listPrivateDirectory(backups, this.#environment))
      .flatMap((entry) => {
        const [, file, at, kid] = NAME.exec(entry) ?? [];
        return file === undefined || at === undefined || kid === undefined
          ? []
          : [{ entry, file, kid, at: Number(at), name: `${file}.${at}` }];
      })
      .toSorted((a, b) => b.at - a.at);
  }
}

/** Binds a backup to its name: under another name, or among the records, it does not open. */
function subjectOf(name: string): string {
  return `backup ${name}`;
}

function parsed(plaintext: Buffer): ExternalFile {
  const { v, from, path, text } = JSON.parse(plaintext.toString('utf8')) as Record<string, unknown>;
  if (v === 1 && typeof from === 'string' && typeof path === 'string' && typeof text === 'string') {
    return { from, path, text: new Secret(text) };
  }
  throw new RecordDamagedError('The backup is of a version that this Holdfast does not know.');
}
