import { checkedSchema } from './names.ts';
import { ownershipCheck, TABLES } from './ownership.ts';

/*
 * Holdfast's tables in PostgreSQL, and the rights to them. `holdfast store migrate` runs this SQL. `--print` shows it,
 * for databases that only an administrator may change.
 */

/** The version of the tables that this Holdfast reads and writes. */
export const POSTGRES_SCHEMA_VERSION = 2;

/**
 * The oldest version of the tables whose builds still work with the current tables. The column `schema_version.version`
 * holds it; the column `revision` holds the version of the tables themselves. So a fleet can be updated one machine at a
 * time: migrate first, then the builds of both versions work side by side.
 */
export const POSTGRES_COMPATIBLE_VERSION = 1;

/**
 * When a record is due, in milliseconds since the epoch. It is 0 where the last writer set none, as builds of version 1
 * do.
 */
export const DUE = 'CASE WHEN due_for = version THEN due_at ELSE 0 END';

/**
 * Returns the SQL that updates a database from any earlier version, or from nothing, to `POSTGRES_SCHEMA_VERSION`. It
 * is safe to repeat, and safe while other processes run.
 *
 * @param schema a plain SQL name, which is also the prefix of the names of its roles
 * @throws InvalidArgumentError for a name that would need quotes
 */
export function postgresMigration(schema = 'holdfast'): string {
  return `-- Holdfast in PostgreSQL 12 and later: sealed records, the leases of their refreshes, and what was set aside.
${postgresMigrationSteps(schema)
  .map((step) => `BEGIN;\n${step}COMMIT;\n`)
  .join('\n')}`;
}

/**
 * Returns the same SQL in steps. Send each as one query, in this order. Each query is one transaction, which stays open
 * on no connection when it fails.
 */
export function postgresMigrationSteps(schema: string): string[] {
  const name = checkedSchema(schema);
  return [TABLES_STEP, INDEX_STEP].map((step) => step.replaceAll('holdfast', name));
}

/**
 * Runs before the wait for any table lock. It runs again once the locks are held, when nobody can add to the tables.
 */
const CHECK = ownershipCheck('holdfast');

