import { randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { type Answer, OwnIssuer } from '../../../bench/torture/issuer.ts';
import { type Credential, CredentialId } from '../../../src/credential.ts';
import { OutboxFiles } from '../../../src/credentials/outbox/outbox-files.ts';
import { SealedCredentialStore } from '../../../src/credentials/sealed/sealed-credential-store.ts';
import { resolveKeyrings } from '../../../src/keyring/resolve.ts';
import { SealingKeys } from '../../../src/keyring/sealing-key.ts';
import { Secret } from '../../../src/secret.ts';
import { DirectoryStore } from '../../../src/store/directory.ts';
import { EngineStore } from '../../../src/store/engine/engine-store.ts';
import { MemoryStore } from '../../../src/store/memory.ts';
import type { RecordStore } from '../../../src/store/record-store.ts';
import { type Environment, processEnvironment } from '../../../src/system/environment.ts';
import { layoutOf } from '../../../src/system/files/paths.ts';
import { openVault } from '../../../src/vault/open.ts';
import { Clocks } from '../../fleet/model/clocks.ts';
import { memoryEngine, type SharedMemory, type WatchedEngine } from '../engines/memory-engine.ts';
import { temporaryDirectory } from '../homes/home.ts';

/*
 * Machines, processes and an authorization server for one login that several processes share. Every process is a
 * separate vault. The server is a real one on loopback, and its hooks can hold a request.
 */

export const RESOURCE = 'https://mcp.example.com/mcp';

/** How long a claim lasts, in milliseconds: longer than a slow machine takes between two renewals. */
export const LEASE_MS = 10_000;

/** How much longer others wait for a silent holder, in milliseconds. */
export const PATIENCE_MS = 5000;

type Mode = ConstructorParameters<typeof OwnIssuer>[0];

/** Hooks for the nth request. A hook that answers the request itself returns `true`. */
export interface Hooks {
  before?: ((n: number, response: ServerResponse) => Promise<boolean | void> | boolean | void) | undefined;
  after?:
    | ((n: number, response: ServerResponse, answer: Answer) => Promise<boolean | void> | boolean | void)
    | undefined;
  /** Called when the server has refused the token, before it answers. */
  refused?: ((n: number) => Promise<void>) | undefined;
  /** Changes the body of a successful answer. */
  shape?: ((body: Record<string, unknown>, n: number) => Record<string, unknown>) | undefined;
}

/** Starts a token endpoint of that kind on loopback. */
export async function authorizationServer(mode: Mode, { windowMs = 600_000, livesS = 3600 } = {}) {
  const issuer = new OwnIssuer(mode, `c${randomBytes(4).toString('hex')}`, windowMs);
  const hooks: Hooks = {};
  const presented: string[] = [];
  const revoked: string[] = [];
  let requests = 0;
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    let text = '';
    for await (const chunk of request) text += String(chunk);
    const body = new URLSearchParams(text);
    if (request.url === '/revoke') {
      revoked.push(body.get('token') ?? '');
      response.end();
      return;
    }
    requests += 1;
    const n = requests;
    const reply = (status: number, json: unknown) =>
      void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(json));
    if ((await hooks.before?.(n, response)) === true) return;
    const given = await issuer.present(body.get('refresh_token') ?? '');
    presented.push(
      given === undefined ? 'unknown' : `${given.shown.generation}/${given.shown.sibling} ${given.outcome}`,
    );
    if (given?.given === undefined) {
      await hooks.refused?.(n);
      return reply(400, { error: 'invalid_grant' });
    }
    if ((await hooks.after?.(n, response, given)) === true) return;
    const { accessToken, refreshToken } = given.given;
    const json = { access_token: accessToken, refresh_token: refreshToken, token_type: 'Bearer' };
    reply(200, hooks.shape?.({ ...json, expires_in: livesS }, n) ?? { ...json, expires_in: livesS });
  };
  const server = createServer((request, response) => {
    void answer(request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  onTestFinished(async () => {
    server.closeAllConnections();
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
    });
  });
  const { port } = server.address() as AddressInfo;
  const origin = `http://127.0.0.1:${port}`;
  return {
    hooks,
    /** Each refresh token that was sent, as `generation/sibling`, and the result. */
    presented,
    /** The revoked tokens, in order. */
    revoked,
    tokenEndpoint: `${origin}/token`,
    revocationEndpoint: `${origin}/revoke`,
    begin: () => issuer.begin(),
    live: (family: number) => issuer.live(family),
    hasEnded: (family: number) => issuer.revokedAt(family) !== undefined,
  };
}

/** A machine: a home, a sealing key that others may share, and the server's settings in `config.json`. */
export async function machine({
  replay,
  key,
}: {
  replay?: 'strict' | 'window' | undefined;
  key?: string;
} = {}) {
  const path = await temporaryDirectory();
  const [home, runtime, temporary] = ['home', 'run', 'tmp'].map((name) => join(path, name)) as [
    string,
    string,
    string,
  ];
  for (const directory of [home, runtime, temporary]) await mkdir(directory, { mode: 0o700 });
  const keyFile = join(path, 'key');
  await writeFile(keyFile, `${key ?? randomBytes(32).toString('base64url')}\n`, { mode: 0o600 });
  if (replay !== undefined) {
    const config = { servers: { [RESOURCE]: { replay } } };
    await writeFile(join(home, 'config.json'), JSON.stringify(config), { mode: 0o600 });
  }
  const variables = {
    HOLDFAST_HOME: home,
    HOLDFAST_SEALING_KEY_FILE: keyFile,
    HOME: path,
    XDG_RUNTIME_DIR: runtime,
    TMPDIR: temporary,
  };
  const environment: Environment = { ...processEnvironment(), variables };
  return {
    path,
    home,
    keyFile,
    environment,
    layout: layoutOf(environment),
    /** Puts a new sealing key before the existing one. */
    renewKey: async () => {
      const old = await readFile(keyFile, 'utf8');
      await writeFile(keyFile, `${randomBytes(32).toString('base64url')}\n${old}`);
    },
  };
}
export type Machine = Awaited<ReturnType<typeof machine>>;

