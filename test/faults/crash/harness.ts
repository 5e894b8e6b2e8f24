import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Credential } from '../../../src/credential.ts';
import { LoginRequiredError } from '../../../src/errors.ts';
import { defaultOpeners, KeyringResolution } from '../../../src/keyring/open.ts';
import { SealingKeys } from '../../../src/keyring/sealing-key.ts';
import { Secret } from '../../../src/secret.ts';
import { DirectoryStore } from '../../../src/store/directory.ts';
import { MemoryStore } from '../../../src/store/memory.ts';
import { processEnvironment } from '../../../src/system/environment.ts';
import { layoutOf } from '../../../src/system/paths.ts';
import { STEPS, type Step } from '../../../src/system/steps.ts';
import { Custody, nameOf } from '../../../src/vault/custody.ts';
import { openVault } from '../../../src/vault/vault.ts';
import type { ReplayPolicy, TokenServer } from './token-server.ts';

/*
 * Kills a process in the middle of a refresh, and looks at what is left: as the next process does, and as the server's own
 * memory has it.
 */

export type Place = Step | 'at random';
export const PLACES: readonly Place[] = [...STEPS, 'at random'];

export interface Kill {
  readonly place: Place;
  readonly policy: ReplayPolicy;
  readonly lock: 'flock' | 'lease-file';
  /** For `at random`: how long after the lease was wanted, in milliseconds. */
  readonly afterMs: number;
}

/**
 * `unhurt`: it ended before it could be killed. `saved`: the next process got the token that is good. `unavoidable`: the
 * server had rotated, its answer died with the process, and a strict server takes the next try for theft: one clear "login
 * required". Anything else is a defect, and says what.
 */
export type Verdict = 'unhurt' | 'saved' | 'unavoidable' | { readonly defect: string };

const RESOURCE = 'https://mcp.example.com/killed';
const BYSTANDER = 'https://mcp.example.com/bystander';

/** One home, in which one process after the other is killed. */
export class CrashSite {
  readonly #home: string;
  readonly #worker: string;
  readonly #server: TokenServer;
  readonly #custody: Custody;
  readonly #keys: SealingKeys;
  #logins = 0;
  #bystander: string | undefined;

  /** @param worker worker.ts as one file of plain JavaScript */
  constructor(home: string, worker: string, server: TokenServer) {
    this.#home = home;
    this.#worker = worker;
    this.#server = server;
    const environment = { ...processEnvironment(), variables: { HOLDFAST_HOME: home } };
    const layout = layoutOf(environment);
    const openers = defaultOpeners(environment, layout);
    this.#keys = new SealingKeys(new KeyringResolution({ openers, choice: 'file' }), layout, environment);
    const lasting = new DirectoryStore(layout, environment);
    this.#custody = new Custody({ lasting, passing: new MemoryStore() }, this.#keys);
  }

  async kill(how: Kill): Promise<Verdict> {
    this.#bystander ??= await this.#login(BYSTANDER, 'strict', 3_600_000);
    const id = await this.#login(RESOURCE, how.policy, -1000);
    const died = await this.#run(how);
    const verdict = await this.#inspect(id, how);
    return died || typeof verdict !== 'string' ? verdict : verdict === 'saved' ? 'unhurt' : verdict;
  }

  /** A login whose access token has so much life left. Answers the server's name for it. */
  async #login(resource: string, policy: ReplayPolicy, leftMs: number): Promise<string> {
    const { id, family } = this.#server.begin(policy);
    const name = nameOf(resource, undefined);
    const now = Date.now();
    this.#logins += 1;
    await this.#custody.keep(
      await this.#keys.strongest(),
      name,
      (generation): Credential => ({
        ...name,
        resourceParameter: name.resource,
        generation,
        server: { issuer: 'https://as.example.com', tokenEndpoint: this.#server.endpoint },
        client: { clientId: 'client', authMethod: 'none', redirectUris: [], source: 'dynamic' },
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
    return id;
  }

  /** Whether the process was killed. */
  async #run({ place, lock, afterMs }: Kill): Promise<boolean> {
    const settings = { resource: RESOURCE, ...(place === 'at random' ? {} : { dieAt: place }) };
    const child = spawn(process.execPath, [this.#worker, JSON.stringify(settings)], {
      env: { HOLDFAST_HOME: this.#home, HOLDFAST_LOCK: lock, HOME: '/nonexistent' },
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    let timer: NodeJS.Timeout | undefined;
    child.stdout.on('data', (chunk: Buffer) => {
      if (place === 'at random' && chunk.includes('lease-wanted')) {
        timer = setTimeout(() => child.kill('SIGKILL'), afterMs);
      }
    });
    const [, signal] = await once(child, 'close');
    clearTimeout(timer);
    return signal === 'SIGKILL';
  }

  async #inspect(id: string, { policy, lock }: Kill): Promise<Verdict> {
    const family = this.#server.family(id);
    // The server may still be at the request of the dead one.
    await new Promise((resolve) => setImmediate(resolve));
    const rotated = family.rotations > 0;
    const environment = {
      ...processEnvironment(),
      variables: { HOLDFAST_HOME: this.#home, HOLDFAST_LOCK: lock },
    };
    const vault = openVault({ environment, keyring: 'file' });
    try {
      const { unopened } = await vault.list();
      if (unopened.length > 0) return { defect: `a record does not open: ${unopened[0]?.reason}` };
      const other = await vault.token(BYSTANDER);
      if (other.token.reveal() !== this.#server.family(this.#bystander ?? '').accessToken) {
        return { defect: 'the login to another server changed' };
      }
      try {
        const { token, generation } = await vault.token(RESOURCE, { deadlineMs: 20_000 });
        if (token.reveal() !== family.accessToken) return { defect: 'an old token was served' };
        // Once more, to the end: nothing that the dead one left stands in the way, and the refresh token is the live one.
        const next = await vault.token(RESOURCE, { deadlineMs: 20_000, refused: generation });
        if (next.token.reveal() !== family.accessToken)
          return { defect: 'the next refresh got an old token' };
      } catch (error) {
        if (!(error instanceof LoginRequiredError)) {
          return { defect: `the next process failed: ${String(error)}` };
        }
        return policy === 'strict' && rotated ? 'unavoidable' : { defect: 'the login was lost' };
      }
      return family.revoked ? { defect: 'the server took a token for stolen' } : 'saved';
    } finally {
      await vault.close();
    }
  }
}
