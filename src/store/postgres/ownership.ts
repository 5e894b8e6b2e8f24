/*
 * Checks whether somebody else has changed our tables. A role that may create objects in the database can create our
 * schema before us, with a trigger in it. `IF NOT EXISTS` then accepts their schema as ours. The trigger runs as the
 * administrator who migrates (the kind of CVE-2022-2625). Row-level security does not bind the owner of a table either.
 */

/** The SQLSTATE of the migration's refusal. Neither SQL nor PostgreSQL uses its class. */
export const FOREIGN_OBJECTS = 'HF001';

export const TABLES = ['schema_version', 'records', 'leases', 'journal', 'tenant_roles', 'outbox'];

/** Maximum number of objects that are named. */
const NAMED = 5;

/**
 * SQL of a text with a line for each object that the owner of the tables need not trust; empty when all objects are
 * ours.
 */
export function foreignObjectsOf(schema: string): string {
  const owner = `SELECT relowner FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass('${schema}.records')`;
  return `pg_catalog.array_to_string(ARRAY(${foreignObjects(schema, owner)}), E'\\n')`;
}

/** SQL that fails with FOREIGN_OBJECTS if the schema contains objects that this user need not trust. */
export function ownershipCheck(schema: string): string {
  const self = 'SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user';
  return `DO $check$
DECLARE
  foreign_objects text[] := ARRAY(${foreignObjects(schema, self)});
BEGIN
  IF foreign_objects <> '{}' THEN
    RAISE EXCEPTION USING ERRCODE = '${FOREIGN_OBJECTS}',
      MESSAGE = 'the schema ${schema} holds objects that are not yours: ' || array_to_string(foreign_objects, '; '),
      HINT = 'If another role of yours owns the tables, migrate as that role. Otherwise find out who made these objects, and drop them.';
  END IF;
END
$check$;`;
}

/**
 * A role trusts its own objects, and those of the roles whose rights it has. A superuser has the rights of every role,
 * and the most to lose, so it trusts superusers only. Triggers and rules run their author's code with the rights of the
 * role that writes to the table, and Holdfast has none. So a trigger's function must belong to the role itself, or to a
 * superuser if the role is one. Event triggers are not checked: only a superuser can create one.
 *
 * @param trusting SQL that selects the oid of the role
 */
