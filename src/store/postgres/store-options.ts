import type { EngineStoreOptions } from '../engine/engine-store-options.ts';

/** The part of a `pg` pool that is used here. */
export interface PostgresPool {
  query(query: {
    readonly text: string;
    /** The connection prepares the text under this name at its first use, and reuses it afterwards. */
    readonly name?: string;
    readonly values?: unknown[];
    readonly query_timeout?: number;
  }): Promise<{ readonly rows: Record<string, unknown>[] }>;
}

/** The database of the records. Pass `connectionString`, or a `pool` of your own, which you must close yourself. */
export interface PostgresStoreOptions extends EngineStoreOptions {
  /**
   * `postgres://user@host:port/database?sslmode=verify-full`. It may also set `tenant`, `schema`, `pool_max` and
   * `requirepeer`.
   */
  readonly connectionString?: string;
  /** A `Pool` of `pg`. Listen to its `error` event, as `pg` asks. */
  readonly pool?: PostgresPool;
  /** The owner of these records. Default `default`. */
  readonly tenant?: string;
  /** The schema of the tables. Default `holdfast`. */
  readonly schema?: string;
  /** TLS options, as `pg` takes them. Ignored if the URL sets TLS. */
  readonly ssl?: boolean | object;
  /**
   * The user of this machine that must run the server, when it is reached over a Unix socket. Nothing is sent to a
   * socket of another user. Default: `requirepeer` of the URL, else PGREQUIREPEER, else any user.
   */
  readonly requirePeer?: string;
  /** Maximum number of connections. Default 4. */
  readonly poolMax?: number;
  /** Time limit for a statement, and for opening a connection, in milliseconds. Default 5,000. */
  readonly timeoutMs?: number;
}
