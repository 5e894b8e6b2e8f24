import { resolve } from 'node:path';
import { accountLabel, canonicalResource } from '../../credential.ts';
import { displayUrl } from '../../display-url.ts';
import { AbortedError, HoldfastError, InvalidArgumentError, reworded } from '../../errors.ts';
import { backupKeeper } from '../../import/backup.ts';
import { configuredServers } from '../../import/configured-servers.ts';
import { findLogins, type Moved, moveLogin, StillThere } from '../../import/move.ts';
import type { FoundLogin, Skipped, Source, SourceContext } from '../../import/source.ts';
import { SOURCES, sourceNamed } from '../../import/sources.ts';
import { quote } from '../../quote.ts';
import { Secret } from '../../secret.ts';
import { isThere } from '../../system/files/client-file.ts';
import { shellPath } from '../../system/files/storage-error.ts';
import type { ImportOptions, NamedIssuer } from '../../transfer/types.ts';
import { defined } from '../../values/defined.ts';
import type { Vault } from '../../vault/vault.ts';
import type { Invocation } from '../command.ts';
import { EXIT, exitCodeOf } from '../exit-code.ts';
import { checkOtherStore, withVault } from '../open-vault.ts';
import { credentialJson } from '../output/credential-json.ts';
import { tellKeyring } from '../output/kept-where.ts';
import { canAsk } from '../output/terminal.ts';
import { isoTime, plural, relativeTime, table } from '../output/words.ts';
import { checkCanConfirm, confirmed } from './import-confirm.ts';

/** Maximum size of the input. A login has a few kilobytes. */
const MAX_INPUT_BYTES = 1024 * 1024;

export async function run(invocation: Invocation): Promise<number> {
  const { argument } = invocation;
  if (argument === '-') return fromStandardInput(invocation);
  const context = sourceContextOf(invocation);
  const isRestore = invocation.flag('restore');
  if (invocation.flag('list') && !isRestore) return list(invocation, context);
  if (argument === undefined) {
    throw new InvalidArgumentError('holdfast import needs the name of a program.', {
      hint: `One of: ${SOURCES.map(({ id }) => id).join(', ')}. What is there shows: holdfast import --list`,
    });
  }
  const source = sourceNamed(argument);
  if (isRestore) return (await import('./import-restore.ts')).restore(invocation, { source, context });
  checkBackup(invocation);
  checkOtherStore(invocation, source, context);
  await checkFile(context);
  const { logins, skipped, searched } = await findLogins(source, context);
  // A user who names a server did not ask about other logins.
  if (context.urls.length === 0 || logins.length === 0) tellSkipped(invocation, source, skipped);
  if (logins.length === 0) throw nothingFound(source, context, searched, skipped);
  const options: ImportOptions = defined({
    account: invocation.text('account'),
    accessTokenOnly: invocation.flag('access-token-only'),
    replace: invocation.flag('replace'),
    issuer: issuerOf(invocation),
    requirePersistence: true,
    signal: invocation.signal,
  });
  checkCanConfirm(invocation, source, logins);
  return withVault(invocation, (vault) => importAll(invocation, { source, context }, logins, vault, options));
}

function issuerOf(invocation: Invocation): string | undefined {
  const given = invocation.text('issuer');
  if (given === undefined || /^https?:$/.test(URL.canParse(given) ? new URL(given).protocol : ''))
    return given;
  throw new InvalidArgumentError(`--issuer ${quote(given)} is not a URL.`, {
    hint: 'Give the URL of the authorization server, such as: --issuer https://auth.example.com',
  });
}

function checkBackup(invocation: Invocation): void {
  if (invocation.text('backup') === undefined) return;
  throw new InvalidArgumentError('--backup says which backup is put back.', { hint: 'Add --restore' });
}

function sourceContextOf(invocation: Invocation): SourceContext {
  const { environment } = invocation;
  const urls = invocation.texts('url');
  for (const url of urls) canonicalResource(url);
  accountLabel(invocation.text('account'));
  const file = invocation.text('file');
  let configured: ReturnType<typeof configuredServers> | undefined;
  return {
    environment,
    urls,
    name: invocation.text('name'),
    file: file === undefined ? undefined : resolve(file),
    configured: () => {
      configured ??= configuredServers(environment);
      return configured;
    },
  };
}

async function checkFile({ file }: SourceContext): Promise<void> {
  if (file === undefined || (await isThere(file))) return;
  throw new InvalidArgumentError(`There is no ${shellPath(file)}.`, { hint: 'Check the path after --file.' });
}

