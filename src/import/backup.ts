import { InvalidArgumentError } from '../errors.ts';
import { Secret } from '../secret.ts';
import { readClientFile, replaceClientFile } from '../system/files/client-file.ts';
import { shellPath } from '../system/files/storage-error.ts';
import type { Backup, Backups } from '../transfer/types.ts';
import type { Vault, VaultTransfer } from '../vault/vault.ts';
import type { KeepBackup, Source, SourceContext } from './source.ts';

/*
 * Backups of the files that an import edits in another program (the source). They are sealed, since such a file holds
 * the tokens that move, and can be restored on request. Items of a keyring get no backup.
 */

/** Maximum number of attempts to restore, since another program may write the file at the same time. */
const ATTEMPTS = 5;

/**
 * Saves the source's files in the vault. A file that an earlier edit left, unchanged since, is not saved again: that
 * edit's backup holds all of it and more.
 */
export function backupKeeper({ id }: Source, transfer: Pick<VaultTransfer, 'saveBackup'>): KeepBackup {
  const left = new Map<string, string | undefined>();
  return async ({ path, text, next }) => {
    if (left.get(path) !== text) await transfer.saveBackup({ from: id, path, text: new Secret(text) });
    left.set(path, next);
  };
}

/** The backups of the source's files, newest first; with `--file`, only those of that file. */
export async function backupsOf(source: Source, { file }: SourceContext, vault: Vault): Promise<Backups> {
  const { backups, undecryptable } = await vault.transfer.listBackups();
  const isWanted = ({ from, path }: Backup) => from === source.id && (file === undefined || path === file);
  return { backups: backups.filter(isWanted), undecryptable };
}

/**
 * Restores a backup in one step, under the source's own lock. Saves the current file first.
 *
 * @throws InvalidArgumentError if another program keeps writing the file; it was left unchanged
 * @throws LockTimeoutError, StorageFullError, StorageUnwritableError
 */
export async function restoreBackup(
  { path, text }: Backup,
  from: { readonly source: Source; readonly context: SourceContext },
  vault: Vault,
): Promise<void> {
  const keep = backupKeeper(from.source, vault.transfer);
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
  await (from.source.lock === undefined ? write() : from.source.lock(path, from.context, write));
}
