import { InvalidArgumentError } from '../../errors.ts';
import { quote } from '../../quote.ts';
import { defined } from '../../values/defined.ts';
import type { Invocation } from '../command.ts';
import { EXIT } from '../exit-code.ts';
import { timeoutMs, withVault } from '../open-vault.ts';

export async function run(invocation: Invocation): Promise<number> {
  const { argument = '', ui, signal } = invocation;
  const method = invocation.text('method') ?? 'POST';
  if (!/^[A-Z]{1,20}$/.test(method)) throw new InvalidArgumentError(`${quote(method)} is no HTTP method.`);
  const options = defined({
    account: invocation.text('account'),
    timeoutMs: timeoutMs(invocation),
    request: defined({ method, url: argument, nonce: invocation.text('nonce') }),
    signal,
  });
  // Printed before the vault closes, since closing waits for a running refresh.
  await withVault(invocation, async (vault) => {
    const headers = await vault.headers(argument, options);
    if (ui.json) ui.dataJson(headers);
    else for (const [name, value] of Object.entries(headers)) ui.dataLine(`${name}: ${value}`);
  });
  return EXIT.done;
}
