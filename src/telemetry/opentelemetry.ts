/**
 * `holdfast/telemetry`: the activity of this process's vaults, for Prometheus and OpenTelemetry (docs/fleet.md).
 * Nothing is counted before a caller starts it here.
 */
import { InvalidArgumentError } from '../errors.ts';
import { type Metric, onMetric } from '../system/metric-channel.ts';
import {
  BUCKETS_S,
  INSTRUMENTATION,
  IssuerHosts,
  METRICS,
  type MetricName,
  samplesOf,
} from './metric-table.ts';

export { PROMETHEUS_CONTENT_TYPE, PrometheusMetrics } from './prometheus.ts';

type Api = typeof import('@opentelemetry/api');

/**
 * Makes every refresh a span `holdfast.refresh` from now on, under its caller's span. The metrics of docs/fleet.md go
 * to the global meter; their names lose the unit and use dots. The SDK that the program registered with
 * `@opentelemetry/api` receives both; without an SDK they go nowhere.
 *
 * @returns the function that ends it
 * @throws InvalidArgumentError when the package `@opentelemetry/api` is not installed
 */
export async function observeWithOpenTelemetry(): Promise<() => void> {
  const api = await load();
  const { name, version } = INSTRUMENTATION;
  const tracer = api.trace.getTracer(name, version);
  const record = recorder(api);
  const hosts = new IssuerHosts();
  return onMetric((metric) => {
    for (const sample of samplesOf(metric, hosts)) record(sample);
    if (metric.name === 'refresh') span(api, tracer, metric, hosts);
  });
}

async function load(): Promise<Api> {
  try {
    return await import('@opentelemetry/api');
  } catch (cause) {
    throw new InvalidArgumentError('The package @opentelemetry/api, which this needs, cannot be loaded.', {
      cause,
      hint: 'npm install @opentelemetry/api',
    });
  }
}

function recorder({ metrics }: Api): (sample: ReturnType<typeof samplesOf>[number]) => void {
  const meter = metrics.getMeter(INSTRUMENTATION.name, INSTRUMENTATION.version);
  const record = new Map<MetricName, (value: number, labels: Readonly<Record<string, string>>) => void>();
  for (const [name, { type, help }] of Object.entries(METRICS)) {
    const named = openTelemetryName(name);
    const make = { counter: 'createCounter', gauge: 'createGauge', histogram: 'createHistogram' } as const;
    const options =
      type === 'histogram'
        ? { description: help, unit: 's', advice: { explicitBucketBoundaries: [...BUCKETS_S] } }
        : { description: help };
    const instrument = meter[make[type]](named, options);
    record.set(name as MetricName, (value, labels) => {
      if ('add' in instrument) instrument.add(value, labels);
      else instrument.record(value, labels);
    });
  }
  return ({ metric, labels, value }) => record.get(metric)?.(value, labels);
}

function openTelemetryName(name: string): string {
  return name.replace(/_(total|seconds)$/, '').replaceAll('_', '.');
}

/** Made when the refresh has ended, in the context in which it started, so that its parent is the caller's span. */
function span(
  { SpanKind, SpanStatusCode }: Api,
  tracer: ReturnType<Api['trace']['getTracer']>,
  metric: Extract<Metric, { name: 'refresh' }>,
  hosts: IssuerHosts,
): void {
  const { outcome, attempts, epoch, code, startedAt, ms } = metric;
  const one = tracer.startSpan('holdfast.refresh', {
    kind: SpanKind.CLIENT,
    startTime: startedAt,
    attributes: {
      'holdfast.outcome': outcome,
      'holdfast.attempts': attempts,
      'server.address': hosts.label(metric.issuer),
      ...(epoch === undefined ? {} : { 'holdfast.epoch': epoch }),
      ...(code === undefined ? {} : { 'error.type': code }),
    },
  });
  if (outcome === 'failed' || outcome === 'login-required') one.setStatus({ code: SpanStatusCode.ERROR });
  one.end(startedAt + ms);
}
