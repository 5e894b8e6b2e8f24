import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Credential, CredentialId, recordId } from '../../../src/credential.ts';
import { parseCredential } from '../../../src/credential-record.ts';
import { SealedCredentialStore } from '../../../src/credentials/sealed/sealed-credential-store.ts';
import { defaultOpeners, KeyringResolution } from '../../../src/keyring/resolve.ts';
import { SealingKeys } from '../../../src/keyring/sealing-key.ts';
import { unseal } from '../../../src/sealing.ts';
import { Secret } from '../../../src/secret.ts';
import { DirectoryStore } from '../../../src/store/directory.ts';
import { MemoryStore } from '../../../src/store/memory.ts';
import { type Environment, processEnvironment } from '../../../src/system/environment.ts';
import { type Layout, layoutOf } from '../../../src/system/files/paths.ts';
import { sleep } from '../../../src/system/locks/keyed-mutex.ts';
import { openVault } from '../../../src/vault/open.ts';
import type { Vault } from '../../../src/vault/vault.ts';
import { type Running, start } from '../../support/processes/process.ts';
import type { Family } from './token-server.ts';
import type { WorkerSettings } from './worker.ts';

export type LockName = 'flock' | 'lease-file';

/** One home in which logins are stored without a browser and processes are killed. */
export class Site {
  readonly layout: Layout;
  readonly #variables: Readonly<Record<string, string>>;
  readonly #worker: string;
  readonly #custody: SealedCredentialStore;
  readonly #keys: SealingKeys;
  #logins = 0;

  /** @param worker worker.ts, bundled as one file of plain JavaScript */
  constructor(home: string, worker: string, variables: Readonly<Record<string, string>> = {}) {
    this.#variables = { HOLDFAST_HOME: home, HOME: '/nonexistent', ...variables };
    this.#worker = worker;
    const environment = this.#environment();
    this.layout = layoutOf(environment);
    const openers = defaultOpeners(environment, this.layout);
    this.#keys = new SealingKeys(
      new KeyringResolution({ openers, choice: 'file' }),
      this.layout,
      environment,
    );
    const lasting = new DirectoryStore(this.layout, environment);
    this.#custody = new SealedCredentialStore({
      persistent: lasting,
      ephemeral: new MemoryStore(),
      keys: this.#keys,
    });
  }

  /** Stores a login whose access token has `leftMs` milliseconds of life left. */
  async keep(resource: string, family: Family, leftMs: number): Promise<void> {
    const name = CredentialId.of(resource, undefined);
    const now = Date.now();
    this.#logins += 1;
    await this.#custody.save(
      await this.#keys.strongest(),
      name,
      (generation): Credential => ({
        resource: name.resource,
        account: name.account,
        resourceParameter: name.resource,
        generation,
        server: { issuer: 'https://as.example.com', tokenEndpoint: family.endpoint },
        client: { clientId: family.clientId, authMethod: 'none', redirectUris: [], source: 'dynamic' },
        tokens: {
          accessToken: new Secret(family.accessToken),
          tokenType: 'Bearer',
          refreshToken: new Secret(family.refreshToken),
          obtainedAt: now + leftMs - 3_600_000,
          expiresAt: now + leftMs,
        },
        loggedInAt: now + this.#logins,
      }),
    );
  }

  /** Starts a process that asks for the token. */
  start(settings: WorkerSettings, lock: LockName): Running {
    const variables = { ...this.#variables, HOLDFAST_LOCK: lock };
    return start(process.execPath, [this.#worker, JSON.stringify(settings)], variables);
  }

  /** Opens a vault as the next process would. The caller closes it. */
  vault(lock: LockName): Vault {
    return openVault({ environment: this.#environment({ HOLDFAST_LOCK: lock }), keyring: 'file' });
  }

  /** Whether the disk has a sealed copy of that login's newest tokens: as the record, or staged to become it. */
  async hasNewest(resource: string, family: Family): Promise<'record' | 'staged' | undefined> {
    const name = CredentialId.of(resource, undefined);
    const holds = ({ tokens }: Credential) => tokens.refreshToken?.reveal() === family.refreshToken;
    const found = await this.#custody.find(name);
    if (found !== undefined && holds(found.held.credential)) return 'record';
    const id = recordId(name.resource, name.account);
    const key = await this.#keys.strongest();
    for (const file of await readdir(this.layout.temporary)) {
      if (!file.startsWith(id)) continue;
      try {
        const text = await readFile(join(this.layout.temporary, file), 'latin1');
        if (holds(parseCredential(unseal(text, key, id)))) return 'staged';
      } catch {
        // The process had written half of it.
      }
    }
    return undefined;
  }

  #environment(more: Readonly<Record<string, string>> = {}): Environment {
    return { ...processEnvironment(), variables: { ...this.#variables, ...more } };
  }
}

/**
 * Waits until a worker that prints `stopping` has stopped. It prints that before it stops: a worker that is woken in
 * between stops afterwards, and forever. Without /proc, its word is trusted.
 */
export async function untilStopped(holder: Running): Promise<void> {
  await holder.says('stopping\n');
  while (process.platform === 'linux') {
    // The state is the letter after the name (proc(5)).
    if (/\) T/.test(await readFile(`/proc/${holder.pid}/stat`, 'latin1'))) return;
    await sleep(5);
  }
}
