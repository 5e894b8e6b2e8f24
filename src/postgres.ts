/**
 * `holdfast/postgres`: records in a PostgreSQL database that many machines share (docs/fleet.md). Needs the package
 * `pg`.
 */

import { openPostgresStore } from './store/postgres/pool.ts';
import type { PostgresStoreOptions } from './store/postgres/store-options.ts';
import type { RecordStore } from './store/record-store.ts';

export { POSTGRES_SCHEMA_VERSION, postgresMigration } from './store/postgres/schema.ts';
export type { PostgresPool, PostgresStoreOptions } from './store/postgres/store-options.ts';

/**
 * Makes a store in a PostgreSQL database.
 *
 * @example openVault({ store: postgresStore({ connectionString: 'postgres://holdfast@db/logins?sslmode=verify-full' }) })
 * @throws InvalidArgumentError for unusable options
 */
export function postgresStore(options: PostgresStoreOptions): RecordStore {
  return openPostgresStore(options);
}
