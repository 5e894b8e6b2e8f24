import { defined } from '../../values/defined.ts';
import type { Invocation } from '../command.ts';
import { EXIT } from '../exit-code.ts';
import { timeoutMs, withVault } from '../open-vault.ts';
import { isoTime } from '../output/words.ts';

export async function run(invocation: Invocation): Promise<number> {
  const { argument = '', ui, signal } = invocation;
  const options = defined({
    account: invocation.text('account'),
    timeoutMs: timeoutMs(invocation),
    rejectedGeneration: invocation.number('refused', { min: 1, max: 999_999_999 }),
    signal,
  });
  // Printed before the vault closes, since closing waits for a running refresh.
  await withVault(invocation, async (vault) => {
    const { token, tokenType, expiresAt, generation } = await vault.token(argument, options);
    if (ui.json) {
      ui.dataJson({ token: token.reveal(), tokenType, expiresAt: isoTime(expiresAt) ?? null, generation });
    } else {
      ui.dataLine(token.reveal());
    }
  });
  return EXIT.done;
}
