import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { deserialize, serialize } from 'node:v8';
import { describe, expect, test } from 'vitest';
import * as holdfastErrors from '../../src/errors.ts';
import { HoldfastError } from '../../src/errors.ts';
import { Secret } from '../../src/secret.ts';
import { seededHome } from '../support/homes/seeded-home.ts';
import { vaultAt } from '../support/homes/vault.ts';
import { secretsSeen } from '../support/leaks.ts';
import { requirement } from '../support/requirement.ts';
import { command, exported, RESOURCE, TOKEN, userHome } from './command.ts';

/* Places where a secret could appear: output, data that other programs can read, errors. */

const holdfast = command();
const NO_PROC = requirement('there is no /proc', process.platform === 'linux');

describe('a secret that is shown', () => {
  const secret = new Secret('SEKRET');
  const quietly = (show: () => unknown): string => {
    try {
      return String(show());
    } catch (error) {
      return inspect(error);
    }
  };
  test.each<[string, () => unknown]>([
    ['as a string', () => String(secret)],
    ['in a template', () => `${secret.toString()}`],
    ['as JSON', () => JSON.stringify({ secret })],
    ['in inspect', () => inspect(secret)],
    [
      'deep in inspect',
      () => inspect([{ secret }], { showHidden: true, depth: 9, getters: true, showProxy: true }),
    ],
    ['in inspect without its own way', () => inspect(secret, { customInspect: false, showHidden: true })],
    ['as the cause of an error', () => inspect(new Error('x', { cause: secret }))],
    ['by all that a loop finds in it', () => inspect(Object.fromEntries(Object.entries(secret)))],
    ['by its entries', () => JSON.stringify(Object.entries(secret))],
    ['by its own keys', () => JSON.stringify(Reflect.ownKeys(secret))],
    ['assigned to another object', () => inspect(Object.assign({}, secret))],
    ['serialized by V8', () => serialize(secret).toString('latin1')],
    ['serialized by V8 and back', () => inspect(deserialize(serialize(secret)))],
    ['cloned', () => inspect(structuredClone(secret))],
    ['as a value', () => inspect(secret.valueOf())],
  ])('does not show a secret %s', (_, show) => {
    expect(quietly(show)).not.toContain('SEKRET');
  });
});

test('inspecting an open vault, its tokens or its list shows no secret', async () => {
  const home = await seededHome();
  const { vault } = vaultAt(home);
  const token = await vault.token(home.resource);
  const shown = inspect([vault, token, await vault.list()], { depth: 20, showHidden: true });
  expect(shown.includes(home.token) || shown.includes('the-refresh-token')).toBe(false);
});

test('no debugging variable of Node, of a library or of Holdfast prints a token to standard error', async () => {
  const home = await userHome();
  await holdfast.run(['import', '-'], { home, input: exported() });
  const variables = {
    HOLDFAST_DEBUG: '1',
    NODE_DEBUG: 'http,https,net,tls,module,child_process,fs',
    DEBUG: '*',
  };
  for (const args of [['token', RESOURCE], ['headers', RESOURCE], ['list'], ['doctor']]) {
    const { err } = await holdfast.run(args, { home, variables });
    expect([args[0], err.includes('SECRET')]).toEqual([args[0], false]);
  }
});

describe.skipIf(NO_PROC)('the list of processes', () => {
  test('the list of processes holds no token in any argument while a command runs with one', async () => {
    const home = await userHome();
    await holdfast.run(['import', '-'], { home, input: exported() });
    // The command reads the command lines of all processes on the machine, above all that of its parent.
    const look = `const fs = require('fs');
for (const pid of fs.readdirSync('/proc')) if (/^\\d+$/.test(pid)) try {
  process.stdout.write(pid + ' ' + fs.readFileSync('/proc/' + pid + '/cmdline', 'utf8').replaceAll('\\0', ' ') + '\\n');
} catch {}`;
    const script = join(home, 'look.cjs');
    await writeFile(script, look);
    const { code, out } = await holdfast.run(['run', RESOURCE, '--', process.execPath, script], { home });
    expect(code).toBe(0);
    expect(out).toContain(`${holdfast.file()} run ${RESOURCE}`);
    expect(out.includes('SECRET')).toBe(false);
  });

  test('`holdfast run` gives its command the access token in the environment, and no secret of the client', async () => {
    const home = await userHome();
    await holdfast.run(['import', '-'], { home, input: exported() });
    const variables = {
      HOLDFAST_CLIENT_ID: 'c',
      HOLDFAST_CLIENT_SECRET: 'CS-SECRET',
      HOLDFAST_CLIENT_KEY: 'CK-SECRET',
    };
    const { out } = await holdfast.run(['run', RESOURCE, '--', 'env'], { home, variables });
    expect(out).toContain(`HOLDFAST_ACCESS_TOKEN=${TOKEN}`);
    expect(['CS-SECRET', 'CK-SECRET', 'refresh-SECRET'].filter((secret) => out.includes(secret))).toEqual([]);
  });

  test('refuses a store’s password in --store, which the list of processes would show', async () => {
    const home = await userHome();
    const store = 'postgres://user:PASSWORD-SECRET@127.0.0.1:1/db';
    const { code, err } = await holdfast.run(['list', '--store', store], { home });
    expect([code, err.includes('SECRET')]).toEqual([2, false]);
  });
});

describe('every error that Holdfast exports', () => {
  type Made = new (message: string, options?: object) => HoldfastError;
  const classes = Object.entries(holdfastErrors).filter(
    ([, one]) => typeof one === 'function' && one.prototype instanceof HoldfastError,
  ) as unknown as [string, Made][];

  test.each(classes)(
    '%s has its own code and name and a hint, and shows no secret that is its cause',
    (name, Class) => {
      const error = new Class('What happened.', {
        hint: 'What to do: holdfast doctor',
        cause: { code: 'ECONNRESET', token: new Secret('SEKRET') },
        error: 'invalid_grant',
      });
      expect(error).toMatchObject({ name, message: 'What happened.', hint: 'What to do: holdfast doctor' });
      expect(error.code).toMatch(/^[a-z]+(-[a-z0-9]+)*$/);
      expect(typeof error.retryable).toBe('boolean');
      expect(secretsSeen(error, ['SEKRET'])).toBe(0);
    },
  );

  test('each error class has a different code', () => {
    const codes = classes.map(([, Class]) => new Class('x', { error: 'x' }).code);
    expect(new Set(codes).size).toBe(classes.length);
    expect(classes.length).toBeGreaterThan(30);
  });
});