/** The credentials of that store, opened with that machine's key. */
export function credentialsAt(store: RecordStore, { environment, layout }: Machine) {
  const resolution = resolveKeyrings(environment, layout, { keyring: 'key-file' });
  const keys = new SealingKeys(resolution, layout, environment);
  const files = new OutboxFiles(layout, environment);
  return {
    keys,
    credentialStore: new SealedCredentialStore({
      persistent: store,
      ephemeral: new MemoryStore(),
      keys,
      files,
    }),
  };
}

/** Stores a login whose access token has `leftMs` milliseconds left; by default it expired a second ago. */
export async function putLogin(
  store: RecordStore,
  at: Machine,
  login: {
    readonly server: Pick<Credential['server'], 'tokenEndpoint' | 'revocationEndpoint'>;
    readonly refreshToken: string;
    readonly leftMs?: number;
    readonly resource?: string;
    readonly more?: Partial<Credential>;
  },
): Promise<void> {
  const { server, refreshToken, leftMs = -1000, resource = RESOURCE, more = {} } = login;
  const { keys, credentialStore } = credentialsAt(store, at);
  const name = CredentialId.of(resource, undefined);
  const now = Date.now();
  const life = 3_600_000;
  const obtainedAt = now - life + leftMs;
  await credentialStore.save(
    await keys.strongest(),
    name,
    (generation): Credential => ({
      resource: name.resource,
      account: name.account,
      resourceParameter: name.resource,
      generation,
      server: {
        issuer: 'https://as.example.com',
        tokenEndpoint: server.tokenEndpoint,
        revocationEndpoint: server.revocationEndpoint,
      },
      client: { clientId: 'lab', authMethod: 'none', redirectUris: [], source: 'dynamic' },
      tokens: {
        accessToken: new Secret('access-token-of-the-login'),
        tokenType: 'Bearer',
        refreshToken: new Secret(refreshToken),
        obtainedAt,
        expiresAt: obtainedAt + life,
      },
      loggedInAt: now,
      ...more,
    }),
  );
}

/** Reads the stored credential with that machine's key. */
export async function storedAt(store: RecordStore, at: Machine, resource = RESOURCE) {
  const found = await credentialsAt(store, at).credentialStore.find(CredentialId.of(resource, undefined));
  const credential = found?.held.credential;
  return (
    credential && {
      generation: credential.generation,
      epoch: credential.epoch,
      refreshToken: credential.tokens.refreshToken?.reveal() ?? '',
      loginRequired: credential.loginRequired,
      kid: found?.held.address.kid,
    }
  );
}

/** A process at an engine, with its own connection and its own vault. */
export function engineProcess(
  shared: SharedMemory,
  at: Machine,
  { tenant, leaseMs = LEASE_MS }: { tenant?: string; leaseMs?: number } = {},
) {
  const engine = memoryEngine(shared);
  if (tenant !== undefined) Object.assign(engine, { tenant });
  const store = new EngineStore(engine, { leaseMs, patienceMs: PATIENCE_MS, lookEveryMs: 0 });
  return { engine, ...processAt(store, at, () => engine.cut.clear()) };
}

/** A process at a directory store. */
export function directoryProcess(
  at: Machine,
  store: RecordStore = new DirectoryStore(at.layout, at.environment),
) {
  return processAt(store, at, () => {});
}

function processAt(store: RecordStore, at: Machine, heal: () => void) {
  const events: string[] = [];
  const vault = openVault({
    keyring: 'key-file',
    store,
    environment: at.environment,
    onEvent: (event) => void events.push(`${event.type}: ${event.message}`),
  });
  onTestFinished(async () => {
    heal();
    // A vault whose server never answers does not close.
    await Promise.race([vault.close(), new Promise((resolve) => setTimeout(resolve, 1500).unref())]);
  });
  return { store, vault, events };
}

/** Lets the lease of a process lapse that can no longer renew it: by the engine's clock, and by its own. */
export function lapse({ engine }: { engine: WatchedEngine }, shared: SharedMemory): void {
  engine.cut.add('renew');
  shared.advance(LEASE_MS + 100);
  const clocks = new Clocks();
  onTestFinished(() => clocks.restore());
  clocks.pass(LEASE_MS);
}

/** Ends a process as kill -9 does: none of its calls reach the engine any more. */
export function kill({ engine }: { engine: WatchedEngine }): void {
  for (const name of Object.getOwnPropertyNames(Object.getPrototypeOf(engine))) {
    engine.cut.add(name as keyof WatchedEngine & 'read');
  }
}

/** Describes in words how a call ended. */
export function ended(call: Promise<{ readonly generation: number }>): Promise<string> {
  return call.then(
    ({ generation }) => `generation ${generation}`,
    (error: Error) => error.name,
  );
}
