import { foreignObjectsOf } from './postgres-ownership.ts';

/*
 * What the engine says to PostgreSQL: each is one statement, committed by itself, that needs no session. Times are those of
 * `clock_timestamp()`, the clock of the server at that very moment, also after a wait for a row.
 *
 * A statement that waits for a row sees that row as it is afterwards, and all others as they were when it began. So
 * whatever decides a claim stands in the one row that is claimed, and what decides a write in the record's.
 */

export type PostgresStatements = ReturnType<typeof postgresStatements>;

export function postgresStatements(schema: string) {
  const records = `${schema}.records`;
  const leases = `${schema}.leases`;
  const ms = (parameter: string) => `${parameter}::float8 * interval '1 millisecond'`;
  // $1 tenant, $2 id, $3 holder, $4 lease in ms, $5 patience in ms.
  const claimed = `epoch = l.epoch + 1, released = false, holder = $3, claimed_at = clock_timestamp(),
    lease_until = clock_timestamp() + ${ms('$4')}, abandoned_at = CASE WHEN l.released THEN NULL ELSE l.claimed_at END`;
  const claimable = `(l.released OR clock_timestamp() >
    greatest(l.lease_until, pg_postmaster_start_time() + ${ms('$4')}) + ${ms('$5')})`;
  const epochMs = (time: string) => `(extract(epoch FROM ${time}) * 1000)::float8`;
  const granted = `l.epoch::float8 AS epoch, l.note, ${epochMs('l.claimed_at')} AS now,
    ${epochMs('l.abandoned_at')} AS abandoned_at`;

  /** Tells the lease row of what `changed` has written, and ends the claim $9 with the note $10, if it is the last one. */
  const told = (versions: string, gone = "''::text") => `told AS (
    INSERT INTO ${leases} AS l (tenant, id, epoch, released, versions)
    SELECT $1, $2, 0, true, ${versions} FROM changed
    ON CONFLICT (tenant, id) DO UPDATE SET versions = (l.versions - ${gone}) || excluded.versions,
      released = l.released OR l.epoch = $9::float8::bigint,
      note = CASE WHEN l.epoch = $9::float8::bigint THEN $10 ELSE l.note END)`;
  // $1 tenant, $2 id, $3 kid, $4 record, $5 version, $6 age in ms, $7 the version before, $8 the kid before.
  const put = `INSERT INTO ${records} (tenant, id, kid, record, version, obtained_at, written_at)`;
  const row = `$1, $2, $3, $4, $5, clock_timestamp() - ${ms('$6')}, clock_timestamp()`;
  const unused = '$7::text IS NULL AND $8::text IS NULL';

  return {
    read: `SELECT record, version, ${epochMs('clock_timestamp() - obtained_at')} AS age_ms
      FROM ${records} WHERE tenant = $1 AND id = $2 AND kid = $3`,
    version: `SELECT version FROM ${records} WHERE tenant = $1 AND id = $2 AND kid = $3`,
    create: `WITH changed AS (${put} SELECT ${row} WHERE ${unused} ON CONFLICT DO NOTHING RETURNING 1),
      ${told('jsonb_build_object($3::text, $5::text)')} SELECT 1 FROM changed`,
    replace: `WITH changed AS (
        UPDATE ${records} SET record = $4, version = $5, obtained_at = clock_timestamp() - ${ms('$6')},
          written_at = clock_timestamp()
        WHERE tenant = $1 AND id = $2 AND kid = $3 AND version = $7 AND $8::text IS NULL RETURNING 1),
      ${told('jsonb_build_object($3::text, $5::text)')} SELECT 1 FROM changed`,
    /**
     * The new place is taken first, and only while the old one has the expected version; the deletion decides, since it sees
     * the row as it is. Its outcome is checked in the same statement: a division by zero undoes all of it.
     */
    move: `WITH changed AS (
        ${put} SELECT ${row} FROM ${records} r
        WHERE r.tenant = $1 AND r.id = $2 AND r.kid = $8 AND r.version = $7 ON CONFLICT DO NOTHING RETURNING 1),
      gone AS (DELETE FROM ${records} WHERE tenant = $1 AND id = $2 AND kid = $8 AND version = $7
        AND EXISTS (SELECT FROM changed) RETURNING 1),
      ${told('jsonb_build_object($3::text, $5::text)', '$8::text')}
      SELECT 1 / (SELECT count(*) FROM gone)::int FROM changed`,
    remove: `WITH changed AS (
        DELETE FROM ${records} WHERE tenant = $1 AND id = $2 AND kid = $3 AND ($4::text IS NULL OR version = $4)
        RETURNING 1),
      told AS (UPDATE ${leases} SET versions = versions - $3::text
        WHERE tenant = $1 AND id = $2 AND EXISTS (SELECT FROM changed))
      SELECT 1 FROM changed`,
    list: `SELECT kid, id FROM ${records} WHERE tenant = $1 AND kid <> 'rehearsal'`,
    kidsOf: `SELECT kid FROM ${records} WHERE tenant = $1 AND id = $2`,
    claim: `INSERT INTO ${leases} AS l (tenant, id, epoch, released, holder, claimed_at, lease_until, versions)
      VALUES ($1, $2, 1, false, $3, clock_timestamp(), clock_timestamp() + ${ms('$4')}, '{}')
      ON CONFLICT (tenant, id) DO UPDATE SET ${claimed} WHERE ${claimable} RETURNING ${granted}`,
    /** As `claim`, while the record of the key $6 has the version $7. Where nothing is claimed, `current` tells why. */
    claimVersion: `WITH granted AS (
        UPDATE ${leases} AS l SET ${claimed}
        WHERE tenant = $1 AND id = $2 AND l.versions ->> $6 = $7 AND ${claimable} RETURNING ${granted})
      SELECT granted.*, EXISTS (SELECT FROM ${leases} WHERE tenant = $1 AND id = $2 AND versions ->> $6 = $7) AS current
      FROM (SELECT 1) AS one LEFT JOIN granted ON true`,
    renew: `UPDATE ${leases} SET lease_until = clock_timestamp() + ${ms('$4')}
      WHERE tenant = $1 AND id = $2 AND epoch = $3::float8::bigint AND NOT released RETURNING 1`,
    release: `UPDATE ${leases} SET released = true, note = $4
      WHERE tenant = $1 AND id = $2 AND epoch = $3::float8::bigint`,
    leased: `SELECT 1 FROM ${leases}
      WHERE tenant = $1 AND id = $2 AND NOT released AND lease_until >= clock_timestamp()`,
    setAside: `INSERT INTO ${schema}.journal (entry, tenant, id, kid, why, record) VALUES ($1, $2, $3, $4, $5, $6)`,
    forgetRehearsal: `WITH gone AS (DELETE FROM ${records} WHERE tenant = $1 AND id = $2 AND kid = 'rehearsal')
      DELETE FROM ${leases} WHERE tenant = $1 AND id = $2`,
    status: `SELECT s.*, ${epochMs('clock_timestamp()')} AS now FROM ${schema}.status($1) s`,
    /** What must hold before a login is trusted to it. */
    check: `SELECT current_setting('server_version_num')::int AS server,
        (SELECT max(version) FROM ${schema}.schema_version) AS schema_version,
        pg_is_in_recovery() AS replica,
        current_setting('transaction_read_only') AS read_only,
        current_setting('synchronous_commit') AS synchronous_commit,
        current_setting('fsync') AS fsync,
        current_setting('full_page_writes') AS full_page_writes,
        current_user::text AS role,
        has_table_privilege('${records}', 'SELECT') AND has_table_privilege('${records}', 'INSERT')
          AND has_table_privilege('${records}', 'UPDATE') AND has_table_privilege('${records}', 'DELETE')
          AND has_table_privilege('${leases}', 'SELECT') AND has_table_privilege('${leases}', 'INSERT')
          AND has_table_privilege('${leases}', 'UPDATE') AND has_table_privilege('${leases}', 'DELETE')
          AND has_table_privilege('${schema}.journal', 'INSERT') AS privileged,
        NOT row_security_active('${records}') OR EXISTS (SELECT FROM ${schema}.tenant_roles
          WHERE role = current_user AND tenant = $1) AS admitted,
        (SELECT relowner::regrole::text FROM pg_class WHERE oid = '${records}'::regclass) AS owner,
        ${foreignObjectsOf(schema)} AS foreign_objects,
        ${epochMs('clock_timestamp()')} AS now`,
  };
}
