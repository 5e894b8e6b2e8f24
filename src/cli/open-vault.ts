import { storeNamed } from '../vault/docker-agent.ts';
import { openVault, type Vault } from '../vault/vault.ts';
import type { Invocation } from './command.ts';

/** Opens the vault as the options say, runs the step, and closes the vault whatever happens. */
export async function withVault<T>(invocation: Invocation, step: (vault: Vault) => Promise<T>): Promise<T> {
  const store = invocation.text('store');
  const vault = openVault({
    environment: invocation.environment,
    keyring: invocation.text('keyring'),
    store: store === undefined ? undefined : storeNamed(store),
    dockerAgentDir: invocation.text('docker-agent-dir'),
    onEvent: ({ message, hint }) => invocation.ui.warn(message, hint),
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
