import { displayUrl } from '../../display-url.ts';
import { AbortedError, HoldfastError, InvalidArgumentError, LoginCancelledError } from '../../errors.ts';
import type { FoundLogin, Source } from '../../import/source.ts';
import { quote } from '../../quote.ts';
import { lacksIssuer } from '../../transfer/import.ts';
import type { ImportOptions } from '../../transfer/types.ts';
import { defined } from '../../values/defined.ts';
import type { Vault } from '../../vault/vault.ts';
import type { Invocation } from '../command.ts';
import { EXIT, exitCodeOf } from '../exit-code.ts';
import { ask, canAsk } from '../output/terminal.ts';
import { plural } from '../output/words.ts';

/*
 * Asks about each login once, after all facts for the answer are shown. A login whose program has not recorded the
 * issuer gets its own question. Only the MCP server vouches for the host that would get its refresh token, and in a
 * long list nobody would read that host.
 */

/** A login that the user wants to move. `issuer`: the shown and confirmed issuer, or the one of `--issuer`. */
export interface ToMove {
  readonly found: FoundLogin;
  readonly issuer: string | undefined;
}

/** @throws InvalidArgumentError if nobody can be asked, and neither `--yes` nor `--access-token-only` was given */
export function checkCanConfirm(invocation: Invocation, source: Source, logins: readonly FoundLogin[]): void {
  if (!mustConfirm(invocation) || (canAsk() && !invocation.ui.json)) return;
  throw new InvalidArgumentError(
    `To import moves ${loginsOf(source, logins)}: the tokens are taken out of its file, because two holders of one refresh token log each other out.`,
    { hint: 'If that is meant: --yes. To leave them there: --access-token-only. To look only: --list' },
  );
}

/**
 * The logins to move, by the user's answers.
 *
 * @returns `code`: the exit code of the first login whose server could not say who would get its refresh token
 * @throws LoginCancelledError if the user wants to move none of them
 * @throws AbortedError if a question ends without an answer
 */
export async function confirmed(
  invocation: Invocation,
  source: Source,
  logins: readonly FoundLogin[],
  vault: Vault,
  { account, issuer, signal }: ImportOptions,
): Promise<{ readonly toMove: readonly ToMove[]; readonly code: number }> {
  const { ui } = invocation;
  if (!mustConfirm(invocation))
    return { toMove: logins.map((found) => ({ found, issuer })), code: EXIT.done };
  for (const { login, file } of logins) ui.say(`  ${displayUrl(login.resource)}   ${file}`, {});
  ui.say(
    `To import moves ${loginsOf(source, logins)}: the tokens are sealed here and taken out of that file, and no copy of them is kept there.\nAfterwards ${source.afterwards}, or is made to use the login that is here: holdfast configure.`,
    {},
  );
  const isUnsure = ({ login }: FoundLogin) => issuer === undefined && lacksIssuer(login);
  const sure = logins.filter((one) => !isUnsure(one));
  const toMove: ToMove[] = [];
  let code: number = EXIT.done;
  if (sure.length > 0) {
    const which =
      sure.length === logins.length ? '' : ` the ${sure.length} whose issuer ${source.title} knows`;
    if (await says(`Move${which}? [y/N] `, invocation)) {
      toMove.push(...sure.map((found) => ({ found, issuer })));
    }
  }
  for (const found of logins.filter(isUnsure)) {
    const { resource } = found.login;
    try {
      const named = await vault.transfer.namedIssuer(resource, defined({ account, signal }));
      ui.say(
        `${source.title} has not recorded who issued the login to ${resource}. Its refresh token will be sent to ${quote(new URL(named.tokenEndpoint).host)} (${quote(named.issuer)}).`,
        {},
      );
      if (await says('Move it? Say yes only if you logged in there. [y/N] ', invocation)) {
        toMove.push({ found, issuer: named.issuer });
      }
    } catch (error) {
      // A login with an unreachable server must not block the others.
      if (!(error instanceof HoldfastError) || error instanceof AbortedError) throw error;
      ui.error(error);
      if (code === EXIT.done) code = exitCodeOf(error);
    }
  }
  if (toMove.length > 0 || code !== EXIT.done) return { toMove, code };
  throw new LoginCancelledError('Nothing was moved.', {
    hint: 'To leave the logins there and take an access token: --access-token-only',
  });
}

function mustConfirm(invocation: Invocation): boolean {
  return !invocation.flag('yes') && !invocation.flag('access-token-only');
}

function loginsOf({ title }: Source, logins: readonly FoundLogin[]): string {
  return `${plural(logins.length, 'login', 'logins')} of ${title}`;
}

async function says(question: string, { signal }: Invocation): Promise<boolean> {
  const answer = await ask(question, signal).catch((cause: unknown) => {
    throw new AbortedError('The question was ended before it was answered; nothing was moved.', { cause });
  });
  return /^y(es)?$/i.test(answer.trim());
}
