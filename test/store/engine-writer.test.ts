import { Client } from 'pg';
import { describe, expect, onTestFinished, test } from 'vitest';
import { RetryState } from '../../src/refresh/retry-state.ts';
import { postgresAddress } from '../../src/store/postgres/address.ts';
import { examinePostgres } from '../../src/store/postgres/examination.ts';
import { openPostgresStore } from '../../src/store/postgres/pool.ts';
import { openRedisStore } from '../../src/store/redis/open.ts';
import { NO_POSTGRES, startPostgres } from '../support/engines/postgres.ts';
import { noRedis, redisServer } from '../support/engines/redis.ts';
import { sampleCredential } from '../support/homes/credential.ts';

test('a note in the engine cannot stop refreshes for longer than an hour', () => {
  const now = Date.now();
  const credential = sampleCredential('https://mcp.example.com/mcp');
  const { generation, loggedInAt } = credential;
  // Notes with a longer pause than Holdfast ever writes are ignored.
  for (const [pauseMs, believed] of [
    [3_600_000, 3_600_000],
    [3_600_001, 0],
    [1e15, 0],
    [1e308, 0],
  ]) {
    const note = JSON.stringify({
      generation,
      loggedInAt,
      failures: 1,
      failedAt: now,
      pauseMs,
      fruitless: [],
    });
    expect(RetryState.read(note, credential, now).pauseMs(now)).toBe(believed);
  }
});

/** Names that no record of Holdfast has. */
const HOSTILE = ['\x1b]0;title\x07', 'a\nb', '../../etc', '\u202eabc', 'x'.repeat(201), 'a b'];
const GOOD = { kid: 'kid', id: 'A-good_id' };

test.skipIf(noRedis)('does not list Redis records whose names have another form', async () => {
  const server = await redisServer();
  const store = openRedisStore({ url: server.url });
  onTestFinished(() => store.close());
  await store.cas(GOOD, undefined, 'record');
  const writer = server.client();
  for (const name of HOSTILE) {
    await writer.hset(`holdfast:{default/${name}}`, 'r:kid', 'record');
    await writer.hset(`holdfast:{default/${GOOD.id}}`, `r:${name}`, 'record');
    await writer.hset(`holdfast:{default/${GOOD.id}}`, `o:${name}`, '1 kid record');
    await writer.hset(`holdfast:{default/${GOOD.id}}`, `o:1.1.${name}`, '1 kid record');
    await writer.hset(`holdfast:{default/${GOOD.id}}`, 'o:1.1.b', `1 ${name.replaceAll(' ', '_')}/ record`);
  }
  const entry = { name: '2.1.random', kid: GOOD.kid, record: 'answer' };
  await store.putOutbox(GOOD.id, entry);
  expect(await store.list()).toEqual([GOOD]);
  expect(await store.kidsOf(GOOD.id)).toEqual([GOOD.kid]);
  expect(await store.due(60_000, 100)).toMatchObject([GOOD]);
  expect(await store.listOutbox(GOOD.id)).toMatchObject([entry]);
});

test.skipIf(NO_POSTGRES)('does not list PostgreSQL records whose names have another form', async () => {
  const server = await startPostgres();
  onTestFinished(() => server.dispose());
  const store = openPostgresStore({ connectionString: server.url() });
  onTestFinished(() => store.close());
  await (await store.engine()).migrate?.();
  await store.cas(GOOD, undefined, 'record');
  const writer = new Client({ connectionString: server.url() });
  await writer.connect();
  const put = `INSERT INTO holdfast.records VALUES ('default', $1, $2, 'v', now(), now(), 'record')`;
  const keep = `INSERT INTO holdfast.outbox (tenant, id, name, generation, epoch, kid, record)
    VALUES ('default', '${GOOD.id}', $1, 1, 1, $2, 'record')`;
  for (const name of HOSTILE.filter((one) => one.length <= 200)) {
    await writer.query(put, [name, GOOD.kid]);
    await writer.query(put, [GOOD.id, name]);
    await writer.query(keep, [name.slice(0, 100), GOOD.kid]);
    await writer.query(keep, [`1.1.${HOSTILE.indexOf(name)}`, name]);
  }
  await writer.end();
  const entry = { name: '2.1.random', kid: GOOD.kid, record: 'answer' };
  await store.putOutbox(GOOD.id, entry);
  expect(await store.list()).toEqual([GOOD]);
  expect(await store.kidsOf(GOOD.id)).toEqual([GOOD.kid]);
  expect(await store.due(60_000, 100)).toMatchObject([GOOD]);
  expect(await store.listOutbox(GOOD.id)).toMatchObject([entry]);
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
  ] as const)('tells whether %j checks the certificate of PostgreSQL', (query, exposed) => {
    const address = postgresAddress(`postgres://u@db.example/x?${query}`, { variables: {} });
    expect(address.exposed).toBe(exposed);
    expect(postgresAddress(`postgres://u@localhost/x?${query}`, { variables: {} }).exposed).toBeUndefined();
  });

  test('the examination warns of TLS that checks no certificate, and of no TLS, and says what could happen', () => {
    const said = (exposed: 'plain' | 'unchecked' | undefined) =>
      examinePostgres({}, { tenant: 't', exposed, localNow: 0 })
        .filter(({ level }) => level === 'warning')
        .map(({ message }) => message);
    expect(said('unchecked').join()).toContain('certificate of the server is not checked');
    expect(said('plain').join()).toContain('not encrypted');
    expect(said(undefined).join()).not.toMatch(/certificate|encrypted/);
  });
});