function foreignObjects(schema: string, trusting: string): string {
  const catalog = (name: string) => `'pg_catalog.${name}'::pg_catalog.regclass`;
  const described = (name: string, oid: string) =>
    `pg_catalog.pg_describe_object(${catalog(name)}, ${oid}, 0)`;
  const inSchema = (name: string, column: string) =>
    `pg_catalog.${name} WHERE ${column} = (SELECT oid FROM place)`;
  const onOurs = (name: string, column: string) =>
    `pg_catalog.${name} WHERE ${column} IN (SELECT oid FROM ours)`;
  return `
    WITH me AS (SELECT oid, rolsuper FROM pg_catalog.pg_roles WHERE oid = (${trusting})),
    place AS (SELECT oid, nspowner, nspacl FROM pg_catalog.pg_namespace WHERE nspname = '${schema}'),
    ours AS (SELECT oid, relkind FROM ${inSchema('pg_class', 'relnamespace')}
      AND relname IN (${TABLES.map((name) => `'${name}'`).join(', ')})),
    trusted AS (SELECT r.oid FROM pg_catalog.pg_roles r, me WHERE r.oid = me.oid
      OR CASE WHEN me.rolsuper THEN r.rolsuper ELSE pg_catalog.pg_has_role(me.oid, r.oid, 'USAGE') END),
    owned (what, owner) AS (
      SELECT ${described('pg_namespace', 'oid')}, nspowner FROM place
      UNION ALL SELECT ${described('pg_class', 'oid')}, relowner FROM ${inSchema('pg_class', 'relnamespace')}
        AND relkind NOT IN ('i', 'I', 'c')
      UNION ALL SELECT ${described('pg_proc', 'oid')}, proowner FROM ${inSchema('pg_proc', 'pronamespace')}
      UNION ALL SELECT ${described('pg_type', 'oid')}, typowner FROM ${inSchema('pg_type', 'typnamespace')}
        AND typelem = 0
      UNION ALL SELECT ${described('pg_operator', 'oid')}, oprowner FROM ${inSchema('pg_operator', 'oprnamespace')}
      UNION ALL SELECT ${described('pg_default_acl', 'oid')}, defaclrole FROM ${inSchema('pg_default_acl', 'defaclnamespace')}),
    parts (class, oid) AS (
      SELECT ${catalog('pg_class')}::oid, oid FROM ours
      UNION ALL SELECT ${catalog('pg_class')}, indexrelid FROM ${onOurs('pg_index', 'indrelid')}
      UNION ALL SELECT ${catalog('pg_attrdef')}, oid FROM ${onOurs('pg_attrdef', 'adrelid')}
      UNION ALL SELECT ${catalog('pg_constraint')}, oid FROM ${onOurs('pg_constraint', 'conrelid')}
      UNION ALL SELECT ${catalog('pg_policy')}, oid FROM ${onOurs('pg_policy', 'polrelid')}),
    strange (what) AS (
      SELECT ${described('pg_class', 'oid')} FROM ours WHERE relkind <> 'r'
      UNION ALL SELECT ${described('pg_trigger', 'oid')} FROM ${onOurs('pg_trigger', 'tgrelid')} AND NOT tgisinternal
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_proc f JOIN pg_catalog.pg_roles r ON r.oid = f.proowner, me
          WHERE f.oid = tgfoid AND (r.oid = me.oid OR me.rolsuper AND r.rolsuper))
      UNION ALL SELECT ${described('pg_rewrite', 'oid')} FROM ${onOurs('pg_rewrite', 'ev_class')}
      UNION ALL SELECT ${described('pg_policy', 'oid')} FROM ${onOurs('pg_policy', 'polrelid')} AND polname <> 'own_tenants'
      UNION ALL SELECT ${described('pg_constraint', 'oid')} FROM pg_catalog.pg_constraint WHERE contype = 'f'
        AND (conrelid IN (SELECT oid FROM ours) OR confrelid IN (SELECT oid FROM ours))
      UNION ALL SELECT 'the inheritance of ' || ${described('pg_class', 'inhrelid')} FROM pg_catalog.pg_inherits
        WHERE inhrelid IN (SELECT oid FROM ours) OR inhparent IN (SELECT oid FROM ours)
      UNION ALL SELECT pg_catalog.pg_describe_object(refclassid, refobjid, 0) || ', which '
          || pg_catalog.pg_describe_object(classid, objid, 0) || ' uses,'
        FROM pg_catalog.pg_depend JOIN parts ON classid = parts.class AND objid = parts.oid
        WHERE refclassid IN (${['pg_proc', 'pg_operator', 'pg_opclass', 'pg_type'].map(catalog).join(', ')}))
    SELECT what || ' belongs to ' || coalesce(r.rolname, 'nobody') FROM owned LEFT JOIN pg_catalog.pg_roles r ON r.oid = owner
      WHERE EXISTS (SELECT FROM me) AND owner NOT IN (SELECT oid FROM trusted)
    UNION ALL SELECT what || ' is not Holdfast''s' FROM strange
    UNION ALL SELECT 'the role ' || coalesce(r.rolname, 'PUBLIC') || ' may create objects in it'
      FROM place, pg_catalog.aclexplode(nspacl) a LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.grantee
      WHERE privilege_type = 'CREATE' AND grantee <> nspowner AND EXISTS (SELECT FROM me)
        AND grantee NOT IN (SELECT oid FROM trusted)
    LIMIT ${NAMED}`;
}
