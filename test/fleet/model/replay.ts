import { MemoryEngine, SharedMemory } from '../../../examples/engine-of-your-own.ts';
import { CredentialId } from '../../../src/credential.ts';
import { MOVED } from '../../../src/credentials/login-required.ts';
import { OutboxFiles } from '../../../src/credentials/outbox/outbox-files.ts';
import { SealedCredentialStore } from '../../../src/credentials/sealed/sealed-credential-store.ts';
import { resolveKeyrings } from '../../../src/keyring/resolve.ts';
import { SealingKeys } from '../../../src/keyring/sealing-key.ts';
import { ReusePolicy } from '../../../src/refresh/reuse-policy.ts';
import { revokeTokens } from '../../../src/refresh/revoke.ts';
import { SharedRefresh } from '../../../src/refresh/shared-refresh.ts';
import { Secret } from '../../../src/secret.ts';
import { EngineStore } from '../../../src/store/engine/engine-store.ts';
import { MemoryStore } from '../../../src/store/memory.ts';
import { exportLogin } from '../../../src/transfer/export.ts';
import { logOut } from '../../../src/vault/logout.ts';
import { rekey } from '../../../src/vault/rekey.ts';
import { gate } from '../../support/homes/store.ts';
import { authorizationServer, machine, putLogin, RESOURCE, storedAt } from '../../support/servers/lab.ts';
import { Clocks } from './clocks.ts';
import { Conductor, Differs } from './conductor.ts';
import type { End } from './explore.ts';
import { initial, isMine, type Operation, type State, token } from './state.ts';
import { type Configuration, faultsIn, NAMES, type Step } from './steps.ts';

/*
 * Replays a trace of the model. Real processes (SealedCredentialStore, SharedRefresh, rekey, logout, export) at one engine
 * and one token server take the same steps in the same order. Both must then have stored the same.
 */

const LEASE_MS = 60_000;
const PATIENCE_MS = 120_000;
const LONG_MS = 2 ** 31 - 1;
const SESSION = CredentialId.of(RESOURCE, undefined);

/** Whether the harness can make the real code take exactly these steps. */
export function isReplayable(
  { mode, programs, store }: Configuration,
  { trace }: Pick<End, 'trace'>,
): boolean {
  if (mode.endsWith('unknown') || store === 'lock') return false;
  let before: State = initial(programs.length, faultsIn({ mode, programs }));
  for (const { call, label, who, state } of trace) {
    const own = before.processes[who];
    const isFlush = label.endsWith('writes what the store has not');
    // The background retries run on a timer, beside an operation.
    if (isFlush && (state.record?.version === before.record?.version || own?.point !== 'idle')) return false;
    if (call === 'lose' || label.endsWith('renews its lease')) return false;
    // The process renews its lease and sends, at a moment that the harness cannot control.
    if (label.includes('sends nothing') && own !== undefined && isMine(before, own)) return false;
    // The harness's server does not forget a revoked login.
    if (call === 'serve' && own !== undefined && before.loggedOut) return false;
    before = state;
  }
  return true;
}

interface Request {
  readonly decide: (what: 'serve' | 'refuse') => void;
  readonly answered: Promise<void>;
  readonly deliver: () => void;
}

export async function replay(configuration: Configuration, end: End): Promise<void> {
  const clocks = new Clocks();
  try {
    await new Replay(configuration, clocks).run(end);
  } finally {
    clocks.restore();
  }
}

class Replay {
  readonly #configuration: Configuration;
  readonly #clocks: Clocks;
  readonly #shared = new SharedMemory();
  readonly #processes: Real[] = [];
  #server!: Awaited<ReturnType<typeof authorizationServer>>;
  #replica: Pick<SharedMemory, 'rows' | 'claims' | 'outbox'> | undefined;
  #arrived: (request: Request) => void = () => {};

  constructor(configuration: Configuration, clocks: Clocks) {
    this.#configuration = configuration;
    this.#clocks = clocks;
  }

