import { canonicalResource } from '../../credential.ts';
import type { Invocation } from '../command.ts';
import { EXIT } from '../exit-code.ts';
import { withVault } from '../open-vault.ts';

export async function run(invocation: Invocation): Promise<number> {
  const { argument = '', ui, signal } = invocation;
  const resource = canonicalResource(argument);
  const result = await withVault(invocation, (vault) =>
    vault.logout(resource, { account: invocation.text('account'), signal }),
  );
  if (ui.json) ui.dataJson(result);
  for (const { reason, hint } of result.unopened) ui.warn(`A record of this login stays: ${reason}`, hint);
  if (result.removed === 0) {
    ui.note(`There was no login to ${resource} that could be removed.`);
    return result.unopened.length === 0 ? EXIT.done : EXIT.keyring;
  }
  switch (result.revocation) {
    case 'failed':
      ui.warn(
        `Logged out of ${resource} here, but the server could not be told: ${result.reason}`,
        'The tokens may stay valid there until they expire. End the session in the server’s own settings.',
      );
      return EXIT.network;
    case 'not-offered':
      ui.note(`Logged out of ${resource}. The server offers no revocation; its tokens end when they expire.`);
      return EXIT.done;
    default:
      ui.note(`Logged out of ${resource}: revoked at the server and removed here.`);
      return EXIT.done;
  }
}
