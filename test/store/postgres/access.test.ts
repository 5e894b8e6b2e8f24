import { inspect } from 'node:util';
import { Client, Pool } from 'pg';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import {
  type HoldfastError,
  InvalidArgumentError,
  StoreDeniedError,
  StoreUnreachableError,
} from '../../../src/errors.ts';
import { POSTGRES_SCHEMA_VERSION, postgresMigration } from '../../../src/postgres.ts';
import type { EngineStore } from '../../../src/store/engine/engine-store.ts';
import { postgresError } from '../../../src/store/postgres/errors.ts';
import { openPostgresStore } from '../../../src/store/postgres/pool.ts';
import { storeContract } from '../../../src/testing/index.ts';
import {
  certificates,
  NO_OPENSSL,
  NO_POSTGRES,
  type Postgres,
  startPostgres,
  startReplica,
} from '../../support/engines/postgres.ts';
import { temporaryDirectory } from '../../support/homes/home.ts';

const ADDRESS = { kid: 'kid', id: 'id' };
const PASSWORD = 'correct/horse#battery';
const WRONG = 'a-wrong-guess';

/** The error of a store that cannot read a record. */
async function refusal(store: EngineStore): Promise<HoldfastError> {
  return (await store.read(ADDRESS).then(
    () => undefined,
    (error: unknown) => error,
  )) as HoldfastError;
}

