import { canonicalResource } from '../../credential.ts';
import type { Invocation } from '../command.ts';
import { EXIT, EXIT_OF } from '../exit-code.ts';
import { withVault } from '../open-vault.ts';

export async function run(invocation: Invocation): Promise<number> {
  const { argument = '', ui, signal } = invocation;
  const resource = canonicalResource(argument);
  const account = invocation.text('account');
  const result = await withVault(invocation, (vault) => vault.logout(resource, { account, signal }));
  if (ui.json) ui.dataJson(result);
  const login = `${resource}${account === undefined || account === 'default' ? '' : ` as ${account}`}`;
  if (result.removed === 0) {
    const [unopened] = result.unopened;
    if (unopened === undefined) {
      ui.note(`There is no login to ${login}, so nothing was done. See: holdfast list`);
      return EXIT.done;
    }
    const { code, reason, hint } = unopened;
    ui.fail({
      code,
      message: `The login to ${login} was not removed: ${reason}`,
      hint,
      retryable: false,
    });
    return EXIT_OF[code];
  }
  for (const { reason, hint } of result.unopened) ui.warn(`A record of this login stays: ${reason}`, hint);
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
