import { type Metric, onMetric } from '../system/metric-channel.ts';
import { BUCKETS_S, IssuerHosts, METRICS, type MetricName, samplesOf } from './metric-table.ts';

/*
 * The metrics of this process in the text format of Prometheus, 0.0.4
 * (https://prometheus.io/docs/instrumenting/exposition_formats/).
 */

export const PROMETHEUS_CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

interface Histogram {
  readonly counts: number[];
  sum: number;
  count: number;
}

/** Counts the activity of all vaults in this process, from its construction until `close`. */
export class PrometheusMetrics {
  readonly #hosts = new IssuerHosts();
  /** By metric, then by the text of its labels. */
  readonly #values = new Map<MetricName, Map<string, number>>();
  readonly #histograms = new Map<MetricName, Map<string, Histogram>>();
  readonly #stop: () => void;

  constructor() {
    this.#stop = onMetric((metric) => this.#take(metric));
  }

  /** The body of the answer to a scrape; its content type is `PROMETHEUS_CONTENT_TYPE`. */
  text(): string {
    const lines: string[] = [];
    for (const [name, { type, help }] of Object.entries(METRICS)) {
      const metric = name as MetricName;
      lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`);
      for (const [labels, value] of this.#values.get(metric) ?? [])
        lines.push(`${name}${braced(labels)} ${value}`);
      for (const [labels, histogram] of this.#histograms.get(metric) ?? [])
        lines.push(...linesOf(name, labels, histogram));
    }
    return `${lines.join('\n')}\n`;
  }

  close(): void {
    this.#stop();
  }

  #take(message: Metric): void {
    for (const { metric, labels, value } of samplesOf(message, this.#hosts)) {
      const key = Object.entries(labels)
        .map(([label, text]) => `${label}="${escaped(text)}"`)
        .join(',');
      const { type } = METRICS[metric];
      if (type === 'histogram') {
        observe(seriesOf(this.#histograms, metric), key, value);
      } else {
        const series = seriesOf(this.#values, metric);
        series.set(key, type === 'gauge' ? value : (series.get(key) ?? 0) + value);
      }
    }
  }
}

function seriesOf<T>(all: Map<MetricName, Map<string, T>>, metric: MetricName): Map<string, T> {
  const series = all.get(metric) ?? new Map<string, T>();
  all.set(metric, series);
  return series;
}

function observe(series: Map<string, Histogram>, key: string, value: number): void {
  const histogram = series.get(key) ?? { counts: BUCKETS_S.map(() => 0), sum: 0, count: 0 };
  series.set(key, histogram);
  histogram.sum += value;
  histogram.count += 1;
  const bucket = BUCKETS_S.findIndex((bound) => value <= bound);
  if (bucket >= 0) histogram.counts[bucket] = (histogram.counts[bucket] ?? 0) + 1;
}

/** Buckets are cumulative in that format. */
function linesOf(name: string, labels: string, { counts, sum, count }: Histogram): string[] {
  const before = labels === '' ? '' : `${labels},`;
  let below = 0;
  const buckets = BUCKETS_S.map((bound, index) => {
    below += counts[index] ?? 0;
    return `${name}_bucket{${before}le="${bound}"} ${below}`;
  });
  return [
    ...buckets,
    `${name}_bucket{${before}le="+Inf"} ${count}`,
    `${name}_sum${braced(labels)} ${sum}`,
    `${name}_count${braced(labels)} ${count}`,
  ];
}

function braced(labels: string): string {
  return labels === '' ? '' : `{${labels}}`;
}

function escaped(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
