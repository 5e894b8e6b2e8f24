import type { HoldfastError } from '../errors.ts';
import type { RefresherState } from '../system/metric-channel.ts';

/** How many credentials of a store are fresh, are due for a refresh, need a person, or cannot be decrypted here. */
export type RefresherStates = Readonly<Record<RefresherState, number>>;

/** The outcome of the refresher's work on one login. */
export interface RefreshedLogin {
  readonly resource: string;
  readonly account: string;
  /** `failed`: the next try may succeed. */
  readonly outcome: 'refreshed' | 'login-required' | 'failed';
  readonly error?: HoldfastError | undefined;
}

export interface RefresherOptions {
  /**
   * How often to look for new logins, in milliseconds. Default 30,000. The refresher looks at a known login when it is
   * due.
   */
  readonly everyMs?: number;
  /** Maximum number of refreshes per minute at one authorization server. Default 600. */
  readonly ratePerMinute?: number;
  /** End after one try at every login that is due. */
  readonly once?: boolean;
  readonly signal?: AbortSignal;
  /** Receives the counts after each look; must not throw. */
  readonly onLook?: (states: RefresherStates) => void;
  /** Receives the outcome of each refresh; must not throw. */
  readonly onRefresh?: (login: RefreshedLogin) => void;
}

export interface RefresherResult {
  readonly states: RefresherStates;
  /** Number of logins with new tokens: refreshed here, or by another process before their turn came. */
  readonly refreshed: number;
  /** Why refreshes failed that may succeed later: all of them with `once`, else only the last. */
  readonly failures: readonly HoldfastError[];
}