  async run({ trace, state }: End): Promise<void> {
    const { mode, programs, machines = [] } = this.#configuration;
    this.#server = await authorizationServer(mode as 'strict' | 'grace' | 'replay');
    this.#hold();
    const key = Buffer.alloc(32, 7).toString('base64url');
    const homes = [await machine({ key }), await machine({ key })];
    const [home] = homes as [Awaited<ReturnType<typeof machine>>, Awaited<ReturnType<typeof machine>>];
    const first = new EngineStore(new MemoryEngine(this.#shared));
    const { refreshToken } = await this.#server.begin();
    await putLogin(first, home, { server: this.#server, refreshToken });
    const kid = (await storedAt(first, home))?.kid;
    if (programs.flat().includes('rekey')) await home.renewKey();
    for (const [index] of programs.entries()) {
      const at = homes[machines[index] ?? 0] ?? home;
      this.#processes.push(
        new Real(NAMES[index] ?? '?', at, this.#shared, mode === 'strict' ? 'strict' : 'window'),
      );
    }
    let before = initial(programs.length, faultsIn(this.#configuration));
    for (const [index, step] of trace.entries()) {
      try {
        await this.#take(step, before);
      } catch (error) {
        const told = trace.slice(0, index + 1).map(({ label }) => label);
        throw new Error(`${String(error)}\n  ${told.join('\n  ')}`, { cause: error });
      }
      before = step.state;
    }
    for (const real of this.#processes) await real.ended();
    await this.#compare(state, trace, { first, home, kid });
  }

  /** Holds requests at the server until the trace processes them, and answers until the trace delivers them. */
  #hold(): void {
    const requests = new Map<
      number,
      { readonly made: ReturnType<typeof gate>; readonly go: ReturnType<typeof gate> }
    >();
    const { hooks } = this.#server;
    hooks.before = async (n, response) => {
      const [made, go] = [gate(), gate()];
      requests.set(n, { made, go });
      const what = await new Promise<'serve' | 'refuse'>((decide) => {
        this.#arrived({ decide, answered: made.opened, deliver: () => go.open() });
      });
      if (what === 'serve') return false;
      made.open();
      await go.opened;
      response.writeHead(400, { 'content-type': 'application/json' }).end('{"error":"invalid_grant"}');
      return true;
    };
    const answered = async (n: number) => {
      requests.get(n)?.made.open();
      await requests.get(n)?.go.opened;
    };
    hooks.after = answered;
    hooks.refused = answered;
  }

  async #take({ who, call, label, state }: Step, before: State): Promise<void> {
    if (who === -1) return this.#event(call);
    const real = this.#processes[who] as Real;
    const own = before.processes[who];
    const { conductor } = real;
    const operation = this.#configuration.programs[who]?.[own?.done ?? 0];
    const isFlush = label.endsWith('writes what the store has not');
    if (own?.point === 'idle' && operation !== undefined && (call === 'read' || call === 'begin')) {
      await real.ended();
      await real.begin(operation, this.#server);
      if (call === 'begin') return;
      // A process that finds no key for such a record does not read it.
      if (before.record === undefined) return real.ended();
    }
    switch (call) {
      case 'none':
      case 'go-on':
        conductor.isStopped = false;
        return;
      case 'stop':
        conductor.isStopped = true;
        return;
      case 'crash':
        conductor.kill();
        return;
      case 'send':
        real.request = await this.#arrival(real);
        return;
      case 'serve':
      case 'refuse':
        if (real.request === undefined) throw new Differs(`${real.name} has sent nothing.`);
        real.request.decide(call);
        await real.request.answered;
        if (!conductor.isDead) conductor.keep(real.request.deliver);
        return;
      case 'read':
        await conductor.to(['read', 'version']);
        return;
      case 'claim': {
        const { outcome } = (await conductor.to(['claim'])) as { outcome: string };
        const expected = label.includes('is told') ? 'superseded' : 'claimed';
        if (outcome !== expected) throw new Differs(`The claim was answered ${outcome}, not ${expected}.`);
        return;
      }
      case 'claim-in-vain':
        conductor.letClaim(true);
        await conductor.arrival(['read'], true);
        conductor.letClaim(false);
        return;
      case 'claim-lost':
        await conductor.to(['claim'], { isLost: true });
        await real.ended();
        return;
      case 'write-row':
      case 'write-file':
        conductor.broken.add('write');
        if (call === 'write-file') conductor.broken.add('putOutbox');
        else await conductor.to(['putOutbox']);
        await real.ended();
        conductor.broken.clear();
        return;
      case 'announce': {
        const isSaid = await conductor.to(['announce']);
        const isExpected = state.processes[who]?.point === 'has announced';
        if (isSaid !== isExpected) throw new Differs(`The announcement was answered ${String(isSaid)}.`);
        return;
      }
      case 'announce-unknown':
        await conductor.to(['announce'], { isLost: true });
        return;
      case 'announce-lost':
        await conductor.loses('announce');
        return;
      case 'release':
        if (own !== undefined && isMine(before, own)) await conductor.to(['release']);
        return;
      case 'deliver':
        await conductor.to(['deliver']);
        return;
      default: {
        const made = (await conductor.to([call === 'write-unknown' ? 'write' : call], {
          isLost: call === 'write-unknown',
        })) as {
          outcome: string;
        };
        const isWritten = state.record?.version !== before.record?.version;
        if ((made.outcome === 'written') !== isWritten)
          throw new Differs(`The ${call} was answered ${made.outcome}.`);
        if (isFlush) await real.ended();
      }
    }
  }

  #arrival({ conductor, name }: Real): Promise<Request> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Differs(`${name} should send its refresh token, and does not.`)),
        8_000,
      );
      this.#arrived = (request) => {
        clearTimeout(timer);
        resolve(request);
      };
      conductor.goOn();
    });
  }

  #event(call: Step['call']): void {
    const shared = this.#shared;
    switch (call) {
      case 'lapse':
        this.#clocks.pass(LEASE_MS + 10);
        shared.advance(LEASE_MS + 10);
        return;
      case 'patience':
        this.#clocks.pass(PATIENCE_MS + 10);
        shared.advance(PATIENCE_MS + 10);
        return;
      case 'jump':
        shared.advance(LEASE_MS + PATIENCE_MS + 10);
        return;
      case 'restart':
        shared.startedAt = shared.now();
        return;
      case 'window':
        this.#clocks.passAtServer(700_000);
        return;
      case 'window-over':
        this.#clocks.passAtServer(700_000);
        this.#clocks.passByWall(70_000);
        shared.advance(-70_000);
        return;
      case 'fall-behind':
        this.#replica = copyOf(shared);
        return;
      case 'take-over':
        if (this.#replica !== undefined) restore(shared, this.#replica);
        return;
      default:
        throw new Differs(`No such event: ${call}`);
    }
  }

  async #compare(
    model: State,
    trace: readonly Step[],
    {
      first,
      home,
      kid,
    }: {
      readonly first: EngineStore;
      readonly home: Awaited<ReturnType<typeof machine>>;
      readonly kid: string | undefined;
    },
  ): Promise<void> {
    const stored = await storedAt(first, home);
    const { record } = model;
    const found = stored && {
      generation: stored.generation,
      token: stored.loginRequired?.error === MOVED ? 0 : tokenOf(stored.refreshToken),
      state:
        stored.loginRequired === undefined
          ? 'good'
          : stored.loginRequired.error === MOVED
            ? 'moved'
            : 'marked',
      key: stored.kid === kid ? 0 : 1,
    };
    const expected = record && {
      generation: record.generation,
      token: record.token,
      state: record.moved ? 'moved' : record.marked ? 'marked' : 'good',
      key: record.kid,
    };
    const server = this.#server;
    const families = model.families.map(({ current, ended }, index) => ({
      live: current,
      ended: ended && !wasRevoked(server, index),
      index,
    }));
    const real = {
      found,
      families: families.map(({ index }) => ({
        live: tokenOf(server.live(index)),
        ended: server.hasEnded(index),
        index,
      })),
      requests: server.presented.length,
      rows: [...this.#shared.outbox.values()].reduce((sum, { size }) => sum + size, 0),
    };
    const told = {
      found: expected,
      families,
      requests: trace.filter(({ call }) => call === 'serve').length,
      rows: model.rows.length,
    };
    if (JSON.stringify(real) !== JSON.stringify(told)) {
      const lines = trace.map(({ label }) => label).join('\n  ');
      throw new Error(
        `The code ends with ${JSON.stringify(real)}, the model with ${JSON.stringify(told)}\n  ${lines}`,
      );
    }
  }
}

/** One process. */
class Real {
  readonly name: string;
  readonly conductor: Conductor;
  request: Request | undefined;
  readonly #custody: SealedCredentialStore;
  readonly #keys: SealingKeys;
  readonly #policy: ReusePolicy;
  readonly #refresh: SharedRefresh;
  readonly #at: Awaited<ReturnType<typeof machine>>;
  #running: Promise<unknown> = Promise.resolve();
  #claimsAnyway = false;

