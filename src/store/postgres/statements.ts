import { MAX_OUTBOX_ENTRIES } from '../engine/engine.ts';
import { checkedSchema } from './names.ts';
import { foreignObjectsOf } from './ownership.ts';
import { DUE } from './schema.ts';

/*
 * The engine's SQL. Each text is one statement that commits alone and needs no session. Its times come from
 * `clock_timestamp()`: the server's clock at that moment, even after a wait for a row.
 *
 * A statement that waits for a row then sees that row in its new state, and all other rows as they were at its start.
 * So the claimed row holds everything that decides a claim, and the record's row everything that decides a write.
 */

export type PostgresStatements = ReturnType<typeof postgresStatements>;

/** Larger than any time: the due time of a record that is never due. */
const NEVER = '9007199254740991';

/** @throws InvalidArgumentError for a name that is not a plain SQL name */
export function postgresStatements(schemaName: string) {
  const schema = checkedSchema(schemaName);
  const records = `${schema}.records`;
  const leases = `${schema}.leases`;
  const outbox = `${schema}.outbox`;
  const ms = (parameter: string) => `${parameter}::float8 * interval '1 millisecond'`;
  const epochMs = (time: string) => `(extract(epoch FROM ${time}) * 1000)::float8`;
  const epoch = (parameter: string) => `${parameter}::float8::bigint`;

  // $1 tenant, $2 id, $3 holder and name of the claim, $4 lease in ms, $5 patience in ms.
  // Two claims with the same holder and name are the same claim. Builds that give no names overwrite the holder.
  const same = `coalesce(l.holder = $3, false)`;
  const named = `l.holder ~ '#[A-Za-z0-9_-]+$'`;
  // If the server's start is in the future, its clock was set back since. Its start time is then useless.
  const over = `clock_timestamp() > ${ms('$5')} + greatest(l.lease_until,
    CASE WHEN pg_postmaster_start_time() <= clock_timestamp() THEN pg_postmaster_start_time() + ${ms('$4')} END)`;
  const free = `(NOT ${same} AND (l.released OR ${over}))`;
  const mine = `(${free} OR (${same} AND NOT l.released))`;
  // The clock was set back since the last extension. The lease then ends its own length from now.
  const ahead = `(NOT l.released AND ${named} AND l.lease_until > clock_timestamp() + ${ms('l.lease_ms')})`;
  const clockMs = `floor(${epochMs('clock_timestamp()')})::bigint`;
  const claimed = `epoch = CASE WHEN ${free} THEN greatest(l.epoch + 1, ${clockMs}) ELSE l.epoch END,
    holder = CASE WHEN ${free} THEN $3 ELSE l.holder END, released = false,
    claimed_at = CASE WHEN ${mine} THEN clock_timestamp() ELSE l.claimed_at END,
    lease_until = clock_timestamp() + CASE WHEN ${mine} THEN ${ms('$4')} ELSE ${ms('l.lease_ms')} END,
    lease_ms = CASE WHEN ${mine} THEN ${epoch('$4')} ELSE l.lease_ms END,
    abandoned_at = CASE WHEN NOT ${free} THEN l.abandoned_at WHEN l.released THEN NULL ELSE l.claimed_at END,
    sent_epoch = CASE WHEN ${free} AND NOT ${named} THEN l.epoch ELSE l.sent_epoch END`;
  const granted = `l.holder = $3 AS granted, l.epoch::float8 AS epoch, l.note, ${epochMs('l.claimed_at')} AS now,
    ${epochMs('l.abandoned_at')} AS abandoned_at`;

  // $1 tenant, $2 id, $3 kid, $4 record, $5 version, $6 age in ms, $7 the version before, $8 the kid before,
  // $9 the claim to end, $10 its note, $11 whether it sent nothing, $12 the claim that must be the last, $13 due in ms,
  // $14 whether to ignore claims after $12 that sent nothing.
  const dueAt = (parameter: string) => `CASE WHEN ${parameter}::float8 IS NULL THEN 0
    ELSE greatest(0, least(${NEVER}::float8, ${epochMs('clock_timestamp()')} + ${parameter}::float8))::bigint END`;
  const put = `INSERT INTO ${records} (tenant, id, kid, record, version, obtained_at, written_at, due_at, due_for)`;
  const row = `$1, $2, $3, $4, $5, clock_timestamp() - ${ms('$6')}, clock_timestamp(), ${dueAt('$13')}, $5`;
  const unused = '$7::text IS NULL AND $8::text IS NULL';
  /**
   * Copies the change in `changed` to the lease row, and ends the claim $9. It sees the current state of that row. It
   * changes no row if somebody has claimed, or sent, after $12.
   */
  const told = (versions: string, gone = "''::text") => `told AS (
    INSERT INTO ${leases} AS l (tenant, id, epoch, released, versions)
    SELECT $1, $2, greatest(${epoch('$9')}, ${epoch('$12')}, 0), true, ${versions} FROM changed
    ON CONFLICT (tenant, id) DO UPDATE SET versions = (l.versions - ${gone}) || excluded.versions,
      released = l.released OR l.epoch = ${epoch('$9')},
      note = CASE WHEN l.epoch = ${epoch('$9')} THEN $10 ELSE l.note END,
      sent_epoch = CASE WHEN l.epoch = ${epoch('$9')} AND NOT $11::boolean THEN l.epoch ELSE l.sent_epoch END
    WHERE $12::float8 IS NULL OR l.epoch <= ${epoch('$12')}
      OR ($14::boolean AND ${named} AND coalesce(l.sent_epoch <= ${epoch('$12')}, true)) RETURNING 1)`;

  return {
    /** Even after the clock was set back, the age is at least that at the write. */
    read: `SELECT record, version, ${epochMs('greatest(clock_timestamp(), written_at) - obtained_at')} AS age_ms
      FROM ${records} WHERE tenant = $1 AND id = $2 AND kid = $3`,
    /** $2 the ids, $3 the kid of each. */
    readMany: `SELECT id, kid, record, version,
        ${epochMs('greatest(clock_timestamp(), written_at) - obtained_at')} AS age_ms
      FROM ${records} JOIN unnest($2::text[], $3::text[]) AS wanted (id, kid) USING (id, kid) WHERE tenant = $1`,
    version: `SELECT version FROM ${records} WHERE tenant = $1 AND id = $2 AND kid = $3`,
    /** If the record changes and its lease row does not, a division by zero undoes the whole statement. */
    create: `WITH changed AS (${put} SELECT ${row} WHERE ${unused} ON CONFLICT DO NOTHING RETURNING 1),
      ${told('jsonb_build_object($3::text, $5::text)')} SELECT 1 / (SELECT count(*) FROM told)::int FROM changed`,
    replace: `WITH changed AS (
        UPDATE ${records} SET record = $4, version = $5, obtained_at = clock_timestamp() - ${ms('$6')},
          written_at = clock_timestamp(), due_at = ${dueAt('$13')}, due_for = $5
        WHERE tenant = $1 AND id = $2 AND kid = $3 AND version = $7 AND $8::text IS NULL RETURNING 1),
      ${told('jsonb_build_object($3::text, $5::text)')} SELECT 1 / (SELECT count(*) FROM told)::int FROM changed`,
    /**
     * Writes the destination first, and only while the source has the expected version. The deletion decides, because
     * it sees the current state of the source.
     */
    move: `WITH changed AS (
        ${put} SELECT ${row} FROM ${records} r
        WHERE r.tenant = $1 AND r.id = $2 AND r.kid = $8 AND r.version = $7 ON CONFLICT DO NOTHING RETURNING 1),
      gone AS (DELETE FROM ${records} WHERE tenant = $1 AND id = $2 AND kid = $8 AND version = $7
        AND EXISTS (SELECT FROM changed) RETURNING 1),
      ${told('jsonb_build_object($3::text, $5::text)', '$8::text')}
      SELECT 1 / ((SELECT count(*) FROM gone) * (SELECT count(*) FROM told))::int FROM changed`,
    /** $4 the version, $5 the claim that must be the last. */
    remove: `WITH changed AS (
        DELETE FROM ${records} WHERE tenant = $1 AND id = $2 AND kid = $3 AND ($4::text IS NULL OR version = $4)
        RETURNING 1),
      told AS (UPDATE ${leases} SET versions = versions - $3::text
        WHERE tenant = $1 AND id = $2 AND EXISTS (SELECT FROM changed)
          AND ($5::float8 IS NULL OR epoch <= ${epoch('$5')}) RETURNING 1)
      SELECT 1 / (CASE WHEN EXISTS (SELECT FROM told) OR NOT EXISTS (
        SELECT FROM ${leases} WHERE tenant = $1 AND id = $2) THEN 1 ELSE 0 END) FROM changed`,
    /** Returns the last claim, if it came after the claim $3. */
    later: `SELECT epoch::float8 AS epoch, greatest(0, ${epochMs('clock_timestamp() - claimed_at')}) AS age_ms,
        NOT released AS open, coalesce(sent_epoch > ${epoch('$3')}, false) OR NOT ${named} AS may_have_sent
      FROM ${leases} l WHERE tenant = $1 AND id = $2 AND epoch > ${epoch('$3')}`,
    list: `SELECT kid, id FROM ${records} WHERE tenant = $1 AND kid <> 'rehearsal'`,
    kidsOf: `SELECT kid FROM ${records} WHERE tenant = $1 AND id = $2`,
    /** $2 how long from now in ms, $3 how many; $4 to $6 the last record of the previous page. */
    due: `SELECT id, kid, version, (${DUE})::float8 AS due_at FROM ${records}
      WHERE tenant = $1 AND kid <> 'rehearsal' AND ${DUE} < ${NEVER}
        AND ${DUE} <= (${epochMs('statement_timestamp()')} + $2::float8)::bigint
        AND (${DUE}, id, kid) > (${epoch('$4')}, $5::text, $6::text)
      ORDER BY ${DUE}, id, kid LIMIT ${epoch('$3')}`,
    reschedule: `UPDATE ${records} SET due_at = ${dueAt('$5')}, due_for = version
      WHERE tenant = $1 AND id = $2 AND kid = $3 AND version = $4 RETURNING 1`,
    claim: `INSERT INTO ${leases} AS l
        (tenant, id, epoch, released, holder, claimed_at, lease_until, lease_ms, versions)
      VALUES ($1, $2, ${clockMs}, false, $3, clock_timestamp(), clock_timestamp() + ${ms('$4')}, ${epoch('$4')}, '{}')
      ON CONFLICT (tenant, id) DO UPDATE SET ${claimed} WHERE ${mine} OR ${ahead} RETURNING ${granted}`,
    /**
     * As `claim`, while the record of the kid $6 has the version $7. If nothing is claimed, the other columns tell why.
     */
    claimVersion: `WITH granted AS (
        UPDATE ${leases} AS l SET ${claimed}
        WHERE tenant = $1 AND id = $2 AND l.versions ->> $6 = $7 AND (${mine} OR ${ahead}) RETURNING ${granted})
      SELECT granted.*,
        EXISTS (SELECT FROM ${leases} WHERE tenant = $1 AND id = $2 AND versions ->> $6 = $7) AS current,
        EXISTS (SELECT FROM ${records} WHERE tenant = $1 AND id = $2 AND kid = $6 AND version = $7) AS there
      FROM (SELECT 1) AS one LEFT JOIN granted ON true`,
    /**
     * Creates the lease row, or updates one that is older than the record, as after a restore of one table. The lock on
     * the record prevents a change of the record before the lease row has its version.
     */
    retell: `WITH held AS (SELECT FROM ${records}
        WHERE tenant = $1 AND id = $2 AND kid = $3 AND version = $4 FOR SHARE)
      INSERT INTO ${leases} AS l (tenant, id, epoch, released, versions)
      SELECT $1, $2, 0, true, jsonb_build_object($3::text, $4::text) FROM held
      ON CONFLICT (tenant, id) DO UPDATE SET versions = l.versions || excluded.versions`,
    withdraw: `UPDATE ${leases} SET released = true
      WHERE tenant = $1 AND id = $2 AND right(holder, length($3) + 1) = '#' || $3`,
    /** $5 whether its holder is about to send; $6 and $7 the kid and the version that the record must have. */
    renew: `UPDATE ${leases} SET lease_until = clock_timestamp() + ${ms('$4')}, lease_ms = ${epoch('$4')},
        sent_epoch = CASE WHEN $5::boolean THEN epoch ELSE sent_epoch END
      WHERE tenant = $1 AND id = $2 AND epoch = ${epoch('$3')} AND NOT released
        AND ($6::text IS NULL OR versions ->> $6 = $7) RETURNING 1`,
    /** $5 whether its holder sent nothing. */
    release: `UPDATE ${leases} SET released = true, note = $4,
        sent_epoch = CASE WHEN $5::boolean THEN sent_epoch ELSE epoch END
      WHERE tenant = $1 AND id = $2 AND epoch = ${epoch('$3')}`,
    leased: `SELECT 1 FROM ${leases}
      WHERE tenant = $1 AND id = $2 AND NOT released AND lease_until >= clock_timestamp()`,
    leasedAmong: `SELECT id FROM ${leases}
      WHERE tenant = $1 AND id = ANY($2::text[]) AND NOT released AND lease_until >= clock_timestamp()`,
    putOutbox: `INSERT INTO ${outbox} (tenant, id, name, kid, record, generation, epoch)
      VALUES ($1, $2, $3, $4, $5, ${epoch('$6')}, ${epoch('$7')}) ON CONFLICT DO NOTHING`,
    trimOutbox: `DELETE FROM ${outbox} WHERE tenant = $1 AND id = $2 AND name IN (
        SELECT name FROM ${outbox} WHERE tenant = $1 AND id = $2
        ORDER BY generation DESC, epoch DESC, written_at DESC OFFSET ${MAX_OUTBOX_ENTRIES})
      RETURNING name`,
    listOutbox: `SELECT name, kid, record, ${epochMs('written_at')} AS written_at FROM ${outbox}
      WHERE tenant = $1 AND id = $2 ORDER BY generation DESC, epoch DESC, written_at DESC`,
    removeOutbox: `DELETE FROM ${outbox} WHERE tenant = $1 AND id = $2 AND name = ANY($3::text[])`,
    setAside: `INSERT INTO ${schema}.journal (entry, tenant, id, kid, why, record) VALUES ($1, $2, $3, $4, $5, $6)`,
    forgetRehearsal: `WITH gone AS (DELETE FROM ${records} WHERE tenant = $1 AND id = $2 AND kid = 'rehearsal')
      DELETE FROM ${leases} WHERE tenant = $1 AND id = $2`,
    /** A demoted server refuses this write, unlike a query; the client then drops the connection. */
    writable: `DELETE FROM ${records} WHERE false`,
    status: `SELECT s.*, ${epochMs('clock_timestamp()')} AS now FROM ${schema}.status($1) s`,
    /** Reads the facts that must hold before the database is trusted with a login. */
    check: `SELECT current_setting('server_version_num')::int AS server,
        (SELECT max(version) FROM ${schema}.schema_version) AS compatible_version,
        (SELECT max(coalesce((to_jsonb(s) ->> 'revision')::int, s.version)) FROM ${schema}.schema_version s) AS schema_version,
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
          AND has_table_privilege('${schema}.journal', 'INSERT')
          AND coalesce((SELECT bool_and(has_table_privilege(to_regclass('${outbox}')::oid, needed))
            FROM unnest(ARRAY['SELECT', 'INSERT', 'DELETE']) needed), true) AS privileged,
        NOT row_security_active('${records}') OR EXISTS (SELECT FROM ${schema}.tenant_roles
          WHERE role = current_user AND tenant = $1) AS admitted,
        (SELECT relowner::regrole::text FROM pg_class WHERE oid = '${records}'::regclass) AS owner,
        ${foreignObjectsOf(schema)} AS foreign_objects,
        ${epochMs('clock_timestamp()')} AS now`,
  };
}
