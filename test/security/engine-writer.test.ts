import { Client } from 'pg';
import { describe, expect, onTestFinished, test } from 'vitest';
import { NO_POSTGRES, startPostgres } from '../support/engines/postgres.ts';
import { noRedis, redisServer } from '../support/engines/redis.ts';
import { HOSTILE_TEXTS, unprintableIn } from '../support/hostile-text.ts';
import { command, exported, RESOURCE, userHome } from './command.ts';

/*
 * An attacker who can write to the engine but has no key. The names of records, the tenants' journals and the notes of
 * leases are under their control. No command may print that text unescaped to a terminal.
 */

const holdfast = command();
/** All hostile texts in one, without the characters that no engine stores. */
const HOSTILE = HOSTILE_TEXTS.map(([, text]) => text)
  .join(' ')
  .replaceAll(/[\0\p{Cs}]/gu, '');
const NAMES = [HOSTILE.slice(0, 60), ...HOSTILE_TEXTS.map(([, text]) => text.replaceAll(/[\0\p{Cs}]/gu, ''))];

/** A login in the engine whose token has expired, so that each call for a token reads the lease's note. */
async function person(store: string) {
  const home = await userHome();
  const key = (await holdfast.run(['key', 'new'], { home })).out.trim();
  const variables = {
    HOLDFAST_STORE: store,
    HOLDFAST_SEALING_KEY: key,
    HOLDFAST_KEYRING: 'key-variable',
    HOLDFAST_DEBUG: '1',
  };
  const run = (...args: string[]) => holdfast.run(args, { home, variables });
  return { home, variables, run };
}

/** A note with all members of a real one, so that it is believed. The writer guesses the time of the login. */
function noteFor(loggedInAt: number): string {
  return JSON.stringify({
    generation: 1,
    loggedInAt,
    failures: 1,
    failedAt: Date.now(),
    pauseMs: 3_600_000,
    why: `it said ${HOSTILE}`,
    fruitless: [],
  });
}

async function logIn({ home, variables }: Awaited<ReturnType<typeof person>>): Promise<number> {
  const past = {
    tokens: {
      ...JSON.parse(exported()).tokens,
      obtainedAt: Date.now() - 7_200_000,
      expiresAt: Date.now() - 3_600_000,
    },
  };
  const { code, err } = await holdfast.run(['import', '-', '--yes'], {
    home,
    variables,
    input: exported(past),
  });
  expect({ code, err: code === 0 ? '' : err }).toEqual({ code: 0, err: '' });
  const { out } = await holdfast.run(['list', '--json'], { home, variables });
  return Date.parse(JSON.parse(out).credentials[0].loggedInAt);
}

async function everyCommandIsClean(run: Awaited<ReturnType<typeof person>>['run']): Promise<string> {
  let said = '';
  for (const args of [
    ['list'],
    ['token', RESOURCE, '--timeout', '1'],
    ['headers', RESOURCE, '--timeout', '1'],
    ['doctor'],
    ['store', 'status'],
    ['store', 'status', '--open'],
  ]) {
    for (const form of [[], ['--json']]) {
      const { out, err } = await run(...args, ...form);
      expect([...args, ...form, ...unprintableIn(out + err)]).toEqual([...args, ...form]);
      said += out + err;
    }
  }
  return said;
}

describe('a hostile writer of the engine without a key', { timeout: 180_000 }, () => {
  test.skipIf(noRedis)(
    'no escape sequence from Redis reaches a terminal: record names, holders and notes',
    async () => {
      const server = await redisServer();
      const somebody = await person(server.url);
      const loggedInAt = await logIn(somebody);
      const writer = server.client();
      const [own = ''] = await writer.keys('holdfast:*');
      for (const name of NAMES) {
        await writer.hset(
          `holdfast:{default/${name}}`,
          `r:${name}`,
          `record ${HOSTILE}`,
          `v:${name}`,
          HOSTILE,
          'note',
          HOSTILE,
        );
        await writer.hset(own, `r:${name}`, `record ${HOSTILE}`, `v:${name}`, HOSTILE);
      }
      for (const note of [HOSTILE, noteFor(loggedInAt)]) {
        await writer.hset(own, 'note', note, 'holder', HOSTILE);
        expect(await everyCommandIsClean(somebody.run)).toContain(RESOURCE);
      }
    },
  );

  test.skipIf(NO_POSTGRES)(
    'no escape sequence from PostgreSQL reaches a terminal: record names, holders, notes and the journal',
    async () => {
      const server = await startPostgres();
      onTestFinished(() => server.dispose());
      const somebody = await person(server.url());
      expect((await somebody.run('store', 'migrate')).code).toBe(0);
      const loggedInAt = await logIn(somebody);
      const writer = new Client({ connectionString: server.url() });
      await writer.connect();
      onTestFinished(() => writer.end());
      const put = `INSERT INTO holdfast.records SELECT 'default', $1, $2, $3, now(), now(), $3 ON CONFLICT DO NOTHING`;
      const { rows } = await writer.query('SELECT id FROM holdfast.records');
      for (const name of NAMES) {
        await writer.query(put, [name, name, HOSTILE]);
        await writer.query(put, [rows[0].id, name, HOSTILE]);
        await writer.query(
          `INSERT INTO holdfast.journal VALUES ($1, 'default', $1, $1, 'late', $2) ON CONFLICT DO NOTHING`,
          [name, HOSTILE],
        );
      }
      for (const note of [HOSTILE, noteFor(loggedInAt)]) {
        await writer.query('UPDATE holdfast.leases SET note = $1, holder = $2', [note, HOSTILE]);
        expect(await everyCommandIsClean(somebody.run)).toContain(RESOURCE);
      }
    },
  );
});
