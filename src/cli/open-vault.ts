import type { VaultEvent } from '../credentials/vault-event.ts';
import { InvalidArgumentError } from '../errors.ts';
import type { SourceContext } from '../import/source.ts';
import { dockerAgentLayoutOf } from '../system/files/paths.ts';
import { defined } from '../values/defined.ts';
import { openVault } from '../vault/open.ts';
import { chosenStore, storeNamed } from '../vault/storage.ts';
import type { StoreName } from '../vault/types.ts';
import type { Vault } from '../vault/vault.ts';
import type { Invocation } from './command.ts';

/** The command's store, from the options or the environment. Only this function reads `--store`. */
export function chosenStorage(invocation: Invocation): {
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

/** @throws InvalidArgumentError if the logins to import are in the store that the command itself uses */
export function checkOtherStore(
  invocation: Invocation,
  peer: { readonly id: string },
  from: SourceContext,
): void {
  const { store, dockerAgentDir } = chosenStorage(invocation);
  if (peer.id !== 'docker-agent' || store !== 'docker-agent') return;
  const of = (directory: string | undefined) => dockerAgentLayoutOf(invocation.environment, directory).bundle;
  if (of(dockerAgentDir) !== of(from.file)) return;
  throw new InvalidArgumentError(
    'The logins of docker-agent are those that this command works on, since its store is docker-agent’s.',
    { hint: 'They need no import. To move them into Holdfast’s own store: --store directory' },
  );
}

/** Warns if docker-agent would not find the key that now seals its store. */
export async function warnOfHiddenKey(invocation: Invocation, keyringId: string): Promise<void> {
  const { store, dockerAgentDir } = chosenStorage(invocation);
  if (store !== 'docker-agent') return;
  const { environment, ui } = invocation;
  const { HIDDEN_KEY, isKeyHidden } = await import('../docker-agent/hidden-key.ts');
  if (await isKeyHidden(environment, keyringId, dockerAgentDir)) ui.warn(HIDDEN_KEY.message, HIDDEN_KEY.hint);
}

/** Opens the vault with the command's options, runs the step, and always closes the vault. */
export async function withVault<T>(invocation: Invocation, step: (vault: Vault) => Promise<T>): Promise<T> {
  const vault = openVault(
    defined({
      environment: invocation.environment,
      keyring: invocation.text('keyring'),
      ...chosenStorage(invocation),
      onEvent: ({ type, message, hint }: VaultEvent) => invocation.ui.warn(message, hint, { event: type }),
    }),
  );
  try {
    return await step(vault);
  } finally {
    await vault.close();
  }
}

/** The option's seconds, in milliseconds. */
export function timeoutMs(invocation: Invocation): number | undefined {
  const seconds = invocation.number('timeout', { min: 1, max: 86_400 });
  return seconds === undefined ? undefined : seconds * 1000;
}
