import { InvalidArgumentError } from '../../errors.ts';
import { quote } from '../../quote.ts';
import { runCommand } from '../../system/processes/run-command.ts';
import { defined } from '../../values/defined.ts';
import type { Invocation } from '../command.ts';
import { timeoutMs, withVault } from '../open-vault.ts';

const DEFAULT_VARIABLE = 'HOLDFAST_ACCESS_TOKEN';

/** POSIX.1-2017 section 8.1; every shell and platform accepts such names. */
const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]*$/;

export async function run(invocation: Invocation): Promise<number> {
  const { argument = '', rest, environment, signal } = invocation;
  const variable = invocation.text('as') ?? DEFAULT_VARIABLE;
  if (!VARIABLE.test(variable)) {
    throw new InvalidArgumentError(`${quote(variable, 40)} cannot name an environment variable.`, {
      hint: 'Use letters, digits and underscores, such as --as MCP_TOKEN',
    });
  }
  const options = defined({ account: invocation.text('account'), timeoutMs: timeoutMs(invocation), signal });
  // The vault closes before the command starts, so a foreign program runs beside no open vault.
  const { token, proof } = await withVault(invocation, (vault) => vault.token(argument, options));
  if (proof !== undefined) {
    throw new InvalidArgumentError(
      `The token for ${argument} is bound to a key (DPoP), and of no use alone.`,
      {
        hint: 'Let the command speak to the server through: holdfast proxy URL',
      },
    );
  }
  return runCommand(rest, { [variable]: token.reveal() }, environment);
}
