import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { bundled } from '../../test/support/homes/bundle.ts';
import { CanaryScan } from './canary.ts';
import { Chaos } from './chaos.ts';
import { Credentials } from './credentials.ts';
import { type EngineName, startEngine } from './engines.ts';
import type { Final } from './evidence.ts';
import { Fleet } from './fleet.ts';
import { historyOf } from './history.ts';
import { type Issuer, isStrict, type Mode, OwnIssuer } from './issuer.ts';
import { judge, type Verdict } from './judge.ts';
import { type LoginStore, Logins } from './logins.ts';
import { oldWorker } from './old-build.ts';
import { openStore } from './open-store.ts';
import { journeysOf, planOf, WORKERS } from './plan.ts';
import { AuthorizationServer } from './server.ts';
import { sharedNow } from './shared-clock.ts';
import { Stalls } from './stalls.ts';
import { isProtocol, type Protocol, putLogin, readLogin } from './stand-ins/stand-ins.ts';
import type { Span } from './troubles.ts';

export interface TortureOptions {
  readonly engine: EngineName;
  readonly mode: Mode;
  readonly protocol: Protocol | 'holdfast';
  readonly faults: number;
  /** Between two faults, in milliseconds. */
  readonly everyMs: number;
  readonly seed: number;
  readonly credentials: number;
  readonly loops: number;
  /** Of an access token, in milliseconds. */
  readonly lifeMs: number;
  readonly leaseMs: number;
  /** How many token requests meet with an accident on the way, 0 to 1. */
  readonly lossShare: number;
  /** How long the server takes at most before it decides, in milliseconds. */
  readonly slowestMs: number;
  /** Rekey, logout, export and import, logins over logins, fail-over and clocks, beside what kills, stops and cuts. */
  readonly operations: boolean;
  /** Every second worker runs the build that a fleet is updated from. */
  readonly mixed: boolean;
  /** Keeps the directory of the run, with all logs. */
  readonly keep: boolean;
}

export const DEFAULTS: Omit<TortureOptions, 'engine' | 'mode' | 'seed'> = {
  protocol: 'holdfast',
  faults: 1000,
  everyMs: 55,
  credentials: 24,
  loops: 3,
  lifeMs: 900,
  leaseMs: 800,
  lossShare: 0.05,
  slowestMs: 300,
  operations: true,
  mixed: false,
  keep: false,
};

export interface Report extends Verdict {
  readonly faults: Readonly<Record<string, number>>;
  /** What became of token requests on their way. */
  readonly requests: Readonly<Record<string, number>>;
  readonly wrongClock: boolean;
  readonly otherBoots: boolean;
  readonly filesScanned: number;
  /** How long it took, in seconds. */
  readonly seconds: number;
  /** Where the logs are, if they were kept. */
  readonly directory: string | undefined;
}

/** What is told of a run while it goes on. */
export interface Progress {
  readonly faults: number;
  readonly presentations: number;
}

/** For servers of the `grace` and `replay` kind, in milliseconds: longer than any takeover. */
const WINDOW_MS = 30_000;
const WARM_UP_MS = 1_500;
/** Without faults, so that what is on its way arrives. */
const SETTLE_MS = 4_000;
/** So long at most it takes until everybody is logged in again, in milliseconds. */
const SETTLED_WITHIN_MS = 20_000;
const WATCH_EVERY_MS = 250;

