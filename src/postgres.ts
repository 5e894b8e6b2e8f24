/**
 * `holdfast/postgres`: records in a PostgreSQL database that many machines share (docs/fleet.md). Needs the package
 * `pg`.
 */
import type { EngineStore } from './store/engine/engine-store.ts';
import { openPostgresStore, type PostgresStoreOptions } from './store/postgres/pool.ts';

export type { PostgresStoreOptions } from './store/postgres/pool.ts';
export { POSTGRES_SCHEMA_VERSION, postgresMigration } from './store/postgres/schema.ts';
export type { PostgresPool } from './store/postgres/statement-runner.ts';

/**
 * Makes a store in a PostgreSQL database.
 *
 * @example openVault({ store: postgresStore({ connectionString: 'postgres://holdfast@db/logins?sslmode=verify-full' }) })
 * @throws InvalidArgumentError for unusable options
 */
export function postgresStore(options: PostgresStoreOptions): EngineStore {
  return openPostgresStore(options);
}
