import type { CredentialId } from '../../credential.ts';
import { loginCommand } from '../../credentials/login-required.ts';
import { HoldfastError, InsufficientScopeError, LoginRequiredError, NetworkError } from '../../errors.ts';
import type { HttpResponse } from '../../http/fetch.ts';
import type { LoginOptions } from '../../login/types.ts';
import { authorizedFetch } from '../../mcp/fetch.ts';
import type { Fetch } from '../../mcp/options.ts';
import { followWithinOrigin, outgoing } from '../../mcp/outgoing.ts';
import { sharedLogin } from '../../mcp/shared-login.ts';
import { sleep } from '../../system/locks/keyed-mutex.ts';
import type { Vault } from '../../vault/vault.ts';
import { type LoginCoordinator, LoginOvertaken } from '../login/login-coordinator.ts';
import { isUnusable } from '../relay/rpc-error.ts';
import type { Send } from './server-transport.ts';

/*
 * Sends requests to the MCP server with the stored login, or without one if the server wants none. Asks the user to log
 * in if that is possible.
 */

/**
 * Pauses before a request that did not leave is sent again, in milliseconds. A server is back within seconds, or not
 * soon.
 */
const UNSENT_PAUSES_MS = [200, 400, 800, 1_600, 3_200];

/** A login made elsewhere is found after this time, in milliseconds. */
const OPEN_MS = 5_000;

export interface AuthorizedSenderParts {
  readonly fetch: Fetch;
  readonly vault: Vault;
  readonly id: CredentialId;
  readonly coordinator: LoginCoordinator;
  readonly login: Pick<LoginOptions, 'callbackPort' | 'headers' | 'signal'>;
}

export class AuthorizedSender {
  readonly #parts: AuthorizedSenderParts;
  readonly #quiet: Fetch;
  /** The server has answered without a login. Until this time it gets requests without one. */
  #openUntil = 0;

  constructor(parts: AuthorizedSenderParts) {
    const { vault, id, fetch } = parts;
    this.#parts = parts;
    this.#quiet = authorizedFetch(vault, id.resource, {
      account: id.account,
      onInsufficientScope: 'throw',
      fetch,
    });
  }

  /**
   * @throws LoginRequiredError if only the user can help, and may not be asked or did not log in
   * @throws NetworkError, the errors of `vault.token`, and the signal's reason
   */
  readonly send: Send = async (url, init, person) => {
    const response = await persistently(init.signal, () => this.#request(url, init, person));
    if (response.status !== 401) return response;
    response.discard();
    throw this.#refused();
  };

  /**
   * The generation of the stored login; `undefined` if there is no login, or none that works now.
   *
   * @throws the error that keeps the login from being read, such as KeyringLockedError
   */
  async generation(): Promise<number | undefined> {
    const { vault, id } = this.#parts;
    try {
      return (await vault.token(id.resource, { account: id.account })).generation;
    } catch (error) {
      if (error instanceof HoldfastError && !isUnusable(error)) return undefined;
      throw error;
    }
  }

  async #request(url: string, init: Parameters<Send>[1], person: boolean): Promise<HttpResponse> {
    if (performance.now() < this.#openUntil) {
      const response = await this.#plain(url, init);
      if (response.status !== 401) return response;
      response.discard();
      this.#openUntil = 0;
    }
    try {
      return (await this.#quiet(url, init)) as unknown as HttpResponse;
    } catch (error) {
      if (!(error instanceof LoginRequiredError || error instanceof InsufficientScopeError)) throw error;
      const generation = await this.generation();
      if (generation === undefined) {
        const response = await this.#plain(url, init);
        if (response.ok) this.#openUntil = performance.now() + OPEN_MS;
        if (response.status !== 401) return response;
        response.discard();
      }
      if (!person) throw error;
      // The user may have declined in the meantime.
      if (!this.#parts.coordinator.canAsk) throw this.#parts.coordinator.failure ?? error;
      return await this.#asking(url, init, generation);
    }
  }

  async #plain(url: string, init: Parameters<Send>[1]): Promise<HttpResponse> {
    return await sendPlain(this.#parts.fetch, url, init);
  }

  /** Asks the user to log in if the server wants a login. */
  async #asking(
    url: string,
    init: Parameters<Send>[1],
    generation: number | undefined,
  ): Promise<HttpResponse> {
    const { vault, id, fetch, coordinator, login } = this.#parts;
    const patience = coordinator.patience(() => sharedLogin(vault, id).running !== undefined);
    coordinator.expect(generation);
    const send = authorizedFetch(vault, id.resource, {
      account: id.account,
      onInsufficientScope: 'throw',
      interaction: coordinator.interaction,
      login: { ...login, flow: 'browser' },
      fetch: async (...request) => {
        patience.rest();
        const response = await fetch(...request);
        if (response.status === 401 || response.status === 403) patience.start();
        return response;
      },
    });
    const signal = AbortSignal.any([init.signal, patience.signal]);
    try {
      return (await send(url, { ...init, signal })) as unknown as HttpResponse;
    } catch (error) {
      // Another process has logged in while this request waited for its turn.
      if (error instanceof LoginOvertaken) return (await this.#quiet(url, init)) as unknown as HttpResponse;
      throw error;
    } finally {
      patience.rest();
    }
  }

  #refused(): LoginRequiredError {
    const { resource, account } = this.#parts.id;
    return new LoginRequiredError(`${resource} does not take this login.`, {
      hint: `Log in again: ${loginCommand(resource, account)}`,
    });
  }
}

/** Follows redirects within the origin, and adds no headers. */
export async function sendPlain(fetch: Fetch, url: string, init: Parameters<Send>[1]): Promise<HttpResponse> {
  const request = await outgoing(url, init);
  const response = await followWithinOrigin(request, (one) => fetch(one.url, one.init));
  return response as unknown as HttpResponse;
}

/** Sends again, with pauses, as long as the request provably did not leave. */
export async function persistently<T>(signal: AbortSignal, request: () => Promise<T>): Promise<T> {
  for (const ms of UNSENT_PAUSES_MS) {
    try {
      return await request();
    } catch (error) {
      if (!(error instanceof NetworkError) || !error.unsent) throw error;
      await sleep(ms, signal);
    }
  }
  return request();
}