/** One run, from the first process to the verdict. Leaves nothing behind, unless it is told to. */
export async function torture(
  options: TortureOptions,
  signal: AbortSignal,
  hear?: (progress: Progress) => void,
): Promise<Report> {
  const { mode, protocol, seed } = options;
  const begin = sharedNow();
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-torture-'));
  const endings: (() => unknown)[] = [
    async () => {
      if (!options.keep) await rm(directory, { recursive: true, force: true, maxRetries: 5 });
    },
  ];
  try {
    const plain = isProtocol(protocol) ? protocol : undefined;
    const canary = `cnry${randomBytes(8).toString('hex')}`;
    const program = await bundled(directory, 'worker', new URL('worker.ts', import.meta.url));
    const before = options.mixed ? await oldWorker(directory) : program;
    const engine = await startEngine(options.engine, directory);
    endings.push(() => engine.close());
    const issuer: Issuer =
      mode === 'oidc'
        ? await (await import('./oidc-issuer.ts')).startOidcIssuer()
        : new OwnIssuer(mode, canary, WINDOW_MS);
    const server = await AuthorizationServer.start(issuer, {
      journey: journeysOf(seed, options.lossShare, options.slowestMs),
      lifeMs: options.lifeMs,
      logFile: join(directory, 'server.jsonl'),
    });
    endings.push(() => server.close());
    const stalls = new Stalls();
    endings.push(() => stalls.end());

    const resources = Array.from(
      { length: options.credentials },
      (_, index) => `${server.resource}/${index}`,
    );
    const spans: Span[] = [];
    const store =
      plain === undefined
        ? new Credentials(
            options.engine === 'directory' ? engine.homeOf(0) : join(directory, 'harness'),
            engine.keyFile,
            await openStore(engine.url, { leaseMs: options.leaseMs }),
          )
        : plainStore(plain, engine.url);
    endings.push(() => store.close());
    const logins = new Logins({
      issuer,
      store,
      resources,
      keyFile: engine.keyFile,
      endpoints: {
        tokenEndpoint: server.tokenEndpoint,
        revocationEndpoint: server.revocationEndpoint,
        clientId: mode === 'oidc' ? 'crash' : 'torture',
      },
      lostSince: (at) => spans.some(({ what, to }) => what === 'fail-over' && to >= at),
    });
    endings.push(() => logins.close());
    for (const credential of resources.keys()) await logins.logIn(credential);
    await writeHomes(engine.homeOf, resources, isStrict(mode) ? 'strict' : 'window');

    const fleet = new Fleet({
      directory,
      programOf: (worker) => {
        const old = options.mixed && worker % 2 === 1;
        return { program: old ? before : program, old };
      },
      seed,
      apart: options.engine !== 'directory',
      settingsOf: (worker) => ({
        protocol,
        store: engine.urlOf(worker),
        resources,
        mcp: server.resource,
        leaseMs: options.leaseMs,
        loops: options.loops,
      }),
      variablesOf: (worker) => ({
        HOLDFAST_HOME: engine.homeOf(worker),
        HOLDFAST_SEALING_KEY_FILE: engine.keyFile,
      }),
    });
    endings.push(() => fleet.abort());
    const scan = new CanaryScan(canary);
    const watch = repeatedly(async () => {
      scan.processes(fleet.pids);
      await logins.look(fleet);
    });
    endings.push(() => watch.end());
    const presented = () => server.log.length;
    const progress = (faults: number) => hear?.({ faults, presentations: presented() });
    const chaos = new Chaos({ fleet, engine, logins, spans, presented, progress });
    await sleep(WARM_UP_MS);
    const plan = planOf({
      seed,
      credentials: options.credentials,
      everyMs: options.everyMs,
      engine: options.engine !== 'directory',
      operations: options.operations && plain === undefined,
    });
    await chaos.run(plan, options.faults, signal);
    server.troubled = false;
    const settled = sharedNow() + SETTLED_WITHIN_MS;
    await sleep(SETTLE_MS);
    while (!logins.isSettled && sharedNow() < settled && !signal.aborted) await sleep(WATCH_EVERY_MS);
    await watch.end();
    await fleet.end();

    const final = await Promise.all(
      resources.map(async (resource): Promise<Final | undefined> => {
        const stored = await store.stored(resource);
        if (stored === undefined) return undefined;
        const family = issuer.familyOf(stored.refreshToken);
        return { stored, family, live: family === undefined ? '' : issuer.live(family) };
      }),
    );
    if (options.keep) {
      const { all, operations, absences, seen } = logins;
      const told = { spans, logins: all, operations, absences, seen, stalls: stalls.spans };
      await writeFile(join(directory, 'told.json'), JSON.stringify(told, null, 1));
    }
    if (plain === undefined) for (const place of [directory, ...engine.places]) scan.below(place);
    const verdict = judge({
      mode,
      faults: Object.values(chaos.done).reduce((sum, one) => sum + one, 0),
      log: server.log,
      issued: server.issued,
      revokedAt: (family) => issuer.revokedAt(family),
      loggedOutAt: (family) => issuer.loggedOutAt(family),
      histories: fleet.incarnations.map(historyOf),
      spans,
      logins: logins.all,
      operations: logins.operations,
      absences: logins.absences,
      stalls: stalls.spans,
      lifeMs: options.lifeMs,
      leaseMs: options.leaseMs,
      windowMs: WINDOW_MS,
      final,
      seen: logins.seen,
      leaks: [...scan.leaks],
    });
    return {
      ...verdict,
      faults: chaos.done,
      requests: server.requests,
      wrongClock: fleet.wrongClock,
      otherBoots: fleet.otherBoots,
      filesScanned: scan.scanned,
      seconds: (sharedNow() - begin) / 1000,
      directory: options.keep ? directory : undefined,
    };
  } finally {
    for (const end of endings.toReversed()) await end();
  }
}

/** Each worker is told what its user knows of the server. */
async function writeHomes(
  homeOf: (worker: number) => string,
  resources: readonly string[],
  replay: 'strict' | 'window',
): Promise<void> {
  const servers = Object.fromEntries(resources.map((resource) => [resource, { replay }]));
  const homes = new Set(Array.from({ length: WORKERS }, (_, worker) => homeOf(worker)));
  for (const home of homes) {
    await mkdir(home, { recursive: true, mode: 0o700 });
    await writeFile(join(home, 'config.json'), JSON.stringify({ servers }), { mode: 0o600 });
  }
}

/** Does that, all the time, until it is ended. */
function repeatedly(step: () => Promise<void>): { end(): Promise<void> } {
  const over = new AbortController();
  const looking = (async () => {
    while (!over.signal.aborted) {
      await step();
      await sleep(WATCH_EVERY_MS, undefined, { signal: over.signal }).catch(() => {});
    }
  })();
  return {
    end: async () => {
      over.abort();
      await looking;
    },
  };
}

/** The logins of a design that is shown and not judged. */
function plainStore(protocol: Protocol, url: string): LoginStore & { close(): Promise<void> } {
  return {
    put: (resource, { tokenEndpoint, refreshToken }) =>
      putLogin(protocol, url, resource, {
        tokenEndpoint,
        refreshToken,
        accessToken: '',
        expiresAt: 0,
        generation: 0,
      }),
    stored: async (resource) => {
      const { generation, refreshToken } = await readLogin(protocol, url, resource);
      return { generation, refreshToken, loginRequired: false };
    },
    close: async () => {},
  };
}
