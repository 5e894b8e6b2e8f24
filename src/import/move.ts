import { canonicalResource } from '../credential.ts';
import { displayUrl } from '../display-url.ts';
import { HoldfastError, InvalidArgumentError, keptCause } from '../errors.ts';
import { quote } from '../quote.ts';
import { shellPath } from '../system/files/storage-error.ts';
import type { ImportOptions, ImportResult } from '../transfer/types.ts';
import type { Vault } from '../vault/vault.ts';
import { backupKeeper } from './backup.ts';
import type { Findings, FoundLogin, KeepBackup, Skipped, Source, SourceContext } from './source.ts';

/*
 * Moves a login from a source to the vault. The login is stored here first and removed from the source second. After an
 * interruption at least one of them has it, and the next import of the same login finishes the move.
 */

/** Maximum number of attempts, since the source may refresh the login between reading and taking. */
const ATTEMPTS = 3;

/**
 * The source's logins, each with a canonical URL. If the user named servers or a login, only those.
 *
 * @throws InvalidArgumentError if the URL may mean several logins; the errors of the source's `find`
 */
export async function findLogins(source: Source, context: SourceContext): Promise<Findings> {
  const wanted = new Set(context.urls.map(canonicalResource));
  const found = await source.find(context);
  const named = found.logins.filter(({ name }) => context.name === undefined || name === context.name);
  const meant = theOneMeant(source, context, named);
  const logins: FoundLogin[] = [];
  const skipped: Skipped[] = [...found.skipped];
  for (const one of meant === undefined ? named : [meant]) {
    if (one.login.resource === '') {
      skipped.push({ name: one.name, file: one.file, reason: NAMELESS });
      continue;
    }
    try {
      const resource = canonicalResource(one.login.resource);
      if (wanted.size > 0 && !wanted.has(resource)) continue;
      logins.push({ ...one, login: { ...one.login, resource } });
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      skipped.push({ name: one.name, file: one.file, reason: error.message.replace(/\.$/, '') });
    }
  }
  return { ...found, logins, skipped };
}

const NAMELESS = 'nothing of your own says which server it is for: name it with --url URL';

/**
 * The one login without a URL, if no login names the user's one URL as its server. With several, a guess would send the
 * tokens of one server to another.
 */
function theOneMeant(
  { title }: Source,
  { urls }: SourceContext,
  logins: readonly FoundLogin[],
): FoundLogin | undefined {
  const [url] = urls;
  if (url === undefined || urls.length > 1) return undefined;
  const nameless = logins.filter(({ login }) => login.resource === '');
  const [only, ...others] = nameless;
  if (only === undefined || logins.some(({ login }) => isFor(login.resource, url))) return undefined;
  if (others.length === 0) return { ...only, login: { ...only.login, resource: url } };
  const list = nameless.map(({ name, file }) => `${quote(name, 80)} (${shellPath(file)})`).join(', ');
  throw new InvalidArgumentError(
    `${title} has ${nameless.length} logins that do not say which server they are for: ${list}. Holdfast cannot tell which of them belongs to ${displayUrl(canonicalResource(url))}.`,
    { hint: 'Say which one by its name: --name NAME. If two have the same name, add the file: --file FILE' },
  );
}

function isFor(resource: string, url: string): boolean {
  try {
    return canonicalResource(resource) === canonicalResource(url);
  } catch (error) {
    if (error instanceof HoldfastError) return false;
    throw error;
  }
}

export interface Moved {
  readonly result: ImportResult;
  /**
   * `moved`; `finished`: an earlier import had stored it and stopped before removing it from the source;
   * `access-token`: the source keeps its login, because the user asked for that or because no record names its issuer;
   * `kept-there`: it is stored here, and the source meanwhile has another login, or no login.
   */
  readonly outcome: 'moved' | 'finished' | 'access-token' | 'kept-there';
}

/**
 * Moves one login, or copies its access token.
 *
 * @param keep shared by all logins that move together, so that each file gets one backup
 * @throws the errors of `adopt`: nothing was moved
 * @throws the error of the source's file if it cannot be written; a StillThere error says that the login is already
 * stored here
 */
export async function moveLogin(
  found: FoundLogin,
  from: { readonly source: Source; readonly context: SourceContext },
  vault: Vault,
  options: ImportOptions,
  keep: KeepBackup = backupKeeper(from.source, vault.transfer),
): Promise<Moved> {
  let current = found;
  let result = await vault.transfer.import(current.login, options);
  if (options.accessTokenOnly === true || result.unconfirmed !== undefined) {
    return { result, outcome: 'access-token' };
  }
  for (let attempt = 1; ; attempt += 1) {
    const taken = await current.take(keep).catch((cause: unknown) => {
      throw new StillThere(result, current, cause);
    });
    if (taken === 'taken') return { result, outcome: result.outcome === 'already' ? 'finished' : 'moved' };
    // The source refreshed the login meanwhile. Its tokens are valid, and those stored a moment ago are used up.
    const again =
      taken === 'gone' || attempt === ATTEMPTS
        ? undefined
        : (await findLogins(from.source, from.context)).logins.find(
            ({ name, file }) => name === found.name && file === found.file,
          );
    if (again === undefined) return { result, outcome: 'kept-there' };
    current = again;
    result = await vault.transfer.import(current.login, { ...options, replace: true });
  }
}

/** The login was stored here, but not removed from the source: two programs have it. */
export class StillThere extends Error {
  readonly result: ImportResult;
  readonly file: string;

  constructor(result: ImportResult, { file }: FoundLogin, cause: unknown) {
    super('The login was stored, and could not be taken out of the other program’s file.', {
      cause: keptCause(cause),
    });
    this.result = result;
    this.file = file;
  }
}
