/**
 * `holdfast/redis`: records in Redis or Valkey that many machines share (docs/redis.md). Needs the package `ioredis`.
 */
import type { RecordStore } from './store/record-store.ts';
import { openRedisStore } from './store/redis/open.ts';
import type { RedisStoreOptions } from './store/redis/store-options.ts';

export type { RedisStoreOptions } from './store/redis/store-options.ts';

/**
 * Makes a store in Redis 5 or later, or Valkey. It connects on first use, and writes nothing to a server that cannot
 * store it durably (`StoreUnsuitableError`).
 *
 * @example openVault({ store: redisStore({ url: 'rediss://holdfast@redis.internal:6379' }) })
 * @throws InvalidArgumentError for a URL, a client or a name that cannot be used
 */
export function redisStore(options: RedisStoreOptions): RecordStore {
  return openRedisStore(options);
}
