import type { HoldfastError } from '../errors.ts';
import type { RefresherState } from '../system/metric-channel.ts';

/** How many credentials of a store are fresh, due for a refresh, need a person, or do not open here. */
export type RefresherStates = Readonly<Record<RefresherState, number>>;

/** What came of keeping one login warm. */
export interface RefreshedLogin {
  readonly resource: string;
  readonly account: string;
  /** `failed`: it may do better at the next try. */
  readonly outcome: 'refreshed' | 'login-required' | 'failed';
  readonly error?: HoldfastError | undefined;
}

export interface RefresherOptions {
  /** How often to look for new logins, in milliseconds. Default 30,000. A login that is known is looked at when it is due. */
  readonly everyMs?: number | undefined;
  /** How many refreshes may be begun a minute at one authorization server. Default 600. */
  readonly ratePerMinute?: number | undefined;
  /** End when everything that is due has been tried once. */
  readonly once?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Hears the counts after each look; must not throw. */
  readonly onLook?: ((states: RefresherStates) => void) | undefined;
  /** Hears how each refresh went; must not throw. */
  readonly onRefresh?: ((login: RefreshedLogin) => void) | undefined;
}

export interface RefresherResult {
  readonly states: RefresherStates;
  /** How many logins have new tokens: refreshed here, or found refreshed by another process when it was their turn. */
  readonly refreshed: number;
  /** Why refreshes failed that may do better; with `once` all of them, else the last. */
  readonly failures: readonly HoldfastError[];
}
