import { readFile } from 'node:fs/promises';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { StoreDeniedError } from '../../../src/errors.ts';
import { postgresMigration } from '../../../src/postgres.ts';
import { openPostgresStore } from '../../../src/store/postgres/pool.ts';
import type { PostgresEngine } from '../../../src/store/postgres/postgres.ts';
import { NO_POSTGRES, type Postgres, startPostgres } from '../../support/engines/postgres.ts';

/*
 * A database role that may create objects used the schema before the administrator migrates. Each case would run code
 * as the administrator, or bypass row-level security.
 */

const SCHEMA = 'CREATE SCHEMA holdfast;';
const VERSIONS = `CREATE TABLE holdfast.schema_version (version integer PRIMARY KEY,
  migrated_at timestamptz NOT NULL DEFAULT clock_timestamp());`;
/** Makes mallory a superuser if a superuser runs it. */
const EVIL = `IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN EXECUTE 'ALTER ROLE mallory SUPERUSER'; END IF;`;
const TRIGGER = `CREATE FUNCTION holdfast.t() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ${EVIL} RETURN NEW; END $$;`;
const now = (schema: string) =>
  `CREATE FUNCTION ${schema}.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN ${EVIL} RETURN clock_timestamp(); END $$;`;

describe.skipIf(NO_POSTGRES)('a migration in a database where another role was first', () => {
  let postgres: Postgres;
  let databases = 0;

  beforeAll(async () => {
    postgres = await startPostgres();
    await as(
      'owner',
      'postgres',
      'CREATE ROLE mallory LOGIN; CREATE ROLE admin LOGIN CREATEROLE; CREATE ROLE team',
    );
    await as('owner', 'postgres', 'GRANT team TO admin');
  });
  afterAll(() => postgres.dispose());

  function address(user: string, database: string): string {
    return postgres.url('', user).replace(/postgres$/, database);
  }

  async function as(user: string, database: string, sql: string): Promise<Record<string, unknown>[]> {
    const client = new Client({ connectionString: address(user, database) });
    await client.connect();
    try {
      const result: unknown = await client.query(sql);
      return (Array.isArray(result) ? result.at(-1) : result).rows;
    } finally {
      await client.end();
    }
  }

  /** A database of admin in which mallory may only create schemas. */
  async function database(): Promise<string> {
    const name = `shared_${++databases}`;
    await as('owner', 'postgres', `CREATE DATABASE ${name} OWNER admin`);
    await as(
      'owner',
      name,
      `GRANT CREATE ON DATABASE ${name} TO mallory; GRANT CREATE ON SCHEMA public TO mallory`,
    );
    return name;
  }

  async function engine(user: string, name: string): Promise<PostgresEngine> {
    const store = openPostgresStore({ connectionString: address(user, name) });
    onTestFinished(() => store.close());
    return (await store.engine()) as PostgresEngine;
  }

  async function isSuperuser(): Promise<unknown> {
    const [row] = await as('owner', 'postgres', "SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'");
    return row?.['rolsuper'];
  }

  describe.each(['owner', 'admin'])('as %s', (user) => {
    test.each([
      ['a schema of another role', SCHEMA],
      [
        'a trigger on a table of theirs',
        `${SCHEMA} ${VERSIONS} ${TRIGGER}
        CREATE TRIGGER t BEFORE INSERT ON holdfast.schema_version FOR EACH ROW EXECUTE FUNCTION holdfast.t();`,
      ],
      [
        'a default that calls a function of theirs',
        `${SCHEMA} ${now('public')}
        CREATE TABLE holdfast.schema_version (version integer PRIMARY KEY, migrated_at timestamptz DEFAULT public.now());`,
      ],
      [
        'a view in the place of a table',
        `${SCHEMA} CREATE VIEW holdfast.schema_version AS SELECT 1 AS version;`,
      ],
      [
        'a function in the place of ours',
        `${SCHEMA} CREATE FUNCTION holdfast.status(of_tenant text) RETURNS int
        LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';`,
      ],
      [
        'a table in the place of the outbox',
        `${SCHEMA} CREATE TABLE holdfast.outbox (tenant text, id text);`,
      ],
      ['a table in the place of the index', `${SCHEMA} CREATE TABLE holdfast.records_due (tenant text);`],
      [
        'an index under the name of ours',
        `${SCHEMA} CREATE TABLE holdfast.t (a int); CREATE INDEX records_due ON holdfast.t (a);`,
      ],
      ['a type', `${SCHEMA} CREATE TYPE holdfast.t AS ENUM ('a');`],
      [
        'rights that others are given by default',
        `${SCHEMA} ALTER DEFAULT PRIVILEGES IN SCHEMA holdfast GRANT ALL ON TABLES TO PUBLIC;`,
      ],
    ])('the migration refuses %s, and changes nothing', async (_what, squat) => {
      const name = await database();
      await as('mallory', name, squat);
      const migrating = (await engine(user, name)).migrate();
      await expect(migrating).rejects.toBeInstanceOf(StoreDeniedError);
      await expect(migrating).rejects.toThrow(/mallory/);
      await expect(as(user, name, postgresMigration())).rejects.toMatchObject({ code: 'HF001' });
      expect(await isSuperuser()).toBe(false);
      expect(await as('owner', name, "SELECT 1 FROM pg_class WHERE relname = 'records'")).toHaveLength(0);
    });

    test.each([
      [
        'a trigger by one who was granted only that',
        'GRANT USAGE ON SCHEMA holdfast TO mallory; GRANT TRIGGER ON holdfast.records TO mallory',
        `
        CREATE FUNCTION public.t() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ${EVIL} RETURN NEW; END $$;
        CREATE TRIGGER t BEFORE INSERT ON holdfast.records FOR EACH ROW EXECUTE FUNCTION public.t();`,
      ],
      [
        'a trigger on the outbox',
        'GRANT USAGE ON SCHEMA holdfast TO mallory; GRANT TRIGGER ON holdfast.outbox TO mallory',
        `
        CREATE FUNCTION public.t() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ${EVIL} RETURN NEW; END $$;
        CREATE TRIGGER t BEFORE INSERT ON holdfast.outbox FOR EACH ROW EXECUTE FUNCTION public.t();`,
      ],
      [
        'a policy on the outbox that lets another role in',
        'CREATE POLICY mallory ON holdfast.outbox USING (true)',
        '',
      ],
      ['an outbox that was given away', 'ALTER TABLE holdfast.outbox OWNER TO mallory', ''],
      ['a table that was given away', 'ALTER TABLE holdfast.leases OWNER TO mallory', ''],
      [
        'a schema that was given away',
        'GRANT USAGE ON SCHEMA holdfast TO PUBLIC; ALTER SCHEMA holdfast OWNER TO mallory',
        '',
      ],
      [
        'a schema in which another role may create objects',
        'GRANT USAGE, CREATE ON SCHEMA holdfast TO mallory',
        '',
      ],
      [
        'a schema in which everybody may create objects',
        'GRANT USAGE, CREATE ON SCHEMA holdfast TO PUBLIC',
        '',
      ],
      ['a policy that lets another role in', 'CREATE POLICY mallory ON holdfast.records USING (true)', ''],
      [
        'a table that inherits from one of ours',
        '',
        'CREATE TABLE public.child (a int)',
        'ALTER TABLE public.child OWNER TO mallory; DROP TABLE public.child; CREATE TABLE public.child () INHERITS (holdfast.journal)',
      ],
    ])(
      'the migration refuses %s, and the examination reports it',
      async (_what, before, squat, after = '') => {
        const name = await database();
        const migrated = await engine(user, name);
        await migrated.migrate();
        await migrated.migrate();
        const sound = await migrated.examine();
        expect(sound.filter(({ level }) => level === 'error')).toEqual([]);
        await as('owner', name, before);
        await as('mallory', name, squat);
        await as('owner', name, after);
        const found = (await migrated.examine()).filter(({ level }) => level === 'error');
        expect(found.map(({ message }) => message).join()).toContain('Another role has a hand in its tables');
        await expect(migrated.migrate()).rejects.toBeInstanceOf(StoreDeniedError);
        const fresh = await engine(user, name);
        const address = { kid: 'kid', id: 'id' };
        const writing = fresh.write(address, undefined, { record: 'r', version: 'v', ageMs: 0 });
        await expect(writing).rejects.toBeInstanceOf(StoreDeniedError);
        expect(await isSuperuser()).toBe(false);
      },
    );
  });

  test('refuses objects of a role that the administrator is a member of, if they run code', async () => {
    const name = await database();
    await as('owner', name, `GRANT mallory TO admin`);
    onTestFinished(async () => void (await as('owner', 'postgres', 'REVOKE mallory FROM admin')));
    await as(
      'mallory',
      name,
      `${SCHEMA} ${VERSIONS} ${TRIGGER}
      CREATE TRIGGER t BEFORE INSERT ON holdfast.schema_version FOR EACH ROW EXECUTE FUNCTION holdfast.t();`,
    );
    await expect((await engine('admin', name)).migrate()).rejects.toThrow(/trigger t/);
  });

  test('accepts tables of a role whose rights the administrator has', async () => {
    const name = await database();
    await as(
      'owner',
      name,
      `GRANT CREATE ON DATABASE ${name} TO team; CREATE SCHEMA holdfast AUTHORIZATION team`,
    );
    const migrated = await engine('admin', name);
    await migrated.migrate();
    await migrated.migrate();
    await migrated.selfTest();
    expect((await migrated.examine()).filter(({ level }) => level === 'error')).toEqual([]);
  });

  test('examines tables of version 1 again before it brings them to version 2', async () => {
    const name = await database();
    const old = await readFile(
      new URL('../../fixtures/version-1/postgres-schema.sql', import.meta.url),
      'utf8',
    );
    await as('admin', name, old);
    await as(
      'admin',
      name,
      'GRANT USAGE ON SCHEMA holdfast TO mallory; GRANT TRIGGER ON holdfast.schema_version TO mallory',
    );
    await as(
      'mallory',
      name,
      `CREATE FUNCTION public.t() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ${EVIL} RETURN NEW; END $$;
      CREATE TRIGGER t BEFORE UPDATE ON holdfast.schema_version FOR EACH ROW EXECUTE FUNCTION public.t();`,
    );
    const mine = await engine('admin', name);
    await expect(mine.migrate()).rejects.toThrow(/trigger t/);
    expect(await as('owner', name, "SELECT to_regclass('holdfast.outbox') AS outbox")).toEqual([
      { outbox: null },
    ]);
    expect(await isSuperuser()).toBe(false);
    await as('admin', name, 'DROP TRIGGER t ON holdfast.schema_version');
    await mine.migrate();
    await mine.migrate();
    expect((await mine.examine()).filter(({ level }) => level === 'error')).toEqual([]);
    expect(await as('admin', name, 'SELECT version, revision FROM holdfast.schema_version')).toEqual([
      { version: 1, revision: 2 },
    ]);
  });

  test('accepts a trigger whose function is the owner’s own', async () => {
    const name = await database();
    const migrated = await engine('admin', name);
    await migrated.migrate();
    await as(
      'admin',
      name,
      `CREATE FUNCTION public.own() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
      CREATE TRIGGER own BEFORE INSERT ON holdfast.records FOR EACH ROW EXECUTE FUNCTION public.own();`,
    );
    await migrated.migrate();
    await migrated.selfTest();
  });

  test('waits for a role that is changing a table, and sees the change', async () => {
    const name = await database();
    const migrated = await engine('admin', name);
    await migrated.migrate();
    await as(
      'admin',
      name,
      'GRANT USAGE ON SCHEMA holdfast TO mallory; GRANT TRIGGER ON holdfast.records TO mallory',
    );
    const mallory = new Client({ connectionString: address('mallory', name) });
    await mallory.connect();
    await mallory.query(`BEGIN; CREATE FUNCTION public.t() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
      CREATE TRIGGER t BEFORE INSERT ON holdfast.records FOR EACH ROW EXECUTE FUNCTION public.t();`);
    const migrating = migrated.migrate();
    const refused = expect(migrating).rejects.toThrow(/trigger t/);
    const waits = `SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = '${name}'`;
    await expect.poll(() => as('owner', 'postgres', waits)).toHaveLength(1);
    await mallory.query('COMMIT');
    await mallory.end();
    await refused;
    // The refused connection still works.
    expect((await migrated.examine()).some(({ message }) => message.includes('trigger t'))).toBe(true);
  });
});
