import { InvalidArgumentError } from '../errors.ts';
import type { SourceContext } from '../import/source.ts';
import { dockerAgentLayoutOf } from '../system/files/paths.ts';
import { chosenStore, type StoreName, storeNamed } from '../vault/open-parts.ts';
import { openVault, type Vault } from '../vault/vault.ts';
import type { Invocation } from './command.ts';

/** Where the command works: what the options say, else the environment. The one place that reads `--store`. */
export function chosenPlace(invocation: Invocation): {
  readonly store: StoreName;
  readonly dockerAgentDir: string | undefined;
} {
  const given = invocation.text('store');
  if (given !== undefined && URL.canParse(given) && new URL(given).password !== '') {
    throw new InvalidArgumentError(
      'The URL of --store has a password in it, which every user sees in the list of processes.',
      {
        hint: 'Leave it to PGPASSWORD or REDISCLI_AUTH, or give the URL as HOLDFAST_STORE.',
      },
    );
  }
  return {
    store: given === undefined ? chosenStore(invocation.environment) : storeNamed(given),
    dockerAgentDir: invocation.text('docker-agent-dir'),
  };
}

/** @throws InvalidArgumentError where the logins to import lie in the very store that the command works on */
export function checkOtherStore(
  invocation: Invocation,
  peer: { readonly id: string },
  from: SourceContext,
): void {
  const { store, dockerAgentDir } = chosenPlace(invocation);
  if (peer.id !== 'docker-agent' || store !== 'docker-agent') return;
  const of = (directory: string | undefined) => dockerAgentLayoutOf(invocation.environment, directory).bundle;
  if (of(dockerAgentDir) !== of(from.file)) return;
  throw new InvalidArgumentError(
    'The logins of docker-agent are those that this command works on, since its store is docker-agent’s.',
    { hint: 'They need no import. To move them into Holdfast’s own store: --store directory' },
  );
}

/** Warns where docker-agent would not find the key that its store was just sealed under. */
export async function warnOfHiddenKey(invocation: Invocation, keyringId: string): Promise<void> {
  const { store, dockerAgentDir } = chosenPlace(invocation);
  if (store !== 'docker-agent') return;
  const { environment, ui } = invocation;
  const { HIDDEN_KEY, isKeyHidden } = await import('../docker-agent/hidden-key.ts');
  if (await isKeyHidden(environment, keyringId, dockerAgentDir)) ui.warn(HIDDEN_KEY.message, HIDDEN_KEY.hint);
}

/** Opens the vault as the options say, runs the step, and closes the vault whatever happens. */
export async function withVault<T>(invocation: Invocation, step: (vault: Vault) => Promise<T>): Promise<T> {
  const vault = openVault({
    environment: invocation.environment,
    keyring: invocation.text('keyring'),
    ...chosenPlace(invocation),
    onEvent: ({ type, message, hint }) => invocation.ui.warn(message, hint, { event: type }),
  });
  try {
    return await step(vault);
  } finally {
    await vault.close();
  }
}

/** Seconds as a person gives them, in milliseconds. */
export function timeoutMs(invocation: Invocation): number | undefined {
  const seconds = invocation.number('timeout', { min: 1, max: 86_400 });
  return seconds === undefined ? undefined : seconds * 1000;
}
