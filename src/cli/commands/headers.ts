import type { Invocation } from '../command.ts';
import { EXIT } from '../exit-code.ts';
import { timeoutMs, withVault } from '../open-vault.ts';

export async function run(invocation: Invocation): Promise<number> {
  const { argument = '', ui, signal } = invocation;
  const options = { account: invocation.text('account'), deadlineMs: timeoutMs(invocation), signal };
  // Printed before the vault is closed, which waits for a refresh that is under way.
  await withVault(invocation, async (vault) => {
    const headers = await vault.headers(argument, options);
    if (ui.json) ui.dataJson(headers);
    else for (const [name, value] of Object.entries(headers)) ui.data(`${name}: ${value}`);
  });
  return EXIT.done;
}
