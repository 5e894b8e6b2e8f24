/**
 * A process that keeps a login in use. The first argument is JSON: `{ resource, callers, timeoutMs }`; where the login
 * lies is in the environment. The vault is opened anew in each round, so nothing is in memory when the barrier opens.
 */
import { openVault } from '../../src/vault/open.ts';
import type { Vault } from '../../src/vault/vault.ts';
import { obey } from './barrier.ts';

interface Settings {
  readonly resource: string;
  /** How many want the token at once in this process. */
  readonly callers: number;
  readonly timeoutMs: number;
}

const { resource, callers, timeoutMs }: Settings = JSON.parse(process.argv[2] ?? '');
let vault: Vault | undefined;

obey(
  {
    open: async () => {
      vault = openVault();
    },
    ask: () => Promise.all(Array.from({ length: callers }, () => tokenOf(vault))),
    close: async () => vault?.close(),
  },
  resource,
);

async function tokenOf(opened: Vault | undefined): Promise<string | Error> {
  try {
    const access = await opened?.token(resource, { timeoutMs });
    return access?.token.reveal() ?? new Error('the vault was not opened');
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}
