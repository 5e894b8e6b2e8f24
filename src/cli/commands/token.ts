import type { Invocation } from '../command.ts';
import { EXIT } from '../exit-code.ts';
import { timeoutMs, withVault } from '../open-vault.ts';

export async function run(invocation: Invocation): Promise<number> {
  const { argument = '', ui, signal } = invocation;
  const options = { account: invocation.text('account'), deadlineMs: timeoutMs(invocation), signal };
  const { token, tokenType, expiresAt } = await withVault(invocation, (vault) =>
    vault.token(argument, options),
  );
  if (ui.json) {
    ui.dataJson({
      token: token.reveal(),
      tokenType,
      expiresAt: expiresAt === undefined ? null : new Date(expiresAt).toISOString(),
    });
  } else {
    ui.data(token.reveal());
  }
  return EXIT.done;
}
