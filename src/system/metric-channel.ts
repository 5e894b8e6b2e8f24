import { channel } from 'node:diagnostics_channel';

/*
 * Publishes counts and timings on the diagnostics channel `holdfast:metric`. Without a subscriber a report costs one
 * comparison. No message names a resource, an account, a token or a key. It names only the authorization server's host
 * and words from a fixed list. The table in telemetry/metric-table.ts turns the messages into metrics.
 */

export type RefreshOutcome =
  /** The server issued new tokens. */
  | 'refreshed'
  /** The server refused permanently, and a person must log in. */
  | 'login-required'
  /** Another process was faster: this one sent nothing, or its request had no effect. */
  | 'superseded'
  | 'failed';

export type Metric =
  /** One refresh, from its lease to its outcome. */
  | {
      readonly name: 'refresh';
      readonly outcome: RefreshOutcome;
      /** The authorization server's issuer identifier. */
      readonly issuer: string;
      /** Number of requests sent to the token endpoint. */
      readonly attempts: number;
      /** The claim's fencing token, if the lease is a claim. */
      readonly epoch: number | undefined;
      readonly ms: number;
      /** Milliseconds since the epoch. */
      readonly startedAt: number;
      /** The error's code, if the refresh failed. */
      readonly code: string | undefined;
    }
  /** `lost`: the claim expired before the first byte was sent, so no request was sent. */
  | { readonly name: 'claim'; readonly outcome: 'won' | 'held' | 'superseded' | 'lost' }
  /** The first attempt to store newly issued tokens failed. */
  | { readonly name: 'commit-retry' }
  | { readonly name: 'set-aside'; readonly why: 'damaged' | 'late' | 'unpersisted' }
  /** A caller received a token: from memory, unchanged from the store, or from a refresh. */
  | { readonly name: 'served'; readonly from: 'memory' | 'store' | 'refresh' }
  /** One call to a store engine; `code` is set if it failed. */
  | {
      readonly name: 'engine-call';
      readonly operation: string;
      readonly ms: number;
      readonly code: string | undefined;
    }
  /** The state of all logins in the store, after the refresher's scan. */
  | { readonly name: 'warm'; readonly states: Readonly<Record<RefresherState, number>> };

/** `undecryptable`: its key is not available, or the record is damaged. */
export type RefresherState = 'fresh' | 'due' | 'login-required' | 'undecryptable';

const metrics = channel('holdfast:metric');

/** Tells whether anybody subscribes, so that callers skip costly measurements otherwise. */
export function isMeasured(): boolean {
  return metrics.hasSubscribers;
}

export function measure(metric: Metric): void {
  if (metrics.hasSubscribers) metrics.publish(metric);
}

/** Passes each later metric to the listener, which must not throw. Returns the function that unsubscribes it. */
export function onMetric(listener: (metric: Metric) => void): () => void {
  const hear = (message: unknown) => listener(message as Metric);
  metrics.subscribe(hear);
  return () => {
    metrics.unsubscribe(hear);
  };
}