/** Shows the logins without secrets; changes nothing. */
async function list({ ui, argument }: Invocation, context: SourceContext): Promise<number> {
  const sources = argument === undefined ? SOURCES : [sourceNamed(argument)];
  if (context.file !== undefined && argument === undefined) {
    throw new InvalidArgumentError('--file says where one program keeps its logins: name the program.', {
      hint: 'holdfast import PEER --list --file FILE',
    });
  }
  await checkFile(context);
  const logins: (FoundLogin & { source: Source })[] = [];
  const skipped: (Skipped & { source: Source })[] = [];
  for (const source of sources) {
    try {
      const found = await findLogins(source, context);
      logins.push(...found.logins.map((one) => ({ ...one, source })));
      skipped.push(...found.skipped.map((one) => ({ ...one, source })));
    } catch (error) {
      // With several programs, a damaged file must not hide the others.
      if (!(error instanceof HoldfastError) || argument !== undefined) throw error;
      ui.warn(`${source.title}: ${error.message}`, error.hint);
    }
  }
  if (ui.json) {
    ui.dataJson({
      logins: logins.map(({ source, name, file, login }) => ({
        peer: source.id,
        name,
        resource: login.resource,
        expiresAt: isoTime(login.expiresAt),
        canRefresh: login.refreshToken !== undefined,
        scope: login.scope,
        clientId: login.client?.id,
        issuer: login.issuer,
        file,
      })),
      skipped: skipped.map(({ source, ...rest }) => ({ peer: source.id, ...rest })),
    });
    return EXIT.done;
  }
  if (context.urls.length === 0 || logins.length === 0) {
    for (const { source, ...rest } of skipped) tellSkipped({ ui }, source, [rest]);
  }
  if (logins.length === 0) {
    ui.note('No logins of other programs were found that could be imported.');
    return EXIT.done;
  }
  const rows = logins.map(({ source, login, file }) => [
    source.id,
    displayUrl(login.resource),
    login.expiresAt === undefined ? 'unknown' : relativeTime(login.expiresAt, Date.now()),
    login.refreshToken === undefined ? 'no' : 'yes',
    file,
  ]);
  ui.data(table([['FROM', 'SERVER', 'EXPIRES', 'REFRESH', 'FILE'], ...rows]));
  return EXIT.done;
}

function tellSkipped({ ui }: Pick<Invocation, 'ui'>, source: Source, skipped: readonly Skipped[]): void {
  for (const { name, reason } of skipped)
    ui.note(`${source.title}, ${quote(name, 80)}: left out; ${reason}.`);
}

function nothingFound(
  source: Source,
  { urls, name }: SourceContext,
  searched: readonly string[],
  skipped: readonly Skipped[],
): InvalidArgumentError {
  const called = name === undefined ? '' : ` of the name ${quote(name, 80)}`;
  const to = urls.length === 0 ? '' : ` to ${urls.map((url) => canonicalResource(url)).join(', ')}`;
  const why = skipped.length === 0 ? '' : ` ${plural(skipped.length, 'entry was', 'entries were')} left out.`;
  return new InvalidArgumentError(
    `${source.title} has no login${called}${to} that could be imported.${why}`,
    {
      hint: `Looked in ${searched.map(shellPath).join(', ')}. If it keeps them elsewhere: --file FILE. Or log in here: holdfast login URL`,
    },
  );
}

async function importAll(
  invocation: Invocation,
  from: { source: Source; context: SourceContext },
  logins: readonly FoundLogin[],
  vault: Vault,
  options: ImportOptions,
): Promise<number> {
  const { ui } = invocation;
  const told: unknown[] = [];
  let last: Moved | undefined;
  const { toMove, code: first } = await confirmed(invocation, from.source, logins, vault, options);
  let code = first;
  const keep = backupKeeper(from.source, vault.transfer);
  for (const { found, issuer } of toMove) {
    const { resource } = found.login;
    try {
      last = await moveLogin(found, from, vault, defined({ ...options, issuer }), keep);
      const { result, outcome } = last;
      const credential = credentialJson(result.credential);
      told.push({ resource, file: found.file, outcome, unconfirmed: result.unconfirmed, credential });
      tell(invocation, from.source, found, last);
    } catch (error) {
      // A login that cannot move must not block the others.
      const shown = error instanceof StillThere ? stillThere(error, from.source, resource) : error;
      if (!(shown instanceof HoldfastError) || shown instanceof AbortedError) throw shown;
      ui.error(shown);
      if (code === EXIT.done) code = exitCodeOf(shown);
    }
  }
  if (ui.json) ui.dataJson({ imported: told });
  else if (last !== undefined) await tellKeyring(invocation, last.result);
  return code;
}