const TABLES_STEP = `-- No name below means an object of another schema.
SET LOCAL search_path = pg_catalog, pg_temp;
SELECT pg_advisory_xact_lock(hashtext('holdfast migration'));

CREATE SCHEMA IF NOT EXISTS holdfast;

-- Refuses where somebody else made the schema, or an object in it: their code would run as this user. Asked again below.
${CHECK}

CREATE TABLE IF NOT EXISTS holdfast.schema_version (
  version integer PRIMARY KEY,
  migrated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- One row for each sealed record. The database sees ciphertext, ids and times.
CREATE TABLE IF NOT EXISTS holdfast.records (
  tenant text NOT NULL,
  id text NOT NULL CHECK (octet_length(id) BETWEEN 1 AND 200),
  kid text NOT NULL CHECK (octet_length(kid) BETWEEN 1 AND 200),
  version text NOT NULL,
  obtained_at timestamptz NOT NULL,
  written_at timestamptz NOT NULL,
  record text NOT NULL CHECK (octet_length(record) <= 1048576),
  PRIMARY KEY (tenant, id, kid)
) WITH (fillfactor = 80);

-- One narrow row for each id, which stays when its records go: the epoch never starts again. It changes twice in each
-- refresh, in place (no other index, room in each page). It repeats the versions of the records, because a statement
-- that waited for this row sees it as it is now, and other tables as they were when it began.
CREATE TABLE IF NOT EXISTS holdfast.leases (
  tenant text NOT NULL,
  id text NOT NULL,
  epoch bigint NOT NULL,
  released boolean NOT NULL,
  lease_until timestamptz,
  claimed_at timestamptz,
  abandoned_at timestamptz,
  holder text,
  note text CHECK (octet_length(note) <= 2048),
  versions jsonb NOT NULL,
  PRIMARY KEY (tenant, id)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

-- What was set aside for people: records that did not open, and answers that came too late. Only ever added to.
CREATE TABLE IF NOT EXISTS holdfast.journal (
  entry text PRIMARY KEY,
  tenant text NOT NULL,
  id text NOT NULL,
  kid text NOT NULL,
  why text NOT NULL CHECK (why IN ('damaged', 'late')),
  record text NOT NULL CHECK (octet_length(record) <= 1048576),
  written_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Which tenants a database role may see. The owner of the tables sees all of them.
-- To admit a role:  GRANT holdfast_app TO acme; INSERT INTO holdfast.tenant_roles (role, tenant) VALUES ('acme', 'acme');
CREATE TABLE IF NOT EXISTS holdfast.tenant_roles (
  role name NOT NULL,
  tenant text NOT NULL,
  PRIMARY KEY (role, tenant)
);

-- A server's answers that could not be written to the record, each on its own, until something supersedes them. (Version 2)
CREATE TABLE IF NOT EXISTS holdfast.outbox (
  tenant text NOT NULL,
  id text NOT NULL CHECK (octet_length(id) BETWEEN 1 AND 200),
  name text NOT NULL CHECK (octet_length(name) BETWEEN 1 AND 100),
  generation bigint NOT NULL,
  epoch bigint NOT NULL,
  kid text NOT NULL CHECK (octet_length(kid) BETWEEN 1 AND 200),
  record text NOT NULL CHECK (octet_length(record) <= 1048576),
  written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tenant, id, name)
);

LOCK TABLE ${TABLES.map((name) => `holdfast.${name}`).join(', ')} IN ACCESS EXCLUSIVE MODE;
${CHECK}

-- Version 2: when records are due, and answers that the records have not taken yet. Builds of version 1 go on working with
-- these tables: whatever they leave out has a default.
ALTER TABLE holdfast.schema_version ADD COLUMN IF NOT EXISTS revision integer NOT NULL DEFAULT 1;

-- Who claimed last is in "holder", with the name of the claim: a claim that is said again is recognised by it. sent_epoch is
-- the last claim that may have sent a request, lease_ms how long the lease was when it was last made longer.
ALTER TABLE holdfast.leases ADD COLUMN IF NOT EXISTS sent_epoch bigint;
ALTER TABLE holdfast.leases ADD COLUMN IF NOT EXISTS lease_ms bigint;

-- due_at, in ms since the epoch, holds for the version due_for: who writes another version and no due time makes it due now.
ALTER TABLE holdfast.records ADD COLUMN IF NOT EXISTS due_at bigint NOT NULL DEFAULT 0;
ALTER TABLE holdfast.records ADD COLUMN IF NOT EXISTS due_for text;

ALTER TABLE holdfast.records ENABLE ROW LEVEL SECURITY;
ALTER TABLE holdfast.leases ENABLE ROW LEVEL SECURITY;
ALTER TABLE holdfast.journal ENABLE ROW LEVEL SECURITY;
ALTER TABLE holdfast.outbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE holdfast.tenant_roles ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS own_tenants ON holdfast.records;
DROP POLICY IF EXISTS own_tenants ON holdfast.leases;
DROP POLICY IF EXISTS own_tenants ON holdfast.journal;
DROP POLICY IF EXISTS own_tenants ON holdfast.outbox;
DROP POLICY IF EXISTS own_tenants ON holdfast.tenant_roles;
CREATE POLICY own_tenants ON holdfast.tenant_roles USING (role = current_user);
CREATE POLICY own_tenants ON holdfast.records
  USING (EXISTS (SELECT FROM holdfast.tenant_roles r WHERE r.role = current_user AND r.tenant = records.tenant));
CREATE POLICY own_tenants ON holdfast.leases
  USING (EXISTS (SELECT FROM holdfast.tenant_roles r WHERE r.role = current_user AND r.tenant = leases.tenant));
CREATE POLICY own_tenants ON holdfast.journal
  USING (EXISTS (SELECT FROM holdfast.tenant_roles r WHERE r.role = current_user AND r.tenant = journal.tenant));
CREATE POLICY own_tenants ON holdfast.outbox
  USING (EXISTS (SELECT FROM holdfast.tenant_roles r WHERE r.role = current_user AND r.tenant = outbox.tenant));

-- Counts and times. It runs as the owner, so that nobody who only counts needs to read a table.
-- Never replaced: a function keeps its owner when it is.
DROP FUNCTION IF EXISTS holdfast.status(text);
CREATE FUNCTION holdfast.status(of_tenant text)
RETURNS TABLE (records bigint, claims bigint, oldest_silent_ms float8, written_last_hour bigint, damaged bigint, late bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $status$
BEGIN
  IF NOT pg_has_role(session_user, (SELECT relowner FROM pg_class WHERE oid = 'holdfast.records'::regclass), 'MEMBER')
     AND NOT EXISTS (SELECT FROM holdfast.tenant_roles r WHERE r.role = session_user AND r.tenant = of_tenant)
     AND NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'holdfast_status' AND pg_has_role(session_user, oid, 'MEMBER'))
  THEN
    RAISE insufficient_privilege USING MESSAGE = 'this role is not admitted to that tenant';
  END IF;
  RETURN QUERY SELECT
    (SELECT count(*) FROM holdfast.records WHERE tenant = of_tenant AND kid <> 'rehearsal'),
    (SELECT count(*) FROM holdfast.leases WHERE tenant = of_tenant AND NOT released),
    (SELECT max(extract(epoch FROM clock_timestamp() - lease_until) * 1000)::float8
      FROM holdfast.leases WHERE tenant = of_tenant AND NOT released AND lease_until < clock_timestamp()),
    (SELECT count(*) FROM holdfast.records WHERE tenant = of_tenant AND kid <> 'rehearsal'
      AND written_at > clock_timestamp() - interval '1 hour'),
    (SELECT count(*) FROM holdfast.journal WHERE tenant = of_tenant AND why = 'damaged'),
    (SELECT count(*) FROM holdfast.journal WHERE tenant = of_tenant AND why = 'late');
END
$status$;
REVOKE ALL ON FUNCTION holdfast.status(text) FROM PUBLIC;

-- Two roles without login, to be granted. Where this user may not make roles, an administrator runs this text.
DO $roles$
DECLARE wanted name;
BEGIN
  FOREACH wanted IN ARRAY ARRAY['holdfast_app', 'holdfast_status']::name[] LOOP
    BEGIN
      IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
        EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
      END IF;
    EXCEPTION
      WHEN duplicate_object OR unique_violation THEN NULL;
      WHEN insufficient_privilege THEN
        RAISE NOTICE 'The role % was not made: this user may not make roles.', wanted;
    END;
  END LOOP;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'holdfast_app') THEN
    GRANT USAGE ON SCHEMA holdfast TO holdfast_app;
    GRANT SELECT, INSERT, UPDATE, DELETE ON holdfast.records, holdfast.leases, holdfast.outbox TO holdfast_app;
    GRANT INSERT ON holdfast.journal TO holdfast_app;
    GRANT SELECT ON holdfast.schema_version, holdfast.tenant_roles TO holdfast_app;
    GRANT EXECUTE ON FUNCTION holdfast.status(text) TO holdfast_app;
  END IF;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'holdfast_status') THEN
    GRANT USAGE ON SCHEMA holdfast TO holdfast_status;
    GRANT SELECT ON holdfast.schema_version TO holdfast_status;
    GRANT EXECUTE ON FUNCTION holdfast.status(text) TO holdfast_status;
  END IF;
END
$roles$;

INSERT INTO holdfast.schema_version (version) VALUES (1) ON CONFLICT DO NOTHING;
`;

const INDEX_STEP = `-- In a transaction of its own: while the index is built records can be read, and writes wait (seconds for a million).
SET LOCAL search_path = pg_catalog, pg_temp;
SELECT pg_advisory_xact_lock(hashtext('holdfast migration'));

-- Nobody can add a trigger before the update below.
LOCK TABLE holdfast.schema_version IN SHARE ROW EXCLUSIVE MODE;
${CHECK}

CREATE INDEX IF NOT EXISTS records_due ON holdfast.records (tenant, (${DUE}), id, kid);
UPDATE holdfast.schema_version SET revision = 2 WHERE version = 1 AND revision < 2;
`;
