import { InvalidArgumentError } from '../../errors.ts';
import { type Environment, processEnvironment } from '../../system/environment.ts';
import { EngineStore } from '../engine/engine-store.ts';
import type { LazyEngine } from '../engine/engine-store-options.ts';
import { isUncheckedTls } from '../engine/unchecked-tls.ts';
import { checkedName, type RedisAddress, redisAddress } from './address.ts';
import { type Package, RedisConnection } from './connection.ts';
import type { GuardOptions } from './guard.ts';
import { RedisEngine } from './redis.ts';
import type { RedisStoreOptions } from './store-options.ts';

const TIMEOUT_MS = 5000;

/**
 * Opens a store in Redis 5 or later, or Valkey. It connects when it is first used. It writes nothing to a server that
 * cannot keep it (`StoreUnsuitableError`).
 *
 * @throws InvalidArgumentError for a URL, a client or a name that cannot be used
 */
export function openRedisStore(
  options: RedisStoreOptions,
  environment?: Pick<Environment, 'variables'>,
  load?: () => Promise<Package>,
): EngineStore {
  return new EngineStore(redisEngine(options, environment, load), options);
}

/** Returns the engine of such a store. Throws the errors of `openRedisStore`. */
export function redisEngine(
  options: RedisStoreOptions,
  environment: Pick<Environment, 'variables'> = processEnvironment(),
  load: () => Promise<Package> = () => import('ioredis'),
): LazyEngine {
  const { url, client, timeoutMs = TIMEOUT_MS } = options;
  if ((url === undefined) === (client === undefined)) {
    throw new InvalidArgumentError('The Redis store takes either a `url` or a `client`.', {
      hint: "redisStore({ url: 'rediss://user@host:6379' })",
    });
  }
  if (!Number.isSafeInteger(timeoutMs) || timeoutMs < 1) {
    throw new InvalidArgumentError('`timeoutMs` of the Redis store is not a whole number of milliseconds.', {
      hint: 'Leave it out for 5,000.',
    });
  }
  const address = url === undefined ? undefined : redisAddress(url, environment.variables);
  const given = client === undefined ? undefined : RedisConnection.given(client, timeoutMs);
  const tenant = checkedName('tenant', options.tenant ?? address?.tenant ?? 'default');
  const engine = {
    id: address?.shown ?? 'redis',
    tenant,
    prefix: checkedName('prefix', options.prefix ?? address?.prefix ?? 'holdfast'),
    allowed: {
      durability: options.durability ?? address?.durability,
      allowEviction: options.allowEviction ?? address?.allowEviction ?? false,
    },
    timeoutMs,
    exposed: exposedBy(options, address, environment),
  };
  const connect = async () => {
    if (given !== undefined) return given;
    if (address === undefined) throw new TypeError('There is an address where there is no client.');
    return RedisConnection.open(address, options.tls, timeoutMs, load);
  };
  return { id: engine.id, tenant, load: async () => new RedisEngine(await connect(), engine) };
}

/** For a caller's own client, only its TLS options are known, and not the location of its server. */
function exposedBy(
  { tls, client }: Pick<RedisStoreOptions, 'tls' | 'client'>,
  address: RedisAddress | undefined,
  { variables }: Pick<Environment, 'variables'>,
): GuardOptions['exposed'] {
  if (address === undefined) {
    const options = client === undefined || 'nodes' in client ? client?.options.redisOptions : client.options;
    return options?.tls && isUncheckedTls(options.tls, variables) ? 'unchecked' : undefined;
  }
  if (!address.isRemote) return undefined;
  if (!address.tls) return 'plain';
  return isUncheckedTls(tls, variables) ? 'unchecked' : undefined;
}
