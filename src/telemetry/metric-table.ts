import type { Metric } from '../system/metric-channel.ts';
import { VERSION } from '../version.ts';

/*
 * The one table of metrics, for Prometheus, OpenTelemetry and docs/fleet.md. Labels have few values, so a fleet of any
 * size has few time series. No label names a resource, an account, a token or a key.
 */

export interface MetricDefinition {
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  readonly labels: readonly string[];
}

export const METRICS = {
  holdfast_refreshes_total: {
    type: 'counter',
    help: 'Refreshes by outcome and issuer host.',
    labels: ['outcome', 'issuer'],
  },
  holdfast_refresh_requests_total: {
    type: 'counter',
    help: 'Requests that presented something to a token endpoint, by issuer host.',
    labels: ['issuer'],
  },
  holdfast_refresh_duration_seconds: {
    type: 'histogram',
    help: 'How long refreshes took, from the lease to the outcome, by outcome.',
    labels: ['outcome'],
  },
  holdfast_claims_total: {
    type: 'counter',
    help: 'Claims of leases in an engine, by outcome.',
    labels: ['outcome'],
  },
  holdfast_commit_retries_total: {
    type: 'counter',
    help: 'Writes of new tokens that did not land at the first try.',
    labels: [],
  },
  holdfast_set_aside_total: {
    type: 'counter',
    help: 'Records and answers that were not stored where they belong, by reason.',
    labels: ['why'],
  },
  holdfast_tokens_served_total: {
    type: 'counter',
    help: 'Tokens given to callers, by where they came from.',
    labels: ['from'],
  },
  holdfast_engine_errors_total: {
    type: 'counter',
    help: 'Calls of the engine that failed, by operation and error code.',
    labels: ['operation', 'code'],
  },
  holdfast_engine_call_duration_seconds: {
    type: 'histogram',
    help: 'How long calls of the engine took, by operation.',
    labels: ['operation'],
  },
  holdfast_refresher_credentials: {
    type: 'gauge',
    help: 'Credentials that the refresher knows, by state.',
    labels: ['state'],
  },
} as const satisfies Readonly<Record<string, MetricDefinition>>;

export type MetricName = keyof typeof METRICS;

/** Upper bounds of a histogram's buckets, in seconds. */
export const BUCKETS_S = [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 90] as const;

/** Tells the reader of the metrics which library made them. */
export const INSTRUMENTATION = { name: 'holdfast', version: VERSION } as const;

export interface Sample {
  readonly metric: MetricName;
  readonly labels: Readonly<Record<string, string>>;
  /** Added to a counter, or recorded in a gauge or a histogram; times are in seconds. */
  readonly value: number;
}

/** Maximum number of authorization servers with a series of their own; the rest share one, `other`. */
const MOST_ISSUERS = 100;

/** The hosts that have a series of their own in one collector. */
export class IssuerHosts {
  readonly #known = new Set<string>();

  label(issuer: string): string {
    const host = URL.canParse(issuer) ? new URL(issuer).host : '';
    if (host === '' || host.length > 255) return 'other';
    if (!this.#known.has(host)) {
      if (this.#known.size >= MOST_ISSUERS) return 'other';
      this.#known.add(host);
    }
    return host;
  }
}

/** The samples that one message adds to the metrics. */
export function samplesOf(metric: Metric, hosts: IssuerHosts): readonly Sample[] {
  switch (metric.name) {
    case 'refresh': {
      const issuer = hosts.label(metric.issuer);
      const { outcome } = metric;
      return [
        { metric: 'holdfast_refreshes_total', labels: { outcome, issuer }, value: 1 },
        { metric: 'holdfast_refresh_requests_total', labels: { issuer }, value: metric.attempts },
        { metric: 'holdfast_refresh_duration_seconds', labels: { outcome }, value: metric.ms / 1000 },
      ];
    }
    case 'claim':
      return [{ metric: 'holdfast_claims_total', labels: { outcome: metric.outcome }, value: 1 }];
    case 'commit-retry':
      return [{ metric: 'holdfast_commit_retries_total', labels: {}, value: 1 }];
    case 'set-aside':
      return [{ metric: 'holdfast_set_aside_total', labels: { why: metric.why }, value: 1 }];
    case 'served':
      return [{ metric: 'holdfast_tokens_served_total', labels: { from: metric.from }, value: 1 }];
    case 'engine-call': {
      const { operation, code, ms } = metric;
      return [
        { metric: 'holdfast_engine_call_duration_seconds', labels: { operation }, value: ms / 1000 },
        ...(code === undefined
          ? []
          : [{ metric: 'holdfast_engine_errors_total', labels: { operation, code }, value: 1 } as const]),
      ];
    }
    case 'warm':
      return Object.entries(metric.states).map(([state, value]) => ({
        metric: 'holdfast_refresher_credentials',
        labels: { state },
        value,
      }));
  }
}
