import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { bundled } from '../../test/support/homes/bundle.ts';
import type { Servers } from '../../test/support/servers/servers.ts';
import { judged } from './barrier.ts';
import { CommandFleet } from './command-fleet.ts';
import { desktop, noSecretService } from './desktop.ts';
import { type Fleet, WorkerFleet } from './fleet.ts';
import { Login } from './login.ts';
import { noNamespaces, pidNamespaces } from './namespaces.ts';
import type { Place } from './place.ts';
import { type Result, storm } from './storm.ts';

/** How many processes and rounds were asked for. */
export interface Scale {
  readonly processes: number;
  readonly rounds: number;
  /** A fresh `holdfast token` for each caller, in place of long-lived processes. */
  readonly freshProcesses: boolean;
}

export interface Configuration {
  readonly name: string;
  readonly title: string;
  /** Takes so long that it runs only when it is asked for. */
  readonly slow?: boolean;
  /** Why it cannot run here; throws where nothing may be skipped. */
  missing(): string | undefined;
  run(scale: Scale, servers: Servers, place: Place): Promise<Result>;
}

/** Longer than any token endpoint here takes, and shorter than the request to it may. */
const DEADLINE_MS = 80_000;
const PATIENCE_MS = DEADLINE_MS + 60_000;
const SLOW_ENDPOINT_MS = 40_000;
const SHORT_LIFE_S = 2;
/** Each waits until a token has lapsed. */
const SHORT_LIVED_ROUNDS = { least: 5, share: 0.1 };
const IN_PROCESS_CALLERS = 1_000;
const SOLO_ROUNDS = 20;

const anywhere = () => undefined;

export const CONFIGURATIONS: readonly Configuration[] = [
  {
    name: 'file',
    title: 'file keyring',
    missing: anywhere,
    run: (scale, servers, place) => run(scale, servers, place, {}),
  },
  {
    name: 'secret-service',
    title: 'Secret Service',
    missing: noSecretService,
    run: async (scale, servers, place) =>
      run(scale, servers, place, { keyring: 'secret-service', variables: await desktop(place) }),
  },
  {
    name: 'in-process',
    title: 'callers in one process',
    missing: anywhere,
    run: (scale, servers, place) =>
      run({ ...scale, processes: 1, freshProcesses: false }, servers, place, { callers: IN_PROCESS_CALLERS }),
  },
  {
    name: 'pid-namespaces',
    title: 'two PID namespaces',
    missing: noNamespaces,
    run: async (scale, servers, place) =>
      run(scale, servers, place, { launcher: await pidNamespaces(place, 2) }),
  },
  {
    name: 'lease-file',
    title: 'the same, by lease file',
    missing: noNamespaces,
    run: async (scale, servers, place) =>
      run(scale, servers, place, {
        launcher: await pidNamespaces(place, 2),
        variables: { HOLDFAST_LOCK: 'lease-file' },
      }),
  },
  {
    name: 'short-lived',
    title: `tokens that live ${SHORT_LIFE_S} s`,
    missing: anywhere,
    run: (scale, servers, place) =>
      run({ ...scale, rounds: shortLivedRounds(scale) }, servers, place, {
        soloRounds: 2,
        expire: (login) => outlive(login, servers),
      }),
  },
  {
    name: 'slow',
    title: `token endpoint of ${SLOW_ENDPOINT_MS / 1000} s`,
    slow: true,
    missing: anywhere,
    run: async (scale, servers, place) => {
      try {
        return await run({ ...scale, rounds: 1 }, servers, place, {
          soloRounds: 1,
          expire: async (login) => {
            await login.expire();
            await servers.behave({ delayMs: SLOW_ENDPOINT_MS });
          },
        });
      } finally {
        await servers.behave({});
      }
    },
  },
];

interface Particulars {
  readonly keyring?: string;
  /** What a process needs in its environment besides. */
  readonly variables?: Readonly<Record<string, string>>;
  readonly launcher?: (index: number) => readonly string[];
  readonly callers?: number;
  readonly soloRounds?: number;
  readonly expire?: (login: Login) => Promise<void>;
}

/** Logs in anew, lets the storm go over that login, and ends its processes. */
async function run(
  scale: Scale,
  servers: Servers,
  place: Place,
  { keyring = 'file', variables = {}, launcher, callers = 1, ...particulars }: Particulars,
): Promise<Result> {
  const { processes, rounds } = scale;
  const { soloRounds = SOLO_ROUNDS, expire = (one: Login) => one.expire() } = particulars;
  const home = join(place.path, `home-${randomBytes(4).toString('hex')}`);
  const login = await Login.make(servers.resource, home, keyring, variables);
  const common = { launcher, variables: login.variables, patienceMs: PATIENCE_MS };
  let fleet: Fleet;
  if (scale.freshProcesses) {
    const bin = await bundled(place.path, 'holdfast', new URL('../../src/cli/bin.ts', import.meta.url));
    const deadline = ['--timeout', String(DEADLINE_MS / 1000)];
    const command = [process.execPath, bin, 'token', servers.resource, ...deadline];
    const judge = ({ code, out, err }: { code: number | null; out: string; err: string }) =>
      judged([code === 0 ? out.trim() : new Error(`exit ${code}: ${err.trim()}`)], servers.resource);
    fleet = new CommandFleet({ ...common, command, judge });
  } else {
    const worker = await bundled(place.path, 'worker', new URL('./worker.ts', import.meta.url));
    const settings = JSON.stringify({ resource: servers.resource, callers, timeoutMs: DEADLINE_MS });
    fleet = new WorkerFleet({ ...common, processes, program: [worker, settings] });
  }
  place.ends(() => fleet.close());
  try {
    return await storm(
      {
        fleet,
        processes,
        callers,
        rounds,
        soloRounds: Math.min(soloRounds, rounds),
        expire: () => expire(login),
      },
      servers,
    );
  } finally {
    await fleet.close();
    await login.close();
  }
}

/** Gives the login a token that lives short, and lets it lapse: the server itself refuses it before the barrier opens. */
async function outlive(login: Login, servers: Servers): Promise<void> {
  await login.expire();
  await servers.behave({ accessTokenTtlSeconds: SHORT_LIFE_S });
  await login.refresh();
  await servers.behave({ accessTokenTtlSeconds: 3600 });
  await login.lapsed();
}

function shortLivedRounds({ rounds }: Scale): number {
  return Math.min(rounds, Math.max(SHORT_LIVED_ROUNDS.least, Math.round(rounds * SHORT_LIVED_ROUNDS.share)));
}
