import pg from 'pg';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { type PostgresPool, postgresMigration } from '../../../src/postgres.ts';
import { openPostgresStore } from '../../../src/store/postgres/pool.ts';
import { postgresStatements } from '../../../src/store/postgres/statements.ts';
import { NO_POSTGRES, type Postgres, startPostgres } from '../../support/engines/postgres.ts';
import {
  authorizationServer,
  directoryProcess,
  ended,
  machine,
  putLogin,
  RESOURCE,
} from '../../support/servers/lab.ts';

/* Each statement is a round trip, and each one that writes waits for the disk. */

/** A refused token makes the vault look for a newer one first, as it does every ten seconds. */
const LOOK = ['kidsOf', 'version'];
const NAMES = new Map(Object.entries(postgresStatements('holdfast')).map(([name, text]) => [text, name]));

describe.skipIf(NO_POSTGRES)('the statements of a refresh in PostgreSQL', () => {
  let postgres: Postgres;

  beforeAll(async () => {
    postgres = await startPostgres();
    const client = new pg.Client({ connectionString: postgres.url() });
    await client.connect();
    await client.query(postgresMigration());
    await client.end();
  });
  afterAll(() => postgres.dispose());

  /** A process that holds a token in memory, and the statements it sends from now on. */
  async function refresher(mode: 'strict' | 'replay') {
    const pool = new pg.Pool({ connectionString: postgres.url(), max: 2 });
    const sent: string[] = [];
    const query: PostgresPool['query'] = (one) => {
      sent.push(NAMES.get(one.text) ?? one.text);
      return pool.query(one);
    };
    const server = await authorizationServer(mode);
    const at = await machine({ replay: mode === 'strict' ? 'strict' : 'window' });
    const store = openPostgresStore({ pool: { query }, tenant: mode });
    onTestFinished(async () => {
      await store.close();
      await pool.end();
    });
    const { refreshToken } = await server.begin();
    await putLogin(store, at, { server, refreshToken });
    const { vault } = directoryProcess(at, store);
    expect(await ended(vault.token(RESOURCE))).toBe('generation 2');
    sent.length = 0;
    return { vault, sent };
  }

  test('a refresh sends a claim and a write at a server that takes a refresh token once', async () => {
    const { vault, sent } = await refresher('strict');
    expect(await ended(vault.token(RESOURCE, { rejectedGeneration: 2 }))).toBe('generation 3');
    expect(sent).toEqual([...LOOK, 'claimVersion', 'replace']);
  });

  test('a refresh also announces its request at a server that takes a refresh token again', async () => {
    const { vault, sent } = await refresher('replay');
    expect(await ended(vault.token(RESOURCE, { rejectedGeneration: 2 }))).toBe('generation 3');
    expect(sent).toEqual([...LOOK, 'claimVersion', 'renew', 'replace']);
  });
});
