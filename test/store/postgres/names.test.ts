import { describe, expect, test } from 'vitest';
import { InvalidArgumentError } from '../../../src/errors.ts';
import { postgresMigration } from '../../../src/postgres.ts';
import { openPostgresStore } from '../../../src/store/postgres/pool.ts';
import { PostgresEngine } from '../../../src/store/postgres/postgres.ts';

/* The schema's name is the only text that Holdfast puts into SQL unquoted. Each way to set it is tested. */

const HOSTILE: readonly unknown[] = [
  'x; DROP SCHEMA public CASCADE; --',
  "x'",
  'x"',
  'holdfast.records',
  'Holdfast',
  '$&',
  '',
  '1x',
  'x\n',
  'ö',
  'x'.repeat(41),
  ['holdfast'],
  { toString: () => 'holdfast' },
  null,
];

describe.each<[string, (schema: string) => unknown]>([
  ['postgresMigration', (schema) => postgresMigration(schema)],
  [
    'openPostgresStore',
    (schema) => openPostgresStore({ connectionString: 'postgres://db.example/x', schema }),
  ],
  [
    'a postgres:// URL',
    (schema) =>
      openPostgresStore({
        connectionString: `postgres://db.example/x?schema=${encodeURIComponent(String(schema))}`,
      }),
  ],
  [
    'PostgresEngine',
    (schema) =>
      new PostgresEngine({
        pool: { query: () => Promise.resolve({ rows: [] }) },
        id: 'x',
        tenant: 'default',
        schema,
        timeoutMs: 1000,
        exposed: undefined,
        end: async () => {},
      }),
  ],
])('%s', (way, use) => {
  const texts = HOSTILE.filter((name) => typeof name === 'string');
  // In the options null means the default, and a URL can only hold text.
  const tried =
    way === 'a postgres:// URL' ? texts : way === 'openPostgresStore' ? HOSTILE.slice(0, -1) : HOSTILE;
  test.each(tried.map((name) => [name]))('refuses the schema %j', (name) => {
    expect(() => use(name as string)).toThrow(InvalidArgumentError);
  });

  test('takes a plain SQL name as a schema', () => {
    expect(() => use('acme_2')).not.toThrow();
  });
});

test('the migration of a schema names that schema everywhere, and no other', () => {
  const sql = postgresMigration('acme_2');
  expect(sql).toContain('CREATE SCHEMA IF NOT EXISTS acme_2;');
  expect(sql).not.toMatch(/\bholdfast\b(?! migration)/);
});
