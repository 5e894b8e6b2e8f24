import { InvalidArgumentError } from '../../errors.ts';
import { type Environment, processEnvironment } from '../../system/environment.ts';
import { EngineStore } from '../engine/engine-store.ts';
import type { LazyEngine } from '../engine/engine-store-options.ts';
import { isUncheckedTls } from '../engine/unchecked-tls.ts';
import { type PostgresAddress, postgresAddress } from './address.ts';
import { checkedSchema, checkedTenant } from './names.ts';
import { PostgresEngine } from './postgres.ts';
import type { PostgresPool, PostgresStoreOptions } from './store-options.ts';

type Pg = typeof import('pg');

const POOL_MAX = 4;
const TIMEOUT_MS = 5000;

/**
 * How long a connection lives, in seconds. The plan of a named statement suits the tables as they were when it was made.
 * PostgreSQL makes it again after it has analyzed a table, which an operator may have turned off.
 */
const LIFETIME_SECONDS = 600;

/**
 * Opens a store in PostgreSQL. It connects when it is first used.
 *
 * @throws InvalidArgumentError for invalid options; at the first use, when the package `pg` is not installed
 */
export function openPostgresStore(
  options: PostgresStoreOptions,
  environment?: Pick<Environment, 'variables'>,
  load?: () => Promise<Pg>,
): EngineStore {
  return new EngineStore(postgresEngine(options, environment, load), options);
}

/** Returns the engine of such a store. Throws the errors of `openPostgresStore`. */
export function postgresEngine(
  options: PostgresStoreOptions,
  environment: Pick<Environment, 'variables'> = processEnvironment(),
  load: () => Promise<Pg> = () => import('pg'),
): LazyEngine {
  const { connectionString, pool } = options;
  if ((connectionString === undefined) === (pool === undefined)) {
    throw new InvalidArgumentError('A PostgreSQL store takes a connectionString or a pool, one of the two.');
  }
  const address = connectionString === undefined ? undefined : postgresAddress(connectionString, environment);
  const tenant = checkedTenant(options.tenant ?? address?.tenant ?? 'default');
  const schema = checkedSchema(options.schema ?? address?.schema ?? 'holdfast');
  const max = positive('pool_max', options.poolMax ?? address?.poolMax ?? POOL_MAX, 1000);
  const timeoutMs = positive('timeoutMs', options.timeoutMs ?? TIMEOUT_MS, 600_000);
  const common = { id: address?.shown ?? 'PostgreSQL', tenant, schema, timeoutMs };
  const open = async () => {
    if (address === undefined) {
      return new PostgresEngine({
        ...common,
        pool: pool as PostgresPool,
        exposed: undefined,
        end: async () => {},
      });
    }
    const { Pool } = (await loaded(load)).default;
    const requirePeer = options.requirePeer || address.requirePeer;
    const stream =
      requirePeer !== undefined && address.isSocket ? await socketsOf(requirePeer, common.id) : undefined;
    const listeners = new Set<() => void>();
    const broke = () => {
      for (const listener of listeners) listener();
    };
    const connect = () => {
      const pool = new Pool({
        connectionString: address.connectionString,
        max,
        connectionTimeoutMillis: timeoutMs,
        maxLifetimeSeconds: LIFETIME_SECONDS,
        allowExitOnIdle: true,
        application_name: 'holdfast',
        ...(options.ssl !== undefined && { ssl: options.ssl }),
        ...(stream !== undefined && { stream }),
      });
      // The pool replaces an idle connection that broke at its next use.
      pool.on('error', broke);
      return pool;
    };
    let own = connect();
    const closing = new Set<Promise<void>>();
    const renew = () => {
      const before = own;
      own = connect();
      // `end` waits for statements that still use a connection of the old pool.
      const ended = before.end().finally(() => closing.delete(ended));
      closing.add(ended);
      broke();
    };
    const exposed = exposedBy(options.ssl, address, environment);
    return new PostgresEngine({
      ...common,
      pool: { query: (query) => own.query(query) },
      exposed,
      renew,
      onBroken: (listener) => void listeners.add(listener),
      end: async () => void (await Promise.all([own.end(), ...closing])),
    });
  };
  return { id: common.id, tenant, load: open };
}

async function socketsOf(user: string, where: string) {
  const { socketsToServerOf } = await import('./peer.ts');
  return socketsToServerOf(user, where);
}

async function loaded(load: () => Promise<Pg>): Promise<Pg> {
  try {
    return await load();
  } catch (cause) {
    throw new InvalidArgumentError('A PostgreSQL store needs the package pg, which cannot be loaded.', {
      cause,
      hint: 'npm install pg',
    });
  }
}

function positive(what: string, value: number, most: number): number {
  if (Number.isInteger(value) && value >= 1 && value <= most) return value;
  throw new InvalidArgumentError(`${what} of the PostgreSQL store must be a whole number from 1 to ${most}.`);
}

/** The caller's TLS options decide if the URL does not set TLS. They may leave the certificate unchecked too. */
export function exposedBy(
  ssl: PostgresStoreOptions['ssl'],
  { exposed, saysTls }: Pick<PostgresAddress, 'exposed' | 'saysTls'>,
  { variables }: Pick<Environment, 'variables'>,
): PostgresAddress['exposed'] {
  if (ssl === undefined || ssl === false || saysTls) return exposed;
  return isUncheckedTls(ssl, variables) ? 'unchecked' : undefined;
}