function stillThere({ cause, file }: StillThere, source: Source, resource: string): HoldfastError {
  if (!(cause instanceof HoldfastError)) throw cause;
  return reworded(
    cause,
    `The login to ${resource} is here now, and still with ${source.title} too: ${cause.message}`,
    {
      hint: `Whichever of the two refreshes it logs the other one out. Mend that, then run the same command again, or take it out of ${shellPath(file)} by hand.`,
    },
  );
}

function tell(
  invocation: Invocation,
  source: Source,
  { file }: FoundLogin,
  { result, outcome }: Moved,
): void {
  const { ui } = invocation;
  const { resource, account, expiresAt, canRefresh } = result.credential;
  const login = `${ui.style('bold', resource)}${account === 'default' ? '' : ` as ${account}`}`;
  if (outcome === 'moved') {
    ui.note(
      `${ui.style('green', 'Moved')} the login to ${login} from ${source.title}. ${file} has it no more.`,
    );
  } else if (outcome === 'finished') {
    ui.note(
      `${ui.style('green', 'Moved')} the login to ${login}: an earlier import had stored it, and ended before it took it out of ${file}. That is done now.`,
    );
  } else if (outcome === 'access-token') {
    const ends = expiresAt === undefined ? '' : ` It ends ${relativeTime(expiresAt, Date.now())}.`;
    ui.note(`Took the access token of ${login} from ${source.title}, and nothing to renew it with.${ends}`);
    if (result.unconfirmed !== undefined) tellUnconfirmed(invocation, source, resource, result.unconfirmed);
  } else {
    ui.warn(
      `The login to ${resource} is here now. What ${source.title} has for it changed meanwhile, and was left alone.`,
      'See whether it still works: holdfast token. If not, log in: holdfast login',
    );
  }
  if (!canRefresh && outcome !== 'access-token') {
    ui.note('There was no refresh token with it: it ends with its access token.');
  }
}

function tellUnconfirmed(
  { ui }: Invocation,
  { id, title }: Source,
  resource: string,
  { issuer, tokenEndpoint }: NamedIssuer,
): void {
  ui.warn(
    `${title} has not recorded who issued that login, so its refresh token is still with ${title}. It would be sent to ${quote(new URL(tokenEndpoint).host)}, because the MCP server names it now.`,
    `If that is where you logged in: holdfast import ${id} --url ${shellPath(resource)} --issuer ${shellPath(issuer)}`,
  );
}

/** Imports the output of `holdfast export`. */
async function fromStandardInput(invocation: Invocation): Promise<number> {
  const { ui, signal } = invocation;
  const wrong = ['list', 'access-token-only', 'restore'].find((name) => invocation.flag(name));
  const text = ['file', 'issuer'].find((name) => invocation.text(name) !== undefined);
  if (wrong !== undefined || text !== undefined || invocation.texts('url').length > 0) {
    throw new InvalidArgumentError(`--${wrong ?? text ?? 'url'} does not go with -.`, {
      hint: 'holdfast import - reads one login, as holdfast export printed it.',
    });
  }
  if (canAsk()) ui.note('Paste what holdfast export printed, then press Ctrl-D.');
  const json = await readStandardInput(signal);
  const result = await withVault(invocation, (vault) =>
    vault.transfer.importExported(
      json,
      defined({
        account: invocation.text('account'),
        replace: invocation.flag('replace'),
        requirePersistence: true,
        signal,
      }),
    ),
  );
  if (ui.json) ui.dataJson({ imported: [{ credential: credentialJson(result.credential) }] });
  else {
    const { resource, account, canRefresh } = result.credential;
    ui.note(
      `${ui.style('green', 'Imported')} the login to ${ui.style('bold', resource)}${account === 'default' ? '' : ` as ${account}`}${canRefresh ? '' : ', an access token alone'}.`,
    );
    await tellKeyring(invocation, result);
  }
  return EXIT.done;
}

async function readStandardInput(signal: AbortSignal): Promise<Secret> {
  const chunks: Buffer[] = [];
  let size = 0;
  const stop = () => process.stdin.destroy();
  signal.addEventListener('abort', stop);
  try {
    for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      size += chunk.length;
      if (size > MAX_INPUT_BYTES) {
        throw new InvalidArgumentError('What came on standard input is too large to be a login.');
      }
    }
  } catch (error) {
    if (signal.aborted) throw new AbortedError('The wait for a login was ended.', { cause: error });
    throw error;
  } finally {
    signal.removeEventListener('abort', stop);
  }
  return new Secret(Buffer.concat(chunks).toString('utf8'));
}
