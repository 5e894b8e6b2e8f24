import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { bundled } from '../../test/support/bundle.ts';
import { CanaryScan } from './canary.ts';
import { Chaos } from './chaos.ts';
import { Credentials, type Stored } from './credentials.ts';
import { type EngineName, startEngine } from './engines.ts';
import { Fleet } from './fleet.ts';
import { type Issuer, isStrict, type Mode, OwnIssuer } from './issuer.ts';
import { judge, type Verdict } from './judge.ts';
import { openStore } from './open-store.ts';
import { journeysOf, planOf } from './plan.ts';
import { AuthorizationServer } from './server.ts';
import { isProtocol, type Protocol, putLogin, readLogin } from './stand-ins/stand-ins.ts';

export interface TortureOptions {
  readonly engine: EngineName;
  readonly mode: Mode;
  readonly protocol: Protocol | 'holdfast';
  readonly faults: number;
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
  /** Keeps the directory of the run, with all logs. */
  readonly keep: boolean;
}

export const DEFAULTS: Omit<TortureOptions, 'engine' | 'mode' | 'seed'> = {
  protocol: 'holdfast',
  faults: 250,
  credentials: 12,
  loops: 3,
  lifeMs: 900,
  leaseMs: 800,
  lossShare: 0.05,
  slowestMs: 300,
  keep: false,
};

export interface Report extends Verdict {
  readonly faults: Readonly<Record<string, number>>;
  /** What became of token requests on their way. */
  readonly requests: Readonly<Record<string, number>>;
  readonly wrongClock: boolean;
  readonly otherBoots: boolean;
  readonly filesScanned: number;
  /** Where the logs are, if they were kept. */
  readonly directory: string | undefined;
}

/** For servers of the `grace` and `replay` kind, in milliseconds: longer than any takeover. */
const WINDOW_MS = 30_000;
const WARM_UP_MS = 1_500;
/** Without faults, so that what is on its way arrives. */
const SETTLE_MS = 4_000;
const WATCH_EVERY_MS = 250;

/** One run, from the first process to the verdict. Leaves nothing behind, unless it is told to. */
export async function torture(options: TortureOptions, signal: AbortSignal): Promise<Report> {
  const { mode, protocol, seed } = options;
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-torture-'));
  const endings: (() => Promise<unknown>)[] = [
    async () => {
      if (!options.keep) await rm(directory, { recursive: true, force: true, maxRetries: 5 });
    },
  ];
  try {
    const plain = isProtocol(protocol) ? protocol : undefined;
    const canary = `cnry${randomBytes(8).toString('hex')}`;
    const program = await bundled(directory, 'worker', new URL('worker.ts', import.meta.url));
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

    const resources = Array.from(
      { length: options.credentials },
      (_, index) => `https://mcp.example.com/${index}`,
    );
    const store = plain === undefined ? await openStore(engine.url, { leaseMs: options.leaseMs }) : undefined;
    const credentials = new Credentials(
      options.engine === 'directory' ? engine.homeOf(0) : join(directory, 'harness'),
      engine.keyFile,
      store,
    );
    endings.push(() => credentials.close());
    const logins: number[] = [];
    const logIn = async (credential: number) => {
      const resource = resources[credential] ?? '';
      const { family, refreshToken } = await issuer.begin(resource);
      logins[family] = credential;
      const { tokenEndpoint } = server;
      if (plain === undefined) {
        await credentials.put(resource, tokenEndpoint, mode === 'oidc' ? 'crash' : 'torture', refreshToken);
      } else {
        const login = { tokenEndpoint, refreshToken, accessToken: '', expiresAt: 0, generation: 0 };
        await putLogin(plain, engine.url, resource, login);
      }
    };
    for (const credential of resources.keys()) await logIn(credential);
    await writeHomes(engine.homeOf, resources, isStrict(mode) ? 'strict' : 'window');

    const fleet = new Fleet({
      directory,
      program,
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
    const watch = watching(plain === undefined ? credentials : undefined, resources, {
      each: () => scan.processes(fleet.pids),
      // A person logs in again, so that there is always something to lose.
      ended: async (credential) => {
        if (issuer.revokedAt(logins.lastIndexOf(credential)) !== undefined) await logIn(credential);
      },
    });
    endings.push(() => watch.end());
    const chaos = new Chaos(fleet, engine);
    await sleep(WARM_UP_MS);
    await chaos.run(planOf(seed, options.faults, options.engine !== 'directory'), signal);
    server.troubled = false;
    await sleep(SETTLE_MS);
    await fleet.end();
    await watch.end();

    const final = await Promise.all(
      resources.map(async (resource, credential) => ({
        stored: await (plain === undefined
          ? credentials.stored(resource)
          : plainStored(plain, engine.url, resource)),
        live: issuer.live(logins.lastIndexOf(credential)),
      })),
    );
    if (plain === undefined) for (const place of [directory, ...engine.places]) scan.below(place);
    const verdict = judge({
      mode,
      log: server.log,
      issued: server.issued,
      revokedAt: (family) => issuer.revokedAt(family),
      incarnations: fleet.incarnations,
      spans: chaos.spans,
      credentialOf: logins,
      lifeMs: options.lifeMs,
      final,
      fell: watch.fell,
      leaks: [...scan.leaks],
    });
    return {
      ...verdict,
      faults: chaos.done,
      requests: server.requests,
      wrongClock: fleet.wrongClock,
      otherBoots: fleet.otherBoots,
      filesScanned: scan.scanned,
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
  const homes = new Set(Array.from({ length: 6 }, (_, worker) => homeOf(worker)));
  for (const home of homes) {
    await mkdir(home, { recursive: true, mode: 0o700 });
    await writeFile(join(home, 'config.json'), JSON.stringify({ servers }), { mode: 0o600 });
  }
}

/** Looks, all the time, whether what is stored ever becomes older, and whether a login has ended. */
function watching(
  credentials: Credentials | undefined,
  resources: readonly string[],
  hear: { readonly each: () => void; readonly ended: (credential: number) => Promise<void> },
): { readonly fell: string[]; end(): Promise<void> } {
  const fell: string[] = [];
  const highest = new Map<string, number>();
  const over = new AbortController();
  const look = async () => {
    while (!over.signal.aborted) {
      hear.each();
      for (const [credential, resource] of credentials === undefined ? [] : resources.entries()) {
        try {
          const stored = await credentials?.stored(resource);
          if (stored === undefined) continue;
          const before = highest.get(resource) ?? 0;
          if (stored.generation < before) {
            fell.push(`${resource}: the stored generation fell from ${before} to ${stored.generation}`);
          }
          highest.set(resource, Math.max(before, stored.generation));
          if (stored.loginRequired) await hear.ended(credential);
        } catch {
          // The engine is down.
        }
      }
      await sleep(WATCH_EVERY_MS, undefined, { signal: over.signal }).catch(() => {});
    }
  };
  const looking = look();
  return {
    fell,
    end: async () => {
      over.abort();
      await looking;
    },
  };
}

async function plainStored(protocol: Protocol, url: string, resource: string): Promise<Stored> {
  const { generation, refreshToken } = await readLogin(protocol, url, resource);
  return { generation, refreshToken, loginRequired: false };
}
