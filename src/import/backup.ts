import { InvalidArgumentError } from '../errors.ts';
import { Secret } from '../secret.ts';
import { readClientFile, replaceClientFile } from '../system/files/client-file.ts';
import { shellPath } from '../system/files/storage-error.ts';
import type { Backup, Backups } from '../transfer/backups.ts';
import type { Vault } from '../vault/vault.ts';
import type { KeepBackup, Source, SourceContext } from './source.ts';

/*
 * The backup of a peer's file that an import edits: kept sealed, since the file holds the tokens that move, and put back on
 * request. What a peer has in a keyring has none.
 */

/** Another program may write the file in the same moment, so often in a row. */
const ATTEMPTS = 5;

/**
 * Keeps the peer's files in the vault. What an edit before has left, and nobody has changed since, is not kept again: it is in
 * that edit's backup, with more.
 */
export function backupKeeper({ id }: Source, vault: Pick<Vault, 'keepBackup'>): KeepBackup {
  const left = new Map<string, string | undefined>();
  return async ({ path, text, next }) => {
    if (left.get(path) !== text) await vault.keepBackup({ from: id, path, text: new Secret(text) });
    left.set(path, next);
  };
}

/** The backups of files of that peer, the newest first; with `--file`, of that one. */
export async function backupsOf(peer: Source, { file }: SourceContext, vault: Vault): Promise<Backups> {
  const { backups, undecryptable } = await vault.backups();
  const isWanted = ({ from, path }: Backup) => from === peer.id && (file === undefined || path === file);
  return { backups: backups.filter(isWanted), undecryptable };
}

/**
 * Puts a backup back where it came from, in one step, under the peer's own lock. What is there now is kept first.
 *
 * @throws InvalidArgumentError when the file is written by another program all the time; it was left alone
 * @throws LockTimeoutError, StorageFullError, StorageUnwritableError
 */
export async function restoreBackup(
  { path, text }: Backup,
  from: { readonly peer: Source; readonly context: SourceContext },
  vault: Vault,
): Promise<void> {
  const keep = backupKeeper(from.peer, vault);
  const write = async () => {
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      const file = await readClientFile(path);
      if (file.text === text.reveal()) return;
      if (file.text !== undefined) await keep({ path, text: file.text, next: text.reveal() });
      if (await replaceClientFile(file, text.reveal(), { mode: 'private' })) return;
    }
    throw new InvalidArgumentError(
      `${shellPath(path)} is being written by another program all the time, so it was left alone.`,
      { hint: 'End that program first, then run the same command again.' },
    );
  };
  await (from.peer.lock === undefined ? write() : from.peer.lock(path, from.context, write));
}
