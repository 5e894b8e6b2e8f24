import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { InvalidArgumentError } from '../../src/errors.ts';
import { postgresMigration } from '../../src/postgres.ts';
import { openPostgresStore } from '../../src/store/postgres/pool.ts';
import { NO_POSTGRES, type Postgres, startPostgres } from '../support/engines/postgres.ts';

/* The powers of a database role of one tenant over another tenant. */

describe.skipIf(NO_POSTGRES)('a database role of one tenant', () => {
  let postgres: Postgres;
  let owner: Client;
  let acme: Client;
  let umbrella: Client;
  let stranger: Client;

  async function client(user?: string): Promise<Client> {
    const opened = new Client({ connectionString: postgres.url('', user) });
    opened.on('error', () => {});
    await opened.connect();
    return opened;
  }

  beforeAll(async () => {
    postgres = await startPostgres();
    owner = await client();
    await owner.query(postgresMigration());
    await owner.query(`CREATE ROLE acme LOGIN; CREATE ROLE umbrella LOGIN; CREATE ROLE stranger LOGIN;
      GRANT holdfast_app TO acme, umbrella, stranger;
      INSERT INTO holdfast.tenant_roles VALUES ('acme', 'acme'), ('umbrella', 'umbrella')`);
    [acme, umbrella, stranger] = [await client('acme'), await client('umbrella'), await client('stranger')];
    const record = "INSERT INTO holdfast.records VALUES ($1, 'i', 'k', 'v', now(), now(), 'r')";
    await acme.query(record, ['acme']);
    await umbrella.query(record, ['umbrella']);
    await acme.query(
      "INSERT INTO holdfast.leases (tenant, id, epoch, released, versions) VALUES ('acme', 'i', 0, true, '{}')",
    );
  });
  afterAll(async () => {
    await Promise.all([owner, acme, umbrella, stranger].map((one) => one?.end()));
    await postgres?.dispose();
  });

  test('a role of one tenant sees only its own rows', async () => {
    expect((await umbrella.query('SELECT tenant FROM holdfast.records')).rows).toEqual([
      { tenant: 'umbrella' },
    ]);
    expect((await umbrella.query('SELECT 1 FROM holdfast.leases')).rowCount).toBe(0);
  });

  test('a role without a tenant sees nothing', async () => {
    for (const table of ['records', 'leases', 'tenant_roles']) {
      expect([table, (await stranger.query(`SELECT 1 FROM holdfast.${table}`)).rowCount]).toEqual([table, 0]);
    }
  });

  test.each([
    [
      'write for another tenant',
      "INSERT INTO holdfast.records VALUES ('acme', 'z', 'k', 'v', now(), now(), 'r')",
    ],
    [
      'write for another tenant with ON CONFLICT',
      "INSERT INTO holdfast.records VALUES ('acme', 'i', 'k', 'v', now(), now(), 'r') ON CONFLICT DO NOTHING",
    ],
    ['move a row to another tenant', "UPDATE holdfast.records SET tenant = 'acme'"],
    ['admit itself', "INSERT INTO holdfast.tenant_roles VALUES ('umbrella', 'acme')"],
    [
      'write into the journal of another tenant',
      "INSERT INTO holdfast.journal (entry, tenant, id, kid, why, record) VALUES ('e', 'acme', 'i', 'k', 'late', 'r')",
    ],
    ['read the journal', 'SELECT * FROM holdfast.journal'],
    ['truncate', 'TRUNCATE holdfast.records'],
    ['drop the policy', 'DROP POLICY own_tenants ON holdfast.records'],
    ['switch row-level security off', 'ALTER TABLE holdfast.records DISABLE ROW LEVEL SECURITY'],
    ['count what another tenant has', "SELECT * FROM holdfast.status('acme')"],
    ['become the other role', 'SET ROLE acme'],
    ['take over the other session', 'SET SESSION AUTHORIZATION acme'],
    ['make a table in the schema', 'CREATE TABLE holdfast.x (a int)'],
    ['run a program', "COPY holdfast.records TO PROGRAM 'id'"],
  ])('a role of one tenant may not %s', async (_, sql) => {
    await expect(umbrella.query(sql)).rejects.toThrow();
    expect(
      (await owner.query("SELECT count(*)::int AS n FROM holdfast.records WHERE tenant = 'acme'")).rows,
    ).toEqual([{ n: 1 }]);
  });

  test('changes no row of another tenant by UPDATE or DELETE', async () => {
    expect(
      (await umbrella.query("UPDATE holdfast.records SET record = 'x' WHERE tenant = 'acme'")).rowCount,
    ).toBe(0);
    expect((await umbrella.query("DELETE FROM holdfast.records WHERE tenant = 'acme'")).rowCount).toBe(0);
  });

  test('the group role itself sees nothing', async () => {
    await umbrella.query('SET ROLE holdfast_app');
    expect((await umbrella.query('SELECT 1 FROM holdfast.records')).rowCount).toBe(0);
    await umbrella.query('RESET ROLE');
  });

  test('gets an error and no rows with row_security off', async () => {
    await umbrella.query('SET row_security = off');
    await expect(umbrella.query('SELECT 1 FROM holdfast.records')).rejects.toThrow(/row-level security/);
    await umbrella.query('RESET row_security');
  });

  test('gains nothing from a temporary table with the same name and a search_path', async () => {
    const own = await client('umbrella');
    try {
      await own.query(`CREATE TEMP TABLE tenant_roles (role name, tenant text);
        INSERT INTO tenant_roles VALUES ('umbrella', 'acme'); SET search_path = pg_temp, pg_catalog`);
      await expect(own.query("SELECT * FROM holdfast.status('acme')")).rejects.toThrow(/not admitted/);
      expect((await own.query('SELECT tenant FROM holdfast.records')).rows).toEqual([{ tenant: 'umbrella' }]);
    } finally {
      await own.end();
    }
  });

  test('a cheap function of a role sees no row of another tenant', async () => {
    const own = await client('umbrella');
    const notices: (string | undefined)[] = [];
    own.on('notice', ({ message }) => notices.push(message));
    try {
      await own.query(`CREATE FUNCTION pg_temp.leak(t text) RETURNS bool LANGUAGE plpgsql COST 0.0000001
        AS $$ BEGIN RAISE NOTICE '%', t; RETURN true; END $$`);
      await own.query('SELECT 1 FROM holdfast.records WHERE pg_temp.leak(tenant)');
      expect(notices).toEqual(['umbrella']);
    } finally {
      await own.end();
    }
  });
});

test.each([
  'a"; DROP TABLE x; --',
  "a'b",
  'A',
  '',
  'a.b',
  'pg_catalog; --',
  'a'.repeat(41),
  'é',
  'a\0b',
  '__proto__',
])('refuses a schema called %j before it asks the database', (schema) => {
  expect(() => openPostgresStore({ connectionString: 'postgres://127.0.0.1:1/d', schema })).toThrow(
    InvalidArgumentError,
  );
});
