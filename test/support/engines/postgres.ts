import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, existsSync, readdirSync } from 'node:fs';
import { chmod, chown, copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer, connect as dial, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { installed, requirement } from '../requirement.ts';

/* A PostgreSQL server in its own directory. PostgreSQL refuses to run as root, so as root it runs as nobody. */

const BIN = programs();
export const NO_POSTGRES = requirement('PostgreSQL is not installed', BIN !== undefined);
export const NO_OPENSSL = requirement('openssl is not installed', installed('openssl'));
export const NO_PGBOUNCER = requirement('PgBouncer is not installed', installed('pgbouncer'));
/** PgBouncer 1.21 and later can keep the names of prepared statements. Debian 12 has 1.18. */
export const PGBOUNCER_KEEPS_NAMES = NO_PGBOUNCER === undefined && minorOfPgBouncer() >= 21;

/** The path of one of PostgreSQL's programs. */
export function postgresProgram(name: string): string {
  return join(BIN ?? '', name);
}

const root = process.geteuid?.() === 0;
const NOBODY = 65_534;
const as = root ? { uid: NOBODY, gid: NOBODY } : {};

export interface Postgres {
  readonly port: number;
  readonly directory: string;
  /** @param user default the superuser `owner` */
  url(parameters?: string, user?: string): string;
  start(): Promise<void>;
  /** Stops it as a power failure would: it writes nothing to disk first. */
  crash(): Promise<void>;
  /** Admits nobody from now on. Open connections may finish (`smart`) or are ended (`fast`). Does not wait. */
  shutDown(how: 'smart' | 'fast'): void;
  configure(lines: string): void;
  dispose(): Promise<void>;
}

export interface PostgresSettings {
  /** Lines of pg_hba.conf before the ones that let everybody in. */
  readonly admission?: string;
  /** PEM files. With them the server also speaks TLS. */
  readonly tls?: { readonly cert: string; readonly key: string } | undefined;
}

export async function startPostgres({ admission = '', tls }: PostgresSettings = {}): Promise<Postgres> {
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-postgres-'));
  if (root) await chown(directory, NOBODY, NOBODY);
  await chmod(directory, 0o700);
  const data = join(directory, 'data');
  const initdb = ['-D', data, '-U', 'owner', '-A', 'trust', '--no-sync', '--no-locale', '-E', 'UTF8'];
  execFileSync(postgresProgram('initdb'), initdb, { ...as, cwd: directory, stdio: 'ignore' });
  const rules = join(data, 'pg_hba.conf');
  await writeFile(rules, `${admission}\n${await readFile(rules, 'utf8')}`);
  if (tls !== undefined) {
    for (const [name, from] of Object.entries({ 'server.crt': tls.cert, 'server.key': tls.key })) {
      await copyFile(from, join(data, name));
      await chmod(join(data, name), 0o600);
      if (root) await chown(join(data, name), NOBODY, NOBODY);
    }
  }
  const postgres = await serverIn(directory, data);
  postgres.configure(`listen_addresses = '127.0.0.1'\nunix_socket_directories = '${directory}'`);
  if (tls !== undefined) postgres.configure('ssl = on');
  await postgres.start();
  return postgres;
}

export interface ReplicaSettings {
  /** Name of its data directory, in the directory of the primary. */
  readonly name?: string;
  /** Port by which it reaches the primary, if not the primary’s own. */
  readonly through?: number;
}

/** Starts a replica, which repeats the writes of that server and is read-only. */
export async function startReplica(
  primary: Postgres,
  { name = 'replica', through = primary.port }: ReplicaSettings = {},
): Promise<Postgres> {
  const data = join(primary.directory, name);
  const copy = ['-h', '127.0.0.1', '-p', String(through), '-U', 'owner', '-D', data];
  const how = ['--write-recovery-conf', '--checkpoint=fast', '--no-sync'];
  const options = { ...as, cwd: primary.directory };
  await promisify(execFile)(postgresProgram('pg_basebackup'), [...copy, ...how], options);
  const replica = await serverIn(primary.directory, data);
  await replica.start();
  return replica;
}

/** The cluster in `data` as a server with its own port, not yet started. `dispose` removes the directory. */
async function serverIn(directory: string, data: string): Promise<Postgres> {
  const port = await freePort();
  const configure = (lines: string) => appendFileSync(join(data, 'postgresql.conf'), `${lines}\n`);
  configure(`port = ${port}`);
  let server: ChildProcess | undefined;
  const stop = async (signal: NodeJS.Signals) => {
    if (server === undefined || server.exitCode !== null || server.signalCode !== null) return;
    const gone = once(server, 'exit');
    server.kill(signal);
    await gone;
  };
  return {
    port,
    directory,
    configure,
    url: (parameters = '', user = 'owner') => `postgres://${user}@127.0.0.1:${port}/postgres${parameters}`,
    start: async () => {
      server = spawn(postgresProgram('postgres'), ['-D', data], { ...as, cwd: directory, stdio: 'ignore' });
      await untilReady(port);
    },
    crash: () => stop('SIGQUIT'),
    shutDown: (how) => void server?.kill(how === 'smart' ? 'SIGTERM' : 'SIGINT'),
    dispose: async () => {
      await stop('SIGQUIT');
      await rm(directory, { recursive: true, force: true });
    },
  };
}

export interface PgBouncer {
  url(parameters?: string, user?: string): string;
  stop(): Promise<void>;
}

/**
 * Starts PgBouncer in transaction mode, with fewer connections than clients ask for.
 *
 * @param to the port by which PgBouncer reaches the server
 * @param more lines of its configuration
 */
export async function startPgBouncer(postgres: Postgres, to = postgres.port, more = ''): Promise<PgBouncer> {
  const port = await freePort();
  const config = join(postgres.directory, 'pgbouncer.ini');
  const users = join(postgres.directory, 'users.txt');
  await writeFile(users, '"owner" ""\n');
  await writeFile(
    config,
    `[databases]\n* = host=127.0.0.1 port=${to}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = ${port}
auth_type = trust\nauth_file = ${users}\npool_mode = transaction\nserver_login_retry = 0.1\ndefault_pool_size = 2\nunix_socket_dir =\n${more}\n`,
  );
  const bouncer = spawn('pgbouncer', [config], { ...as, cwd: postgres.directory, stdio: 'ignore' });
  await untilListening(port);
  return {
    url: (parameters = '', user = 'owner') => `postgres://${user}@127.0.0.1:${port}/postgres${parameters}`,
    stop: async () => {
      const gone = once(bouncer, 'exit');
      bouncer.kill('SIGKILL');
      await gone;
    },
  };
}

/** Creates a certificate authority and a certificate for 127.0.0.1, as PEM files. */
export function certificates(directory: string): {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
} {
  const file = (name: string) => join(directory, name);
  const [ca, cert, key] = [file('ca.crt'), file('server.crt'), file('server.key')];
  const issue = (...more: string[]) => {
    const kind = [
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:prime256v1',
      '-nodes',
      '-days',
      '2',
    ];
    execFileSync('openssl', ['req', ...kind, ...more], { stdio: 'ignore' });
  };
  issue('-subj', '/CN=an authority', '-keyout', file('ca.key'), '-out', ca);
  const names = ['-subj', '/CN=db.example', '-addext', 'subjectAltName=IP:127.0.0.1'];
  const leaf = ['-addext', 'basicConstraints=critical,CA:FALSE'];
  issue(...names, ...leaf, '-CA', ca, '-CAkey', file('ca.key'), '-keyout', key, '-out', cert);
  return { ca, cert, key };
}

export interface Wire {
  readonly port: number;
  /** Port that new connections lead to. */
  to: number;
  /** While true: drops the server’s answer and cuts the connection, although the server has done its work. */
  swallow: boolean;
  /** While true: forwards nothing and closes nothing. */
  silent: boolean;
  /** Ends every open connection. */
  cut(): void;
  stop(): Promise<void>;
}

/** Starts a TCP proxy in front of that port. */
export async function startWire(to: number): Promise<Wire> {
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    const far = dial(wire.to, '127.0.0.1');
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        near.destroy();
        far.destroy();
      });
    }
    near.on('data', (bytes) => void (wire.silent || far.write(bytes)));
    far.on('data', (bytes) => {
      if (wire.swallow) near.destroy();
      else if (!wire.silent) near.write(bytes);
    });
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  const wire: Wire = {
    port: (server.address() as AddressInfo).port,
    to,
    swallow: false,
    silent: false,
    cut: () => {
      for (const socket of sockets) socket.destroy();
    },
    stop: async () => {
      wire.cut();
      await new Promise<void>((closed) => server.close(() => closed()));
    },
  };
  return wire;
}

