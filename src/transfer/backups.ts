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

/*
 * Files of other programs as they were right before a login was taken out of them: they hold tokens, so they are sealed as
 * records are, `backups/<file>.<time>.<kid>.jwe`, where <file> is a hash of the path. Of each file the newest few stay.
 */

/** What another program had written, and where. */
export interface ExternalFile {
  /** The program, such as `mcp-remote`. */
  readonly from: string;
  /** Absolute. */
  readonly path: string;
  readonly text: Secret;
}

export interface Backup extends ExternalFile {
  /** Tells it from the others. */
  readonly name: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

export interface Backups {
  /** The newest first. */
  readonly backups: readonly Backup[];
  /** How many are there that no key which is reachable now opens. */
  readonly undecryptable: number;
}

const KEPT = 5;
const SUFFIX = '.jwe';
const NAME = /^([\w-]{11})\.(\d{1,16})\.([\w-]{1,64})\.jwe$/;
/** Files with logins have kilobytes; Cline's also holds the other settings of its servers. */
const MAX_BYTES = 16 * 1024 * 1024;
/** Base64url makes four bytes of three. */
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
   * Seals it under the strongest key. Durable when it returns, and only then are older ones removed.
   *
   * @returns its name; `undefined` where no key outlives this process, and nothing was kept
   * @throws InvalidArgumentError for a file that is too large to be kept
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
    // Two within one millisecond get two names.
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

  /** Every one that opens from here. No keyring is touched where there is none. */
  async list(): Promise<Backups> {
    const names = await this.#names();
    if (names.length === 0) return { backups: [], undecryptable: 0 };
    const backups: Backup[] = [];
    for await (const key of this.#keys.reachable()) {
      for (const { entry, name, at } of names.filter(({ kid }) => kid === key.kid)) {
        try {
          const path = join(this.#layout.backups, entry);
          const bytes = await readPrivateFile(path, this.#environment, { maxBytes: MAX_SEALED_BYTES });
          // Removed meanwhile, since newer ones were made.
          if (bytes === undefined) continue;
          const plaintext = unseal(bytes.toString('latin1'), key, subjectOf(name), MAX_SEALED_BYTES);
          backups.push({ name, at, ...parsed(plaintext) });
        } catch (error) {
          // One that is damaged must not keep the others from being used.
          if (!(error instanceof HoldfastError)) throw error;
        }
      }
    }
    return {
      backups: backups.toSorted((a, b) => b.at - a.at),
      undecryptable: names.length - backups.length,
    };
  }

  /** The keys that are still needed, by `kid`. */
  async kids(): Promise<readonly string[]> {
    return (await this.#names()).map(({ kid }) => kid);
  }

  /** The newest first. */
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

/** One that is put under another name, or among the records, does not open. */
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
