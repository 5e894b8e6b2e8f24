import type { Cluster, Redis, RedisOptions } from 'ioredis';
import type { EngineStoreOptions } from '../engine/engine-store-options.ts';

export interface RedisStoreOptions extends EngineStoreOptions {
  /**
   * `redis://user@host:port/number`, or `rediss://` for TLS. A password that is missing in it comes from REDISCLI_AUTH.
   */
  readonly url?: string;
  /** Instead of a URL, a client of the caller’s: for one server, for Sentinel, or for a cluster. It stays open. */
  readonly client?: Redis | Cluster;
  /** The owner of these records. Default `default`. */
  readonly tenant?: string;
  /** The prefix of every key. Default `holdfast`. */
  readonly prefix?: string;
  /** `none` accepts a server that may lose what it acknowledged. */
  readonly durability?: 'none';
  /** Accepts a server that evicts keys when its memory is full. Default `false`. */
  readonly allowEviction?: boolean;
  /** For `rediss://`: certificates and other options, as `tls.connect` takes them. */
  readonly tls?: RedisOptions['tls'];
  /** Time limit for one request to the server, in milliseconds. Default 5,000. */
  readonly timeoutMs?: number;
}
