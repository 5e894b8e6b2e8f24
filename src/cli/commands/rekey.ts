import { defined } from '../../values/defined.ts';
import type { Invocation } from '../command.ts';
import { EXIT } from '../exit-code.ts';
import { withVault } from '../open-vault.ts';
import { byReason, plural } from '../output/words.ts';

export async function run(invocation: Invocation): Promise<number> {
  const { ui, signal } = invocation;
  const to = invocation.text('to');
  ui.progress(
    to === undefined ? 'Making a new key and sealing every login under it' : `Moving every login to ${to}`,
  );
  const result = await withVault(invocation, (vault) => vault.admin.rekey(defined({ to, signal })));
  if (ui.json) ui.dataJson(result);
  const where = result.keyrings.join(', ');
  const key = to === undefined ? 'a new key' : 'the key';
  if (result.keyrings.length === 0) ui.note('There is no sealing key yet, so there is nothing to do.');
  else if (result.moved > 0)
    ui.note(`${plural(result.moved, 'login is', 'logins are')} now sealed under ${key} in ${where}.`);
  else if (result.left.length === 0) ui.note(`There was no login to seal under ${key} in ${where}.`);
  for (const { resource, account, keyring, reason } of result.left) {
    const name = account === 'default' ? resource : `${resource} as ${account}`;
    ui.warn(`The login to ${name} stays under ${keyring}: ${reason}`);
  }
  for (const records of byReason(result.undecryptable)) {
    const [first] = records;
    ui.warn(
      `${plural(records.length, 'record stays', 'records stay')} as before: ${first?.reason}`,
      first?.hint,
    );
  }
  return result.left.length + result.undecryptable.length === 0 ? EXIT.done : EXIT.failed;
}
