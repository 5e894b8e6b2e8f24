import { Client } from 'pg';
import { describe, expect, onTestFinished, test } from 'vitest';
import { postgresStore } from '../../src/postgres.ts';
import { redisStore } from '../../src/redis.ts';
import { RetryState } from '../../src/refresh/retry-state.ts';
import { postgresAddress } from '../../src/store/postgres-address.ts';
import { examinePostgres } from '../../src/store/postgres-examination.ts';
import { sampleCredential } from '../support/credential.ts';
import { NO_POSTGRES, startPostgres } from '../support/postgres.ts';
import { noRedis, redisServer } from '../support/redis.ts';

test('a note in the engine cannot stop refreshes for longer than an hour', () => {
  const now = Date.now();
  const credential = sampleCredential('https://mcp.example.com/mcp');
  const { generation, loggedInAt } = credential;
  for (const pauseMs of [1e15, 1e308, 7_200_000]) {
    const note = JSON.stringify({
      generation,
      loggedInAt,
      failures: 1,
      failedAt: now,
      pauseMs,
      fruitless: [],
    });
    expect(RetryState.read(note, credential, now).pauseMs(now)).toBe(3_600_000);
  }
});

/** Names that a record of Holdfast's never has. */
const HOSTILE = ['\x1b]0;title\x07', 'a\nb', '../../etc', '\u202eabc', 'x'.repeat(201), 'a b'];
const GOOD = { kid: 'kid', id: 'A-good_id' };

test.skipIf(noRedis)('records in Redis under names of another form are not listed', async () => {
  const server = await redisServer();
  const store = redisStore({ url: server.url });
  onTestFinished(() => store.close());
  await store.cas(GOOD, undefined, 'record');
  const writer = server.client();
  for (const name of HOSTILE) {
    await writer.hset(`holdfast:{default/${name}}`, 'r:kid', 'record');
    await writer.hset(`holdfast:{default/${GOOD.id}}`, `r:${name}`, 'record');
  }
  expect(await store.list()).toEqual([GOOD]);
  expect(await store.kidsOf(GOOD.id)).toEqual([GOOD.kid]);
});

test.skipIf(NO_POSTGRES)('records in PostgreSQL under names of another form are not listed', async () => {
  const server = await startPostgres();
  onTestFinished(() => server.dispose());
  const store = postgresStore({ connectionString: server.url() });
  onTestFinished(() => store.close());
  await (await store.engine()).migrate?.();
  await store.cas(GOOD, undefined, 'record');
  const writer = new Client({ connectionString: server.url() });
  await writer.connect();
  const put = `INSERT INTO holdfast.records VALUES ('default', $1, $2, 'v', now(), now(), 'record')`;
  for (const name of HOSTILE.filter((one) => one.length <= 200)) {
    await writer.query(put, [name, GOOD.kid]);
    await writer.query(put, [GOOD.id, name]);
  }
  await writer.end();
  expect(await store.list()).toEqual([GOOD]);
  expect(await store.kidsOf(GOOD.id)).toEqual([GOOD.kid]);
});

describe('TLS to PostgreSQL that checks no certificate', () => {
  test.each([
    ['sslmode=no-verify', 'unchecked'],
    ['ssl=no-verify', 'unchecked'],
    ['sslmode=require&uselibpqcompat=true', 'unchecked'],
    ['sslmode=require', undefined],
    ['sslmode=verify-full', undefined],
    ['sslmode=disable', 'plain'],
    ['', 'plain'],
  ] as const)('is told from TLS that does: %j', (query, exposed) => {
    const address = postgresAddress(`postgres://u@db.example/x?${query}`, { variables: {} });
    expect(address.exposed).toBe(exposed);
    expect(postgresAddress(`postgres://u@localhost/x?${query}`, { variables: {} }).exposed).toBeUndefined();
  });

  test('is warned of, with what could happen', () => {
    const said = (exposed: 'plain' | 'unchecked' | undefined) =>
      examinePostgres({}, { tenant: 't', exposed, localNow: 0 })
        .filter(({ level }) => level === 'warning')
        .map(({ message }) => message);
    expect(said('unchecked').join()).toContain('certificate of the server is not checked');
    expect(said('plain').join()).toContain('not encrypted');
    expect(said(undefined).join()).not.toMatch(/certificate|encrypted/);
  });
});