  constructor(
    name: string,
    at: Awaited<ReturnType<typeof machine>>,
    shared: SharedMemory,
    reuse: 'strict' | 'window',
  ) {
    const { environment, layout } = at;
    this.#at = at;
    this.name = name;
    this.conductor = new Conductor(name);
    const store = new EngineStore(this.conductor.engine(shared), {
      leaseMs: LEASE_MS,
      patienceMs: PATIENCE_MS,
    });
    this.#policy = new ReusePolicy(async () => reuse);
    this.#keys = new SealingKeys(
      resolveKeyrings(environment, layout, { keyring: 'key-file' }),
      layout,
      environment,
    );
    this.#custody = new SealedCredentialStore({
      persistent: store,
      ephemeral: new MemoryStore(),
      keys: this.#keys,
      files: new OutboxFiles(layout, environment),
      newestCountsForMs: (credential) => this.#policy.newestCountsForMs(credential),
      revoke: async (credential) => void (await revokeTokens(credential, { timeoutMs: 10_000 })),
    });
    this.#refresh = new SharedRefresh({
      store: this.#custody,
      environment,
      policy: this.#policy,
      report: () => {},
    });
  }

  async begin(operation: Operation, server: Awaited<ReturnType<typeof authorizationServer>>): Promise<void> {
    const run = await this.#operation(operation, server);
    this.#claimsAnyway = operation !== 'refresh';
    this.#running = run().catch((error: unknown) => error);
  }

  async #operation(
    operation: Operation,
    server: Awaited<ReturnType<typeof authorizationServer>>,
  ): Promise<() => Promise<unknown>> {
    const credentialStore = this.#custody;
    const place = {
      environment: this.#at.environment,
      credentialStore,
      keys: this.#keys,
      policy: this.#policy,
      keysOf: () => this.#keys,
      alsoUsed: async () => [],
    };
    const conductor = this.conductor;
    switch (operation) {
      case 'serve':
      case 'refresh':
        return async () => {
          const found = await credentialStore.find(SESSION);
          if (found === undefined) return undefined;
          const held = credentialStore.newest(found.held);
          if (operation === 'serve' || held.credential.loginRequired !== undefined) return undefined;
          return this.#refresh.refresh(held, { leaseMs: LONG_MS, waitMs: LONG_MS });
        };
      case 'rekey':
        return () => rekey({}, place);
      case 'logout':
        return () => logOut(SESSION, {}, place);
      case 'export':
        return () => {
          const deliver = async () => void (await conductor.call('deliver', async () => undefined));
          return exportLogin(SESSION, { mode: 'move', deliver }, { ...place, renew: async () => {} });
        };
      case 'login': {
        const { refreshToken } = await server.begin();
        const key = await this.#keys.strongest();
        const now = Date.now();
        const { resource, account } = SESSION;
        return () =>
          credentialStore.save(key, SESSION, (generation) => ({
            resource,
            account,
            resourceParameter: resource,
            generation,
            server: {
              issuer: 'https://as.example.com',
              tokenEndpoint: server.tokenEndpoint,
              revocationEndpoint: server.revocationEndpoint,
            },
            client: { clientId: 'lab', authMethod: 'none', redirectUris: [], source: 'dynamic' },
            tokens: {
              accessToken: new Secret(`access-token-${now}`),
              tokenType: 'Bearer',
              refreshToken: new Secret(refreshToken),
              obtainedAt: now,
              expiresAt: now + 3_600_000,
            },
            // Never the time of the previous login, even if both take less than a millisecond.
            loggedInAt: now + 1,
          }));
      }
    }
  }

  /** Gives the process the answer that was kept back, and waits for the end of its operation. */
  async ended(): Promise<void> {
    if (this.conductor.isDead) return;
    this.conductor.goOn();
    // The real code may claim before it sees that it has nothing to do; the model ends earlier.
    if (this.#claimsAnyway) this.conductor.letClaim(true);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(
        () => reject(new Differs(`${this.name} should have ended its operation, and goes on.`)),
        8_000,
      );
    });
    await Promise.race([this.#running, late]);
    clearTimeout(timer);
    this.conductor.letClaim(false);
  }
}

function tokenOf(refreshToken: string): number {
  const [, family, generation, sibling] = refreshToken.split('.').map(Number);
  return token((family ?? 0) + 1, generation ?? 0, sibling ?? 0);
}

function wasRevoked({ revoked }: { readonly revoked: readonly string[] }, family: number): boolean {
  return revoked.some((one) => one.split('.')[1] === String(family) && one.split('.').length === 5);
}

function copyOf({ rows, claims, outbox }: SharedMemory): Pick<SharedMemory, 'rows' | 'claims' | 'outbox'> {
  return {
    rows: new Map(rows),
    claims: new Map([...claims].map(([id, claim]) => [id, { ...claim }])),
    outbox: new Map([...outbox].map(([id, entries]) => [id, new Map(entries)])),
  };
}

function restore(shared: SharedMemory, replica: Pick<SharedMemory, 'rows' | 'claims' | 'outbox'>): void {
  for (const name of ['rows', 'claims', 'outbox'] as const) {
    shared[name].clear();
    for (const [key, value] of replica[name]) (shared[name] as Map<string, unknown>).set(key, value);
  }
  shared.startedAt = shared.now();
}
