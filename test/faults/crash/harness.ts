import { setTimeout as sleep } from 'node:timers/promises';
import { LoginRequiredError } from '../../../src/errors.ts';
import { CHECKPOINTS, type Step } from '../../../src/system/checkpoints.ts';
import { type OidcServer, startOidcServer } from './oidc-server.ts';
import type { LockName, Site } from './site.ts';
import { type Family, rotations, startTokenServer, type TokenServer } from './token-server.ts';

/*
 * Kills a process in the middle of a refresh, and checks the result as the next process sees it and as the server's log
 * shows it.
 */

/** `window` answers a repeated token with the same successor; the others end the login. */
export const SERVERS = ['window', 'strict', 'oidc-provider'] as const;
export type ServerName = (typeof SERVERS)[number];

export type Place = Step | 'at random';
export const PLACES: readonly Place[] = [...CHECKPOINTS, 'at random'];

export interface Kill {
  readonly place: Place;
  readonly server: ServerName;
  readonly lock: LockName;
  /** For `at random`: the kill follows this step by `ms` milliseconds. */
  readonly after?: { readonly step: Step; readonly ms: number };
}

/**
 * `unhurt`: it ended before it could be killed. `saved`: the next process got the good token. `unavoidable`: the server
 * had rotated, no copy of its answer had reached the disk when the process died, and a strict server takes the next
 * attempt for theft, which gives one clear "login required". Anything else is a bug: `lost`, if the login ended
 * although it could have been saved.
 */
export type Verdict = 'unhurt' | 'saved' | 'unavoidable' | Defect;
export interface Defect {
  readonly defect: string;
  readonly lost: boolean;
  /** The server's log. */
  readonly log: Family['log'];
}

const RESOURCE = 'https://mcp.example.com/killed';
const BYSTANDER = 'https://mcp.example.com/bystander';

/** All servers at once. */
export class Servers {
  readonly #own: TokenServer;
  readonly #oidc: OidcServer;

  private constructor(own: TokenServer, oidc: OidcServer) {
    this.#own = own;
    this.#oidc = oidc;
  }

  static async start(): Promise<Servers> {
    return new Servers(await startTokenServer(), await startOidcServer());
  }

  async begin(server: ServerName, resource: string): Promise<Family> {
    return server === 'oidc-provider' ? this.#oidc.begin(resource) : this.#own.begin(server);
  }

  async close(): Promise<void> {
    await Promise.all([this.#own.close(), this.#oidc.close()]);
  }
}

/** Kills one process after another in one home. */
export class CrashSite {
  readonly #site: Site;
  readonly #servers: Servers;
  #bystander: Family | undefined;

  constructor(site: Site, servers: Servers) {
    this.#site = site;
    this.#servers = servers;
  }

  async kill(how: Kill): Promise<Verdict> {
    if (this.#bystander === undefined) {
      this.#bystander = await this.#servers.begin('strict', BYSTANDER);
      await this.#site.keep(BYSTANDER, this.#bystander, 3_600_000);
    }
    const family = await this.#servers.begin(how.server, RESOURCE);
    await this.#site.keep(RESOURCE, family, -1000);
    const died = await this.#run(how);
    const verdict = await this.#inspect(family, how, this.#bystander);
    return died || verdict !== 'saved' ? verdict : 'unhurt';
  }

  /** Runs a process up to the kill. @returns whether the process was killed */
  async #run({ place, lock, after }: Kill): Promise<boolean> {
    const fate = place === 'at random' ? { tell: after?.step } : { dieAt: place };
    const worker = this.#site.start({ resource: RESOURCE, ...fate }, lock);
    if (after !== undefined) {
      await worker.says(`${after.step}\n`).then(
        async () => {
          await sleep(after.ms);
          worker.kill('SIGKILL');
        },
        () => {
          // It ended before that step.
        },
      );
    }
    return (await worker.ended).code === null;
  }

  async #inspect(family: Family, { server, lock }: Kill, bystander: Family): Promise<Verdict> {
    const defect = (what: string, lost = false): Defect => ({ defect: what, lost, log: family.log });
    // If the server had not rotated, the process never had an answer, even if the server still processes that request.
    const onDisk = rotations(family) > 0 ? await this.#site.hasNewest(RESOURCE, family) : undefined;
    const vault = this.#site.vault(lock);
    try {
      const { undecryptable } = await vault.list();
      if (undecryptable.length > 0) return defect(`a record does not open: ${undecryptable[0]?.reason}`);
      const other = await vault.token(BYSTANDER);
      if (other.token.reveal() !== bystander.accessToken || bystander.log.length > 0) {
        return defect('the login to another server changed');
      }
      try {
        const { token, generation } = await vault.token(RESOURCE, { timeoutMs: 20_000 });
        if (token.reveal() !== family.accessToken) return defect('an old token was served');
        // One more refresh shows that leftovers of the dead process do no harm, and that the refresh token is live.
        const next = await vault.token(RESOURCE, { timeoutMs: 20_000, rejectedGeneration: generation });
        if (next.token.reveal() !== family.accessToken) return defect('the next refresh got an old token');
      } catch (error) {
        if (!(error instanceof LoginRequiredError))
          return defect(`the next process failed: ${String(error)}`);
        if (server === 'window') return defect('lost, to a server that answers again', true);
        if (rotations(family) === 0) return defect('lost, though the server had not rotated', true);
        if (onDisk !== undefined)
          return defect(`lost, though the new tokens were on the disk (${onDisk})`, true);
        return (await this.#saysSoAgain(vault, family))
          ? 'unavoidable'
          : defect('the end is not one clear end');
      }
      return family.revoked ? defect('the server took a token for stolen', true) : 'saved';
    } finally {
      await vault.close();
    }
  }

  /** Whether the next caller gets the same error without another request to the server. */
  async #saysSoAgain(vault: ReturnType<Site['vault']>, family: Family): Promise<boolean> {
    const asked = family.log.length;
    const again = await vault.token(RESOURCE).catch((error: unknown) => error);
    return again instanceof LoginRequiredError && family.log.length === asked;
  }
}
