import { AbortedError, InvalidArgumentError, LoginCancelledError } from '../../errors.ts';
import { backupsOf, restoreBackup } from '../../import/backup.ts';
import type { Source, SourceContext } from '../../import/source.ts';
import { quote } from '../../quote.ts';
import { shellPath } from '../../system/files/storage-error.ts';
import type { Backup, Backups } from '../../transfer/types.ts';
import type { Invocation } from '../command.ts';
import { EXIT } from '../exit-code.ts';
import { withVault } from '../open-vault.ts';
import { ask, canAsk } from '../output/terminal.ts';
import { isoTime, plural, relativeTime, table } from '../output/words.ts';

/** `holdfast import PEER --restore`: restores the program’s file to its state before an import. */
export function restore(
  invocation: Invocation,
  from: { readonly source: Source; readonly context: SourceContext },
): Promise<number> {
  const wrong = ['access-token-only', 'replace'].find((name) => invocation.flag(name));
  if (wrong !== undefined || from.context.urls.length > 0 || invocation.text('account') !== undefined) {
    const other = wrong ?? (from.context.urls.length > 0 ? 'url' : 'account');
    throw new InvalidArgumentError(`--${other} does not go with --restore, which puts a whole file back.`, {
      hint: 'Of several files: --file FILE. Of several backups: --backup NAME',
    });
  }
  return withVault(invocation, async (vault) => {
    const found = await backupsOf(from.source, from.context, vault);
    if (invocation.flag('list')) return list(invocation, found);
    const backup = chosen(invocation, from.source, found);
    await confirm(invocation, from.source, backup);
    await restoreBackup(backup, from, vault);
    if (invocation.ui.json) invocation.ui.dataJson({ restored: jsonOf(backup) });
    else {
      invocation.ui.note(
        `${invocation.ui.style('green', 'Put back')} ${shellPath(backup.path)} as it was ${when(backup)}. What was there until now is a backup too.`,
      );
    }
    return EXIT.done;
  });
}

function list({ ui }: Invocation, { backups, undecryptable }: Backups): number {
  if (ui.json) {
    ui.dataJson({ backups: backups.map(jsonOf), undecryptable });
    return EXIT.done;
  }
  if (undecryptable > 0) ui.warn(...undecryptableBackups(undecryptable));
  if (backups.length === 0) ui.note('There is no backup of a file of that program.');
  else {
    const rows = backups.map((one) => [one.name, when(one), shellPath(one.path)]);
    ui.data(table([['NAME', 'FROM', 'FILE'], ...rows]));
  }
  return EXIT.done;
}

function chosen(invocation: Invocation, source: Source, { backups, undecryptable }: Backups): Backup {
  const name = invocation.text('backup');
  const backup = name === undefined ? backups[0] : backups.find((one) => one.name === name);
  if (backup !== undefined) return backup;
  const [locked, how] = undecryptableBackups(undecryptable);
  throw new InvalidArgumentError(
    `There is no backup ${name === undefined ? '' : `${quote(name, 60)} `}of a file of ${source.title}.${undecryptable > 0 ? ` ${locked}` : ''}`,
    { hint: undecryptable > 0 ? how : `See what is there: holdfast import ${source.id} --restore --list` },
  );
}

function undecryptableBackups(count: number): [message: string, hint: string] {
  return [
    `${plural(count, 'backup, of whatever program, is', 'backups, of whatever programs, are')} sealed under a key that is not reachable now, or damaged.`,
    'See which keyrings work here: holdfast doctor',
  ];
}

/** Explains the consequences before anything is written. */
async function confirm(invocation: Invocation, source: Source, backup: Backup): Promise<void> {
  const { ui, signal } = invocation;
  if (invocation.flag('yes')) return;
  const what = `This puts ${shellPath(backup.path)} back as ${source.title} had it ${when(backup)}; what ${source.title} wrote there since is replaced.`;
  const means =
    'A login that has moved here since would be in two places, and whichever of the two refreshes it logs the other one out: use it there or here, not both.';
  if (!canAsk() || ui.json) {
    throw new InvalidArgumentError(`${what} ${means}`, {
      hint: 'If that is meant: --yes. Other backups: --restore --list',
    });
  }
  ui.say(`${what}\n${means}`, {});
  const answer = await ask('Put it back? [y/N] ', signal).catch((cause: unknown) => {
    throw new AbortedError('The question was ended before it was answered; nothing was written.', { cause });
  });
  if (!/^y(es)?$/i.test(answer.trim())) throw new LoginCancelledError('Nothing was written.');
}

function when({ at }: Backup): string {
  return relativeTime(at, Date.now());
}

function jsonOf({ name, from, path, at }: Backup) {
  return { name, peer: from, file: path, at: isoTime(at) };
}
