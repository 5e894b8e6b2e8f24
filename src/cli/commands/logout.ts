import { canonicalResource } from '../../credential.ts';
import { InvalidArgumentError, LoginCancelledError } from '../../errors.ts';
import { defined } from '../../values/defined.ts';
import type { ForgetOptions } from '../../vault/types.ts';
import type { Invocation } from '../command.ts';
import { EXIT, EXIT_OF } from '../exit-code.ts';
import { withVault } from '../open-vault.ts';
import { ask, canAsk } from '../output/terminal.ts';

export async function run(invocation: Invocation): Promise<number> {
  const { argument, ui, signal } = invocation;
  if (invocation.flag('forget')) return forget(invocation);
  if (argument === undefined) {
    throw new InvalidArgumentError('holdfast logout needs a URL.', { hint: 'holdfast logout URL' });
  }
  const resource = canonicalResource(argument);
  const account = invocation.text('account');
  const result = await withVault(invocation, (vault) => vault.logout(resource, defined({ account, signal })));
  if (ui.json) ui.dataJson(result);
  const login = `${resource}${account === undefined || account === 'default' ? '' : ` as ${account}`}`;
  if (result.removed === 0) {
    const [undecryptable] = result.undecryptable;
    if (undecryptable === undefined) {
      const near = result.near === undefined ? '' : ` There is one to ${result.near}, another URL.`;
      ui.note(`There is no login to ${login}, so nothing was done.${near} See: holdfast list`);
      return EXIT.done;
    }
    const { code, reason, hint } = undecryptable;
    ui.fail({
      code,
      message: `The login to ${login} was not removed: ${reason}`,
      hint,
      retryable: false,
    });
    return EXIT_OF[code];
  }
  for (const { reason, hint } of result.undecryptable)
    ui.warn(`A record of this login stays: ${reason}`, hint);
  switch (result.revocation) {
    case 'failed':
      ui.fail({
        code: 'network',
        message: `Logged out of ${login} here, but the server could not be told: ${result.reason}`,
        hint: 'The tokens may stay valid there until they expire. End the session in the server’s own settings.',
        retryable: false,
      });
      return EXIT.network;
    case 'not-offered':
      ui.note(`Logged out of ${login}. The server offers no revocation; its tokens end when they expire.`);
      return EXIT.done;
    default:
      ui.note(`Logged out of ${login}: revoked at the server and removed here.`);
      return EXIT.done;
  }
}

/**
 * A keyring that is out of reach may open the records in another session. So the user confirms that its key is gone.
 */
function confirmation(invocation: Invocation): ForgetOptions['confirm'] {
  const { ui, signal } = invocation;
  if (invocation.flag('yes')) return async () => true;
  if (!canAsk() || ui.json) return undefined;
  return async (why) => {
    ui.say(why, {});
    const answer = await ask('Is that key gone for good? Remove the login? [y/N] ', signal);
    if (/^y(es)?$/i.test(answer.trim())) return true;
    throw new LoginCancelledError('Nothing was removed.');
  };
}

/** Removes the records that no key opens. */
async function forget(invocation: Invocation): Promise<number> {
  const { argument, ui, signal } = invocation;
  const resource = argument === undefined ? undefined : canonicalResource(argument);
  const account = invocation.text('account');
  const { removed, kept } = await withVault(invocation, (vault) =>
    vault.admin.forget(resource, defined({ account, signal, confirm: confirmation(invocation) })),
  );
  if (ui.json) ui.dataJson({ removed, kept });
  for (const { reason, hint } of kept) ui.warn(`A record stays, since it may open again: ${reason}`, hint);
  if (removed.length === 0) {
    ui.note('No record was removed: there is none whose key is gone.');
    return kept.length === 0 ? EXIT.done : EXIT.failed;
  }
  ui.note(`Removed ${removed.length} record${removed.length === 1 ? '' : 's'} whose key is gone.`);
  ui.warn(
    'Their tokens were not revoked: nobody can read them.',
    'End the session in the server’s own settings if it must end before they expire.',
  );
  return EXIT.done;
}
