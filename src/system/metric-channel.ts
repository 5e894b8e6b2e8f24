import { channel } from 'node:diagnostics_channel';

/*
 * What can be counted and timed, told to whoever listens on the diagnostics channel `holdfast:metric`. Without a listener
 * it costs one comparison. No message names a resource, an account, a token or a key: only the authorization server, by its
 * host, and words of a fixed list. The table in telemetry/metric-table.ts makes metrics of it.
 */

export type RefreshOutcome =
  /** The server gave new tokens. */
  | 'refreshed'
  /** It refused for good, and a person must log in. */
  | 'login-required'
  /** Nothing was sent, or what was sent made no difference: another process had been faster. */
  | 'superseded'
  | 'failed';

export type Metric =
  /** One refresh, from its lease to its outcome. */
  | {
      readonly name: 'refresh';
      readonly outcome: RefreshOutcome;
      /** The authorization server's issuer identifier. */
      readonly issuer: string;
      /** How often something was presented to the server. */
      readonly attempts: number;
      /** Which claim it was, where the lease is one. */
      readonly epoch: number | undefined;
      readonly ms: number;
      /** Milliseconds since the epoch. */
      readonly startedAt: number;
      /** The code of the error, where there was one. */
      readonly code: string | undefined;
    }
  /** `lost`: it lapsed before the first byte left, so nothing was sent. */
  | { readonly name: 'claim'; readonly outcome: 'won' | 'held' | 'superseded' | 'lost' }
  /** A write of tokens that the server gave did not land at the first try. */
  | { readonly name: 'commit-retry' }
  | { readonly name: 'set-aside'; readonly why: 'damaged' | 'late' | 'unpersisted' }
  /** A caller got a token: from memory, from the store as it was, or from a refresh. */
  | { readonly name: 'served'; readonly from: 'memory' | 'store' | 'refresh' }
  /** One call of an engine; `code` where it failed. */
  | {
      readonly name: 'engine-call';
      readonly operation: string;
      readonly ms: number;
      readonly code: string | undefined;
    }
  /** What the refresher knows of the store after a look. */
  | { readonly name: 'warm'; readonly states: Readonly<Record<RefresherState, number>> };

/** `undecryptable`: its key is not here, or it is damaged. */
export type RefresherState = 'fresh' | 'due' | 'login-required' | 'undecryptable';

const metrics = channel('holdfast:metric');

/** Whether somebody listens: what is dear to find out need not be found out otherwise. */
export function isMeasured(): boolean {
  return metrics.hasSubscribers;
}

export function measure(metric: Metric): void {
  if (metrics.hasSubscribers) metrics.publish(metric);
}

/** Hears of each from now on. The listener must not throw. Answers the function that ends it. */
export function onMetric(listener: (metric: Metric) => void): () => void {
  const hear = (message: unknown) => listener(message as Metric);
  metrics.subscribe(hear);
  return () => {
    metrics.unsubscribe(hear);
  };
}
