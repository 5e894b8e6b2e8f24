import { join } from 'node:path';
import type { CredentialId } from '../../credential.ts';
import { recordId } from '../../credential.ts';
import { loginCommand } from '../../credentials/login-required.ts';
import { AbortedError, HoldfastError, LoginCancelledError, LoginRequiredError } from '../../errors.ts';
import type { LoginHosts, LoginInteraction } from '../../login/types.ts';
import { sharedLogin } from '../../mcp/shared-login.ts';
import { quote } from '../../quote.ts';
import type { Environment } from '../../system/environment.ts';
import { layoutOf } from '../../system/files/paths.ts';
import { ensurePrivateDirectories } from '../../system/files/private-directory.ts';
import { acquireLock, type Lock, lockKindOf } from '../../system/locks/lock.ts';
import { openBrowser, openerOf } from '../../system/processes/browser.ts';
import type { Vault } from '../../vault/vault.ts';

/*
 * How a person is reached from inside a client that speaks on standard input and output: the client shows them a URL, or a
 * browser opens here, or nobody is reached. One at a time among all proxies of this user: five clients that start together
 * open one window.
 */

/** How long the person may take, in milliseconds, and so how long others wait for their turn. */
const LOGIN_MS = 300_000;

/** How long a request waits for the person before it answers that they are awaited. Clients give up after 60 s. */
const PATIENCE_MS = 45_000;

/** After a login that came to nothing, for how long no window opens by itself, in milliseconds. */
const PAUSE_MS = 60_000;

/** Another process logged in while this one waited for its turn. */
export class LoginOvertaken extends Error {}

/** The person is to be asked by the answer to the very request that waits for them. */
export class LoginAsked extends Error {
  readonly url: string;
  readonly elicitationId: string;

  constructor(url: string, elicitationId: string) {
    super('The client has to ask the person to log in.');
    this.url = url;
    this.elicitationId = elicitationId;
  }
}

/** How the client answered `elicitation/create`. */
export type Elicited = 'accept' | 'decline' | 'cancel';

export interface AskingClient {
  /** Shows the person the URL. Resolves with what they said to it. */
  ask(url: string): Promise<Elicited>;
  /** What was asked for last is done. */
  complete(): void;
  /** What nobody has answered yet, for a client that is asked by the answers to its requests. */
  readonly question?: LoginAsked | undefined;
}

export interface DeskParts {
  readonly vault: Vault;
  readonly name: CredentialId;
  readonly environment: Environment;
  readonly note: (text: string) => void;
}

export class LoginCoordinator {
  /** The client, where it can show the person a URL. */
  client: AskingClient | undefined;
  /** Told when somebody has logged in from here. */
  onLogin: (() => void) | undefined;
  /** What became of the last login, where it failed. */
  failure: HoldfastError | undefined;
  readonly #parts: DeskParts;
  #pausedUntil = 0;
  #patienceMs = PATIENCE_MS;
  #before: number | undefined;
  /** Requests whose patience runs. */
  readonly #waiting = new Set<AbortController>();

  constructor(parts: DeskParts) {
    this.#parts = parts;
  }

  /** Whether a login may be started, or is under way. */
  get canAsk(): boolean {
    if (this.#running !== undefined) return true;
    return this.#hasWay && performance.now() >= this.#pausedUntil;
  }

  /** The person asks for it themselves, so the pause is over. */
  insist(): void {
    this.#pausedUntil = 0;
  }

  /** The generation that did not do: another one is news. */
  expect(generation: number | undefined): void {
    if (this.#running === undefined) this.#before = generation;
  }

  /** How long a request waits for a person, in milliseconds. Shorter at the start, where clients wait less. */
  async within<T>(ms: number, step: () => Promise<T>): Promise<T> {
    this.#patienceMs = ms;
    try {
      return await step();
    } finally {
      this.#patienceMs = PATIENCE_MS;
    }
  }

  /** A request's patience: it runs while a login is awaited, and rests while the server is at work. */
  patience(isAwaited: () => boolean): { signal: AbortSignal; start(): void; rest(): void } {
    const over = new AbortController();
    const ms = this.#patienceMs;
    let timer: NodeJS.Timeout | undefined;
    const rest = () => {
      clearTimeout(timer);
      this.#waiting.delete(over);
    };
    const start = () => {
      rest();
      if (this.client?.question !== undefined) return over.abort(this.client.question);
      this.#waiting.add(over);
      timer = setTimeout(() => (isAwaited() ? over.abort(this.#awaited()) : start()), ms);
    };
    return { signal: over.signal, start, rest };
  }

  readonly interaction: LoginInteraction = {
    authorize: async (url, hosts) => {
      const running = this.#running;
      const lock = await this.#turn();
      void running
        ?.then(
          () => this.#succeeded(),
          (error: unknown) => this.#failed(error),
        )
        .finally(() => void lock.release());
      const { vault, name } = this.#parts;
      const now = await vault.token(name.resource, { account: name.account }).catch(() => undefined);
      if (now !== undefined && now.generation !== this.#before) throw new LoginOvertaken();
      await this.#show(url, hosts);
    },
  };

  async #show(url: string, { issuer }: LoginHosts): Promise<void> {
    const { environment, name, note } = this.#parts;
    if (this.client !== undefined) {
      const asked = this.client.ask(url);
      // Those who wait for the login are who asks the person.
      const { question } = this.client;
      if (question !== undefined) for (const one of this.#waiting) one.abort(question);
      const answer = await asked;
      if (answer === 'accept') return;
      throw new LoginCancelledError(
        answer === 'decline' ? 'The login was declined.' : 'The login was dismissed.',
        { hint: `Log in: ${loginCommand(name.resource, name.account)}` },
      );
    }
    note(
      `Opening a browser for the login to ${name.resource} at ${quote(issuer)}. If nothing shows, open this URL:\n  ${url}`,
    );
    if (await openBrowser(url, environment)) return;
    throw new LoginRequiredError(
      `There is no login to ${name.resource}, and no browser could be opened here.`,
      {
        hint: `Log in: ${loginCommand(name.resource, name.account)}`,
      },
    );
  }

  /** Waits until no other process of this user has a person at a login to this server. */
  async #turn(): Promise<Lock> {
    const { environment, name } = this.#parts;
    const { home, locks } = layoutOf(environment);
    await ensurePrivateDirectories([home, locks], environment);
    const path = join(locks, `${recordId(name.resource, name.account)}.login.lock`);
    return acquireLock(path, { waitMs: LOGIN_MS, kind: lockKindOf(environment.variables) });
  }

  #succeeded(): void {
    this.failure = undefined;
    this.client?.complete();
    this.onLogin?.();
  }

  #failed(error: unknown): void {
    if (error instanceof LoginOvertaken) return;
    this.#pausedUntil = performance.now() + PAUSE_MS;
    if (error instanceof HoldfastError) this.failure = error;
  }

  #awaited(): AbortedError {
    const { name } = this.#parts;
    const where =
      this.client === undefined ? 'in the browser window that has opened' : 'at the page that was shown';
    return new AbortedError(`A login to ${name.resource} is under way. Finish it ${where}, then ask again.`, {
      hint: `If there is none, log in with: ${loginCommand(name.resource, name.account)}`,
    });
  }

  get #hasWay(): boolean {
    return this.client !== undefined || openerOf(this.#parts.environment) !== undefined;
  }

  get #running(): Promise<void> | undefined {
    return sharedLogin(this.#parts.vault, this.#parts.name).running;
  }
}
