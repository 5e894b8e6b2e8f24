import type { LoginInteraction, LoginOptions } from '../login/types.ts';

/** The type of the global `fetch`, or of a function with the same signature. */
export type Fetch = typeof globalThis.fetch;

/** Selects a login, and says how to make one. */
export interface SessionOptions {
  readonly account?: string;
  /** How to reach a person when a login is needed. Without it, no prompt appears and no browser opens. */
  readonly interaction?: LoginInteraction;
  /** How to log in. With a `grant` that needs no person, logins work without an `interaction`, too. */
  readonly login?: Omit<LoginOptions, 'account' | 'challenge' | 'interaction'>;
}

export interface AuthorizedFetchOptions extends SessionOptions {
  /**
   * The reaction when the server asks for more scopes and the login cannot get them. `respond` returns the 403
   * unchanged; `throw` throws an error that names the command to add them.
   */
  readonly onInsufficientScope?: 'respond' | 'throw';
  /** Sends the requests; by default the global `fetch`, which ignores the environment's proxy on Node 20. */
  readonly fetch?: Fetch;
}
