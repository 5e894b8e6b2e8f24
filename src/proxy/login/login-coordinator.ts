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
 * Reaches the user from inside a client that speaks on standard input and output. The client shows a URL, or a browser
 * opens here, or nobody can be reached. All proxies of this user take turns: five clients that start together open one
 * window.
 */

/** Time limit for the user to log in, in milliseconds. Other logins wait no longer than this for their turn. */
const LOGIN_MS = 300_000;

/**
 * Time limit for a request that waits for the user, in milliseconds. It then answers that a login is pending. Clients
 * give up after 60 s.
 */
const PATIENCE_MS = 45_000;

/** After a failed login, no window opens automatically for this time, in milliseconds. */
const PAUSE_MS = 60_000;

/** Another process logged in while this process waited for its turn. */
export class LoginOvertaken extends Error {}

/** The answer to the waiting request itself must ask the user to log in. */
export class LoginAsked extends Error {
  readonly url: string;
  readonly elicitationId: string;

  constructor(url: string, elicitationId: string) {
    super('The client has to ask the person to log in.');
    this.url = url;
    this.elicitationId = elicitationId;
  }
}

/** The client's answer to `elicitation/create`. */
export type Elicited = 'accept' | 'decline' | 'cancel';

export interface AskingClient {
  /** Shows the URL to the user. Resolves with the user's answer. */
  ask(url: string): Promise<Elicited>;
  /** Tells the client that the last question is settled. */
  complete(): void;
  /** The open question, if the client is asked by the answers to its own requests. */
  readonly question?: LoginAsked | undefined;
}

export interface LoginCoordinatorParts {
  readonly vault: Vault;
  readonly id: CredentialId;
  readonly environment: Environment;
  readonly note: (text: string) => void;
}

export class LoginCoordinator {
  /** The client, if it can show a URL to the user. */
  client: AskingClient | undefined;
  /** Called when a login from this process succeeds. */
  onLogin: (() => void) | undefined;
  /** The error of the last login, if it failed. */
  failure: HoldfastError | undefined;
  readonly #parts: LoginCoordinatorParts;
  #pausedUntil = 0;
  #patienceMs = PATIENCE_MS;
  #before: number | undefined;
  /** The requests whose time limit is running. */
  readonly #waiting = new Set<AbortController>();

  constructor(parts: LoginCoordinatorParts) {
    this.#parts = parts;
  }

  /** Tells whether a login may start, or is already running. */
  get canAsk(): boolean {
    if (this.#running !== undefined) return true;
    return this.#canShowUrl && performance.now() >= this.#pausedUntil;
  }

  /** Ends the pause, because the user asks for the login. */
  insist(): void {
    this.#pausedUntil = 0;
  }

  /** Records the generation that the server rejected. Any other generation is a new login. */
  expect(generation: number | undefined): void {
    if (this.#running === undefined) this.#before = generation;
  }

  /** Sets the time limit for a waiting request, in milliseconds. It is shorter at the start, when clients wait less. */
  async within<T>(ms: number, step: () => Promise<T>): Promise<T> {
    this.#patienceMs = ms;
    try {
      return await step();
    } finally {
      this.#patienceMs = PATIENCE_MS;
    }
  }

  /** A request's time limit. It runs while a login is pending and pauses while the server works. */
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
      const lock = await this.#lock();
      void running
        ?.then(
          () => this.#succeeded(),
          (error: unknown) => this.#failed(error),
        )
        .finally(() => void lock.release());
      const { vault, id } = this.#parts;
      const now = await vault.token(id.resource, { account: id.account }).catch(() => undefined);
      if (now !== undefined && now.generation !== this.#before) throw new LoginOvertaken();
      await this.#show(url, hosts);
    },
  };

  async #show(url: string, { issuer }: LoginHosts): Promise<void> {
    const { environment, id, note } = this.#parts;
    if (this.client !== undefined) {
      const asked = this.client.ask(url);
      // The answers to the waiting requests carry the question to the user.
      const { question } = this.client;
      if (question !== undefined) for (const one of this.#waiting) one.abort(question);
      const answer = await asked;
      if (answer === 'accept') return;
      throw new LoginCancelledError(
        answer === 'decline' ? 'The login was declined.' : 'The login was dismissed.',
        { hint: `Log in: ${loginCommand(id.resource, id.account)}` },
      );
    }
    note(
      `Opening a browser for the login to ${id.resource} at ${quote(issuer)}. If nothing shows, open this URL:\n  ${url}`,
    );
    if (await openBrowser(url, environment)) return;
    throw new LoginRequiredError(
      `There is no login to ${id.resource}, and no browser could be opened here.`,
      {
        hint: `Log in: ${loginCommand(id.resource, id.account)}`,
      },
    );
  }

  /** Waits until no other process of this user runs a login to this server. */
  async #lock(): Promise<Lock> {
    const { environment, id } = this.#parts;
    const { home, locks } = layoutOf(environment);
    await ensurePrivateDirectories([home, locks], environment);
    const path = join(locks, `${recordId(id.resource, id.account)}.login.lock`);
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
    const { id } = this.#parts;
    const where =
      this.client === undefined ? 'in the browser window that has opened' : 'at the page that was shown';
    return new AbortedError(`A login to ${id.resource} is under way. Finish it ${where}, then ask again.`, {
      hint: `If there is none, log in with: ${loginCommand(id.resource, id.account)}`,
    });
  }

  get #canShowUrl(): boolean {
    return this.client !== undefined || openerOf(this.#parts.environment) !== undefined;
  }

  get #running(): Promise<void> | undefined {
    return sharedLogin(this.#parts.vault, this.#parts.id).running;
  }
}
