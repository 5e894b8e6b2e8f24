import pg from 'pg';
import { postgresMigration } from '../../src/postgres.ts';
import { startPostgres } from '../../test/support/engines/postgres.ts';
import { startRedis } from '../../test/support/engines/redis.ts';

/** An engine of its own, and how much room its records take. */
export interface SizedEngine {
  readonly url: string;
  /** On the disk, with indexes, for PostgreSQL; in memory for Redis. */
  bytes(): Promise<number>;
  /** Puts many records there at once, as `Credentials.fill` would one by one; absent where that is quick enough. */
  readonly fill?: ((count: number) => Promise<void>) | undefined;
  /** The port of PostgreSQL, where pgbench finds as many records as `fill` puts there. */
  readonly pgbenchPort?: number | undefined;
  close(): Promise<void>;
}

/** Number of connections to PostgreSQL, of one process. */
export const CONNECTIONS = 16;
/**
 * Of the tenant, ids, key, versions and length that `Credentials` expects. Every other record has the id that pgbench
 * expects.
 */
const IDS = `(SELECT CASE WHEN i % 2 = 0 THEN 'credential-' || i / 2 ELSE (i / 2)::text END AS id
  FROM generate_series(0, $1::int - 1) i) AS ids`;
const FILL_RECORDS = `INSERT INTO holdfast.records (tenant, id, kid, record, version, obtained_at, written_at)
  SELECT 'default', id, 'bench', repeat(md5(random()::text), 45), 'filled', now(), now() FROM ${IDS}`;
const FILL_LEASES = `INSERT INTO holdfast.leases (tenant, id, epoch, released, versions)
  SELECT 'default', id, 0, true, '{"bench": "filled"}' FROM ${IDS}`;
const SIZE = `SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::float8 AS bytes FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'holdfast' AND c.relkind = 'r'`;

/** @param name `postgres` or `redis` */
export async function startSized(name: string): Promise<SizedEngine> {
  if (name === 'postgres') {
    const postgres = await startPostgres();
    const client = new pg.Client({ connectionString: postgres.url() });
    await client.connect();
    await client.query(postgresMigration());
    return {
      url: postgres.url(`?pool_max=${CONNECTIONS}`),
      pgbenchPort: postgres.port,
      fill: async (count) => {
        await client.query(FILL_RECORDS, [count]);
        await client.query(FILL_LEASES, [count]);
        await client.query('VACUUM ANALYZE holdfast.records, holdfast.leases');
      },
      bytes: async () => Number((await client.query(SIZE)).rows[0]?.bytes),
      close: async () => {
        await client.end();
        await postgres.dispose();
      },
    };
  }
  if (name !== 'redis') throw new Error(`--engine takes postgres and redis, and not ${name}.`);
  const redis = await startRedis();
  const client = redis.client();
  return {
    url: redis.url,
    bytes: async () => Number(/used_memory:(\d+)/.exec(await client.info('memory'))?.[1]),
    close: () => redis.stop(),
  };
}