describe.skipIf(NO_POSTGRES)('access to PostgreSQL', () => {
  let postgres: Postgres;
  let count = 0;
  /** A name that no other test uses. */
  const fresh = (what: string) => `${what}_${++count}`;

  beforeAll(async () => {
    postgres = await startPostgres({ admission: 'host all guarded 127.0.0.1/32 scram-sha-256' });
    const store = openPostgresStore({ connectionString: postgres.url() });
    await (await store.engine()).migrate?.();
    await store.close();
    await asOwner(`CREATE ROLE guarded LOGIN SUPERUSER PASSWORD '${PASSWORD}'`);
  });
  afterAll(() => postgres.dispose());

  async function client(url: string): Promise<Client> {
    const opened = new Client({ connectionString: url });
    opened.on('error', () => {});
    await opened.connect();
    return opened;
  }

  async function asOwner(sql: string, database = 'postgres'): Promise<Record<string, unknown>[]> {
    const owner = await client(postgres.url().replace(/postgres$/, database));
    try {
      const result: unknown = await owner.query(sql);
      return (Array.isArray(result) ? result.at(-1) : result).rows;
    } finally {
      await owner.end();
    }
  }

  function storeAt(connectionString: string, tenant = fresh('tenant')): EngineStore {
    const store = openPostgresStore({ connectionString, tenant, timeoutMs: 3000 });
    onTestFinished(() => store.close());
    return store;
  }

  test('leaves the caller’s pool open when the store is closed', async () => {
    const pool = new Pool({ connectionString: postgres.url(), max: 2 });
    onTestFinished(() => pool.end());
    const store = openPostgresStore({ pool, tenant: fresh('tenant') });
    await store.cas(ADDRESS, undefined, 'one');
    await store.close();
    await store.close();
    expect(
      (await pool.query('SELECT record FROM holdfast.records WHERE record = $1', ['one'])).rowCount,
    ).toBe(1);
  });

  describe('by a password', () => {
    const guarded = (password?: string, variables = {}) => {
      const login = password === undefined ? 'guarded' : `guarded:${encodeURIComponent(password)}`;
      const store = openPostgresStore({ connectionString: postgres.url('', login) }, { variables });
      onTestFinished(() => store.close());
      return store;
    };

    test('takes the password from the URL or from PGPASSWORD', async () => {
      expect(await guarded(PASSWORD).read(ADDRESS)).toBeUndefined();
      expect(await guarded(undefined, { PGPASSWORD: PASSWORD }).read(ADDRESS)).toBeUndefined();
      expect(await guarded(PASSWORD, { PGPASSWORD: WRONG }).read(ADDRESS)).toBeUndefined();
    });

    test('refuses a missing or wrong password, and never shows it', async () => {
      for (const store of [guarded(WRONG), guarded(undefined, { PGPASSWORD: WRONG })]) {
        const refused = await refusal(store);
        expect(refused).toBeInstanceOf(StoreDeniedError);
        expect(refused.hint).toContain('PGPASSWORD');
        expect(inspect(refused, { depth: null, showHidden: true })).not.toContain(WRONG);
        expect(inspect(store, { depth: null, showHidden: true })).not.toContain(WRONG);
      }
      expect(await refusal(guarded())).toBeInstanceOf(StoreDeniedError);
    });
  });

  describe.skipIf(NO_OPENSSL)('through TLS', () => {
    test('connects with TLS only if the certificate is good', async () => {
      const files = certificates(await temporaryDirectory());
      const others = certificates(await temporaryDirectory());
      const server = await startPostgres({ admission: 'hostnossl all all 127.0.0.1/32 reject', tls: files });
      onTestFinished(() => server.dispose());
      const trusting = (ca: string) =>
        server.url(`?sslmode=verify-full&sslrootcert=${encodeURIComponent(ca)}`);
      const good = await storeAt(trusting(files.ca)).engine();
      await good.migrate?.();
      await good.selfTest();
      expect((await good.examine()).map(({ level }) => level)).not.toContain('error');

      const wrong = [
        storeAt(trusting(others.ca)),
        storeAt(server.url('?sslmode=verify-full')),
        // The certificate names another host.
        storeAt(trusting(files.ca).replace('127.0.0.1', 'localhost')),
      ];
      for (const store of wrong) {
        const refused = await refusal(store);
        expect(refused).toBeInstanceOf(StoreUnreachableError);
        expect(refused.hint).toContain('sslrootcert');
      }
      expect(await refusal(storeAt(server.url()))).toBeInstanceOf(StoreDeniedError);
      expect(await refusal(storeAt(trusting(`${files.ca}.gone`)))).toBeInstanceOf(InvalidArgumentError);
    });

    test('does not fall back to plain text when the server has no TLS', async () => {
      const refused = await refusal(storeAt(postgres.url('?sslmode=verify-full')));
      expect(refused).toBeInstanceOf(StoreUnreachableError);
      expect(refused.hint).toContain('TLS');
    });
  });

  test('a user who may not create roles creates the tables, and is told which roles are missing', async () => {
    const [user, database] = [fresh('maker'), fresh('database')];
    await asOwner(`CREATE ROLE ${user} LOGIN NOCREATEROLE`);
    await asOwner(`CREATE DATABASE ${database} OWNER ${user}`);
    const url = postgres.url('', user).replace(/postgres$/, database);
    const maker = await client(url);
    onTestFinished(() => maker.end());
    const notices: (string | undefined)[] = [];
    maker.on('notice', ({ message }) => notices.push(message));
    await maker.query(postgresMigration('apart'));
    for (const role of ['apart_app', 'apart_status']) {
      expect(notices).toContain(`The role ${role} was not made: this user may not make roles.`);
    }
    const store = storeAt(`${url}?schema=apart`);
    await (await store.engine()).migrate?.();
    await store.selfTest();
    expect((await store.cas(ADDRESS, undefined, 'one')).outcome).toBe('ok');
  });

  test('a user of the status role sees counts, and no record', async () => {
    const [user, tenant] = [fresh('counter'), fresh('tenant')];
    await asOwner(`CREATE ROLE ${user} LOGIN; GRANT holdfast_status TO ${user}`);
    await storeAt(postgres.url(), tenant).cas(ADDRESS, undefined, 'one');
    const counting = storeAt(postgres.url('', user), tenant);
    expect(await (await counting.engine()).status()).toMatchObject({ records: 1, claims: 0 });
    expect(await refusal(counting)).toBeInstanceOf(StoreDeniedError);
    await expect(counting.cas(ADDRESS, undefined, 'two')).rejects.toBeInstanceOf(StoreDeniedError);
    const raw = await client(postgres.url('', user));
    onTestFinished(() => raw.end());
    for (const table of ['records', 'leases', 'journal']) {
      await expect(raw.query(`SELECT * FROM holdfast.${table}`)).rejects.toThrow(/permission denied/);
    }
  });

  test('does not write to tables that a newer Holdfast created', async () => {
    const schema = fresh('newer');
    await asOwner(postgresMigration(schema));
    await asOwner(`INSERT INTO ${schema}.schema_version VALUES (${POSTGRES_SCHEMA_VERSION + 1})`);
    const store = storeAt(postgres.url(`?schema=${schema}`));
    for (const step of [store.cas(ADDRESS, undefined, 'one'), store.lock(ADDRESS.id, { waitMs: 0 })]) {
      await expect(step).rejects.toMatchObject({
        code: 'store-unsuitable',
        hint: expect.stringContaining('Update Holdfast'),
      });
    }
    expect(await asOwner(`SELECT FROM ${schema}.records`)).toHaveLength(0);
  });

  describe('the contract of a store, for a role that is admitted to one tenant', () => {
    const contract = storeContract(async () => {
      const name = fresh('worker');
      await asOwner(`CREATE ROLE ${name} LOGIN; GRANT holdfast_app TO ${name};
        INSERT INTO holdfast.tenant_roles VALUES ('${name}', '${name}')`);
      const open = () => openPostgresStore({ connectionString: postgres.url('', name), tenant: name });
      return { store: open(), reopen: async () => open(), dispose: async () => {} };
    });
    for (const { name, run } of contract) test(name, run);
  });

  test('reports a server without free connections as worth a retry', async () => {
    const user = fresh('crowd');
    await asOwner(`CREATE ROLE ${user} LOGIN CONNECTION LIMIT 1; GRANT holdfast_app TO ${user}`);
    const first = await client(postgres.url('', user));
    const store = storeAt(postgres.url('', user));
    const refused = await refusal(store);
    expect(refused).toBeInstanceOf(StoreUnreachableError);
    expect(refused).toMatchObject({ retryable: true, hint: expect.stringContaining('pool_max') });
    await first.end();
    // The server counts a connection until its process has ended. Then the role fails for its missing rights.
    await expect.poll(() => refusal(store)).toBeInstanceOf(StoreDeniedError);
  });

  test('reports a write as unknown after a failover to a read-only server', async () => {
    const [user, tenant] = [fresh('moved'), fresh('tenant')];
    await asOwner(`CREATE ROLE ${user} LOGIN SUPERUSER`);
    const store = storeAt(postgres.url('', user), tenant);
    const first = await store.cas(ADDRESS, undefined, 'one');
    if (first.outcome !== 'ok') throw new Error('not written');
    await asOwner(`ALTER ROLE ${user} SET default_transaction_read_only = on;
      SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = '${user}'`);
    await expect.poll(() => store.read(ADDRESS).catch(() => undefined)).toMatchObject({ record: 'one' });
    const write = await store.cas(ADDRESS, first.version, 'two');
    const cause = { code: 'store-unsuitable', retryable: true, hint: expect.stringContaining('primary') };
    expect(write).toMatchObject({ outcome: 'unknown', cause });
  }, 60_000);

  test('reads from a replica, and refuses to write to it', async () => {
    const tenant = fresh('tenant');
    await storeAt(postgres.url(), tenant).cas(ADDRESS, undefined, 'one');
    const replica = await startReplica(postgres);
    onTestFinished(() => replica.crash());
    const store = storeAt(replica.url(), tenant);
    expect((await store.read(ADDRESS))?.record).toBe('one');
    expect(await store.cas({ ...ADDRESS, id: 'new' }, undefined, 'two')).toMatchObject({
      outcome: 'unknown',
      cause: { code: 'store-unsuitable', retryable: true, message: expect.stringContaining('25006') },
    });
    await expect(store.lock(ADDRESS.id, { waitMs: 0 })).rejects.toMatchObject({
      message: expect.stringContaining('25006'),
      hint: expect.stringContaining('primary'),
    });
  });

  test('reports a server that is shutting down as worth a retry, and works when it is back', async () => {
    const server = await startPostgres();
    onTestFinished(() => server.dispose());
    const store = storeAt(server.url());
    await (await store.engine()).migrate?.();
    const first = await store.cas(ADDRESS, undefined, 'one');
    if (first.outcome !== 'ok') throw new Error('not written');
    const other = await client(server.url());
    onTestFinished(() => other.end().catch(() => {}));
    await other.query('BEGIN; LOCK TABLE holdfast.records');
    const waiting = store.cas(ADDRESS, first.version, 'two');
    const waits = `SELECT count(*)::int AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock'`;
    await expect.poll(async () => (await other.query(waits)).rows[0].n).toBe(1);

    server.shutDown('smart');
    const late = storeAt(server.url());
    await expect.poll(() => refusal(late)).toMatchObject({ message: expect.stringContaining('57P03') });
    expect(await refusal(late)).toMatchObject({ code: 'store-unreachable', retryable: true });
    server.shutDown('fast');
    // The server reports 57P01; the store retries until nothing answers.
    const cause = { code: 'store-unreachable', retryable: true };
    expect(await waiting).toMatchObject({ outcome: 'unknown', cause });
    await server.crash();
    await server.start();
    // The server may end the connection that holds the lock before the one that waits for it.
    expect(['one', 'two']).toContain((await store.read(ADDRESS))?.record);
  });
});

test('does not mistake a broken connection for an answer of the server', () => {
  for (const code of ['EPIPE', 'ECONNRESET', 'ENOTFOUND', 'ETIMEDOUT']) {
    const broken = Object.assign(new Error(`write ${code}`), { code });
    expect(postgresError(broken, 'PostgreSQL')).toBeInstanceOf(StoreUnreachableError);
  }
});