function minorOfPgBouncer(): number {
  const said = execFileSync('pgbouncer', ['--version'], { encoding: 'utf8' });
  return Number(/^PgBouncer 1\.(\d+)/.exec(said)?.[1]);
}

function programs(): string | undefined {
  const base = '/usr/lib/postgresql';
  const versions = existsSync(base) ? readdirSync(base).sort((a, b) => Number(b) - Number(a)) : [];
  return versions.map((version) => join(base, version, 'bin')).find((bin) => existsSync(join(bin, 'initdb')));
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  const { port } = server.address() as AddressInfo;
  await new Promise<void>((closed) => server.close(() => closed()));
  return port;
}

async function untilListening(port: number): Promise<void> {
  for (let tries = 0; tries < 400; tries += 1) {
    const open = await new Promise<boolean>((settle) => {
      const socket = dial(port, '127.0.0.1', () => {
        socket.destroy();
        settle(true);
      });
      socket.on('error', () => settle(false));
    });
    if (open) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`nothing listens on port ${port}`);
}

/** The server listens before it admits anyone. */
async function untilReady(port: number): Promise<void> {
  await untilListening(port);
  const ready = ['-h', '127.0.0.1', '-p', String(port), '-q'];
  for (let tries = 0; tries < 400; tries += 1) {
    try {
      await promisify(execFile)(postgresProgram('pg_isready'), ready);
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  throw new Error('PostgreSQL does not let anyone in');
}
