import { AsyncLocalStorage } from 'node:async_hooks';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { request } from 'node:http';
import { connect } from 'node:net';
import { type Context, context, metrics, ROOT_CONTEXT, type Span, trace } from '@opentelemetry/api';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { EngineStore } from '../../src/store/engine/engine-store.ts';
import { type Metric, measure, onMetric } from '../../src/system/metric-channel.ts';
import { serveMetrics } from '../../src/telemetry/http.ts';
import { METRICS } from '../../src/telemetry/metric-table.ts';
import { observeWithOpenTelemetry, PrometheusMetrics } from '../../src/telemetry/opentelemetry.ts';
import { memoryEngine, SharedMemory } from '../support/engines/memory-engine.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { expire, loggedIn, scripted, stored, vaultAt } from '../support/homes/vault.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { commandLine } from '../support/transcript.ts';

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

/** Parses the text format into series. @throws for a line that is not of that format */
function parsed(text: string): Map<string, number> {
  const series = new Map<string, number>();
  for (const line of text.trimEnd().split('\n')) {
    if (/^# (HELP|TYPE) [a-z_]+ \S/.test(line)) continue;
    const sample = /^([a-z_]+(?:\{(?:[a-z_]+="(?:[^"\\]|\\.)*"(?:,|(?=\})))*\})?) ([0-9.e+-]+)$/.exec(line);
    if (sample === null) throw new Error(`Not the text format: ${line}`);
    series.set(sample[1] ?? '', Number(sample[2]));
  }
  return series;
}

function counted(): PrometheusMetrics {
  const collected = new PrometheusMetrics();
  onTestFinished(() => collected.close());
  return collected;
}

function heard(): Metric[] {
  const all: Metric[] = [];
  onTestFinished(onMetric((metric) => void all.push(metric)));
  return all;
}

describe('the metrics', () => {
  test('count a refresh with its outcome, requests and server, and the source of each token', async () => {
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    await expire(home, servers.resource);
    const all = heard();
    const collected = counted();
    await vault.token(servers.resource);
    await vault.token(servers.resource);
    expect(all.filter(({ name }) => name === 'served')).toEqual([
      { name: 'served', from: 'refresh' },
      { name: 'served', from: 'memory' },
    ]);
    expect(all.filter(({ name }) => name === 'refresh')).toEqual([
      expect.objectContaining({ outcome: 'refreshed', attempts: 1, issuer: servers.issuer, code: undefined }),
    ]);
    const series = parsed(collected.text());
    const issuer = new URL(servers.issuer).host;
    expect(series.get(`holdfast_refreshes_total{outcome="refreshed",issuer="${issuer}"}`)).toBe(1);
    expect(series.get(`holdfast_refresh_requests_total{issuer="${issuer}"}`)).toBe(1);
    expect(series.get('holdfast_refresh_duration_seconds_count{outcome="refreshed"}')).toBe(1);
    expect(series.get('holdfast_refresh_duration_seconds_bucket{outcome="refreshed",le="+Inf"}')).toBe(1);
    expect(series.get('holdfast_tokens_served_total{from="memory"}')).toBe(1);
  });

  test('count a refresh that the server refuses by its outcome', async () => {
    const own = await startServers();
    onTestFinished(() => own.stop());
    const { home, vault } = await loggedIn(await temporaryHome(), own.resource);
    await expire(home, own.resource);
    await own.revokeGrants();
    const all = heard();
    await expect(vault.token(own.resource)).rejects.toMatchObject({ code: 'login-required' });
    expect(all.filter(({ name }) => name === 'refresh')).toEqual([
      expect.objectContaining({ outcome: 'login-required', attempts: 2, code: 'login-required' }),
    ]);
  });

  test('count claims, calls of the engine, its errors, and retried writes', async () => {
    const home = await temporaryHome();
    const engine = memoryEngine(new SharedMemory());
    const { vault } = vaultAt(home, { store: new EngineStore(engine) });
    await servers.behave({ accessTokenTtlSeconds: 1 });
    await vault.login(servers.resource, { interaction: scripted });
    await servers.behave({ accessTokenTtlSeconds: 3600 });
    const collected = counted();
    engine.cut.add('write');
    const stop = onMetric((metric) => {
      if (metric.name === 'commit-retry') engine.cut.delete('write');
    });
    onTestFinished(stop);
    await vault.token(servers.resource, { rejectedGeneration: 1 });
    const series = parsed(collected.text());
    expect(series.get('holdfast_claims_total{outcome="won"}')).toBe(1);
    expect(series.get('holdfast_commit_retries_total')).toBe(1);
    expect(series.get('holdfast_engine_errors_total{operation="write",code="store-unreachable"}')).toBe(1);
    expect(series.get('holdfast_engine_call_duration_seconds_count{operation="write"}')).toBe(2);
    expect(series.get('holdfast_engine_call_duration_seconds_count{operation="claim"}')).toBe(1);
  });

  test('name no resource, account, token or key', async () => {
    const collected = counted();
    const home = await temporaryHome();
    const { vault } = vaultAt(home);
    await vault.login(servers.resource, { account: 'somebody', interaction: scripted });
    const held = await stored(home, servers.resource, 'somebody');
    await vault.token(servers.resource, {
      account: 'somebody',
      rejectedGeneration: held.credential.generation,
    });
    const { credential, address } = await stored(home, servers.resource, 'somebody');
    const text = collected.text();
    expect(text).toContain(new URL(servers.issuer).host);
    const { accessToken, refreshToken } = credential.tokens;
    for (const secret of [new URL(servers.resource).host, 'somebody', address.id, address.kid]) {
      expect(text).not.toContain(secret);
    }
    for (const secret of [accessToken, refreshToken]) expect(text).not.toContain(secret?.reveal());
  });

  test('count each call of an engine that a URL names once', async () => {
    const all = heard();
    const { vault } = vaultAt(await temporaryHome(), { store: 'redis://127.0.0.1:1' });
    await expect(vault.list()).rejects.toThrow();
    expect(all).toEqual([
      { name: 'engine-call', operation: 'list', ms: expect.any(Number), code: 'store-unreachable' },
    ]);
  });

  test('have a limited number of series for any number of servers, and survive an odd name', () => {
    const collected = counted();
    const refresh = {
      name: 'refresh',
      outcome: 'failed',
      attempts: 1,
      epoch: 1,
      ms: 5,
      startedAt: 0,
    } as const;
    for (let count = 0; count < 500; count += 1) {
      measure({ ...refresh, issuer: `https://as-${count}.example`, code: 'network' });
    }
    measure({ ...refresh, issuer: 'not"a\nURL', code: 'network' });
    const series = [...parsed(collected.text())].filter(([name]) =>
      name.startsWith('holdfast_refreshes_total'),
    );
    expect(series).toHaveLength(101);
    expect(series.find(([name]) => name.includes('issuer="other"'))?.[1]).toBe(401);
  });

  test('have histograms that add up: each bucket includes the ones below it', () => {
    const collected = counted();
    for (const ms of [1, 30, 30, 700, 200_000]) {
      measure({ name: 'engine-call', operation: 'read', ms, code: undefined });
    }
    const series = parsed(collected.text());
    const bucket = (le: string) =>
      series.get(`holdfast_engine_call_duration_seconds_bucket{operation="read",le="${le}"}`);
    expect(['0.005', '0.025', '0.1', '0.5', '1', '90', '+Inf'].map(bucket)).toEqual([1, 1, 3, 3, 4, 4, 5]);
    expect(series.get('holdfast_engine_call_duration_seconds_sum{operation="read"}')).toBeCloseTo(200.761);
  });

  test('are exactly those listed in docs/fleet.md', async () => {
    const text = await readFile(new URL('../../docs/fleet.md', import.meta.url), 'utf8');
    const rows = [...text.matchAll(/^\| `(holdfast_\w+)`[^|]*\| (counter|gauge|histogram) +\|(.*)\|$/gm)];
    const defined = Object.entries(METRICS);
    expect(rows.map(([, name, type]) => [name, type])).toEqual(
      defined.map(([name, { type }]) => [name, type]),
    );
    for (const [index, [, { labels }]] of defined.entries()) {
      for (const label of labels) expect(rows[index]?.[3]).toContain(`\`${label}\``);
    }
  });

  test('count nothing once the collector is closed', () => {
    const collected = counted();
    collected.close();
    measure({ name: 'commit-retry' });
    expect(parsed(collected.text()).size).toBe(0);
  });
});

describe('the metrics server', () => {
  test('the metrics server answers at /metrics only, on this machine, and is gone once closed', async () => {
    const server = await serveMetrics(0);
    const { hostname } = new URL(server.url);
    expect(hostname).toBe('127.0.0.1');
    const answer = await fetch(server.url);
    expect(answer.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
    for (const name of Object.keys(METRICS)) expect(await answer.clone().text()).toContain(`# TYPE ${name} `);
    expect((await fetch(new URL('/', server.url))).status).toBe(404);
    expect((await fetch(server.url, { method: 'POST' })).status).toBe(405);
    await server.close();
    await expect(fetch(server.url)).rejects.toThrow();
  });

  test('the metrics server tells nothing to a web page whose name was rebound to its address', async () => {
    const server = await serveMetrics(0);
    onTestFinished(() => server.close());
    const { port } = new URL(server.url);
    const status = (host: string) =>
      new Promise<number | undefined>((settle, fail) => {
        const asked = request({ host: '127.0.0.1', port, path: '/metrics', headers: { host } }, (answer) => {
          answer.resume();
          settle(answer.statusCode);
        });
        asked.on('error', fail).end();
      });
    expect(await status(`127.0.0.1:${port}`)).toBe(200);
    expect(await status(`localhost:${port}`)).toBe(200);
    for (const host of [`rebound.example:${port}`, '127.0.0.1', `127.0.0.1:1`, `[::1]:${port}`]) {
      expect(await status(host)).toBe(421);
    }
  });

  test('the metrics server answers while many connections are silent, and closes those', async () => {
    const server = await serveMetrics(0);
    onTestFinished(() => server.close());
    const { port } = new URL(server.url);
    const idle = await Promise.all(
      Array.from({ length: 200 }, async (_, at) => {
        const socket = connect(Number(port), '127.0.0.1');
        socket.on('error', () => {});
        onTestFinished(() => void socket.destroy());
        await once(socket, 'connect');
        if (at % 2 === 1) socket.write('GET /metrics HTTP/1.1\r\n');
        return socket;
      }),
    );
    expect((await fetch(server.url)).status).toBe(200);
    const closed = idle.map((socket) => socket.resume() && once(socket, 'close'));
    await Promise.all(closed);
    expect((await fetch(server.url)).status).toBe(200);
  });

  test('`holdfast refresher` starts the metrics server, and says where', async () => {
    const { home } = await loggedIn(await temporaryHome(), servers.resource);
    await expire(home, servers.resource);
    const running = commandLine(home.path).start([
      'refresher',
      '--keyring',
      'file',
      '--metrics-port',
      '0',
      '--log',
      'json',
    ]);
    onTestFinished(() => running.kill('SIGKILL'));
    await running.says('"event":"refreshed"');
    const [first = ''] = running.said().err.split('\n');
    const { url } = JSON.parse(first) as { url: string };
    const series = parsed(await (await fetch(url)).text());
    const issuer = new URL(servers.issuer).host;
    expect(series.get(`holdfast_refreshes_total{outcome="refreshed",issuer="${issuer}"}`)).toBe(1);
    expect(series.has('holdfast_refresher_credentials{state="fresh"}')).toBe(true);
    running.kill('SIGTERM');
    expect((await running.ended).code).toBe(0);
  });

  test('`holdfast refresher` reports a port that is in use, and says what to do', async () => {
    const server = await serveMetrics(0);
    onTestFinished(() => server.close());
    const { port } = new URL(server.url);
    const { code, err } = await commandLine((await temporaryHome()).path).run([
      'refresher',
      '--metrics-port',
      port,
    ]);
    expect(code).toBe(2);
    expect(err).toContain('EADDRINUSE');
    expect(err).toContain('--metrics-port');
  });
});

describe('OpenTelemetry', () => {
  interface Told {
    readonly name: string;
    readonly attributes: Readonly<Record<string, unknown>>;
    readonly parent: string | undefined;
    status: number | undefined;
    ended: boolean;
  }

  /** A program that has registered its own providers, in memory. */
  function program() {
    const spans: Told[] = [];
    const values: [string, number, unknown][] = [];
    const storage = new AsyncLocalStorage<Context>();
    context.setGlobalContextManager({
      active: () => storage.getStore() ?? ROOT_CONTEXT,
      with: (active, step, self, ...given) => storage.run(active, () => Reflect.apply(step, self, given)),
      bind: (_context, target) => target,
      enable() {
        return this;
      },
      disable() {
        return this;
      },
    });
    const startSpan = (name: string, options: { attributes?: Record<string, unknown> } = {}) => {
      const parent = trace.getSpan(context.active()) as unknown as { told?: Told } | undefined;
      const told: Told = {
        name,
        attributes: options.attributes ?? {},
        parent: parent?.told?.name,
        status: undefined,
        ended: false,
      };
      spans.push(told);
      return {
        told,
        setStatus: ({ code }: { code: number }) => void (told.status = code),
        end: () => void (told.ended = true),
      } as unknown as Span;
    };
    trace.setGlobalTracerProvider({ getTracer: () => ({ startSpan }) as never });
    const instrument = (name: string) => ({
      add: (value: number, labels: unknown) => void values.push([name, value, labels]),
      record: (value: number, labels: unknown) => void values.push([name, value, labels]),
    });
    metrics.setGlobalMeterProvider({
      getMeter: () =>
        ({ createCounter: instrument, createGauge: instrument, createHistogram: instrument }) as never,
    });
    onTestFinished(() => {
      trace.disable();
      metrics.disable();
      context.disable();
    });
    return { spans, values, within: (name: string) => trace.setSpan(context.active(), startSpan(name)) };
  }

  test('OpenTelemetry gets the metrics, and a span for each refresh under its caller’s', async () => {
    const { spans, values, within } = program();
    const stop = await observeWithOpenTelemetry();
    onTestFinished(stop);
    const { home, vault } = await loggedIn(await temporaryHome(), servers.resource);
    await expire(home, servers.resource);
    await context.with(within('request'), () => vault.token(servers.resource));
    expect(spans.filter(({ name }) => name === 'holdfast.refresh')).toEqual([
      {
        name: 'holdfast.refresh',
        parent: 'request',
        status: undefined,
        ended: true,
        attributes: {
          'holdfast.outcome': 'refreshed',
          'holdfast.attempts': 1,
          'holdfast.epoch': expect.any(Number),
          'server.address': new URL(servers.issuer).host,
        },
      },
    ]);
    expect(values).toContainEqual(['holdfast.tokens.served', 1, { from: 'refresh' }]);
    const { tokens } = (await stored(home, servers.resource)).credential;
    const said = JSON.stringify([spans, values]);
    for (const secret of [tokens.accessToken, tokens.refreshToken])
      expect(said).not.toContain(secret?.reveal());
    stop();
    const before = values.length;
    await vault.token(servers.resource);
    expect(values).toHaveLength(before);
  });

  test('OpenTelemetry gets the error code of a failed refresh', async () => {
    const { spans } = program();
    onTestFinished(await observeWithOpenTelemetry());
    const home = await temporaryHome();
    const own = await startServers();
    onTestFinished(() => own.stop());
    const { vault } = await loggedIn(home, own.resource);
    await expire(home, own.resource);
    await own.behave({ token: '500', times: 100 });
    await expect(vault.token(own.resource, { timeoutMs: 500 })).rejects.toMatchObject({ retryable: true });
    await expect
      .poll(() => spans.filter(({ name }) => name === 'holdfast.refresh'))
      .toEqual([
        expect.objectContaining({
          status: 2,
          attributes: expect.objectContaining({ 'holdfast.outcome': 'failed', 'error.type': 'network' }),
        }),
      ]);
  });
});
