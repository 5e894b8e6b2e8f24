import { describe, expect, test } from 'vitest';
import { seededHome } from '../support/homes/seeded-home.ts';
import { holdfast } from '../support/processes/process.ts';

async function run(home: { path: string }, ...args: string[]) {
  return holdfast(args, { HOLDFAST_HOME: home.path, HOLDFAST_KEYRING: 'auto' }).ended;
}

describe('holdfast rekey', () => {
  test('makes a new key, says so, and the login still works', async () => {
    const home = await seededHome();
    expect(await run(home, 'rekey')).toEqual({
      code: 0,
      out: '',
      err: 'Making a new key and sealing every login under it …\n1 login is now sealed under a new key in file.\n',
    });
    const token = await run(home, 'token', home.resource);
    expect({ code: token.code, same: token.out === `${home.token}\n` }).toEqual({ code: 0, same: true });
    const json = await run(home, 'rekey', '--json');
    expect(JSON.parse(json.out)).toEqual({ keyrings: ['file'], moved: 1, left: [], undecryptable: [] });
  });

  test('has nothing to do when all logins are already sealed there', async () => {
    const home = await seededHome();
    expect((await run(home, 'rekey', '--to', 'file')).err).toContain('There was no login to seal');
  });

  test.each([
    ['memory', 2, 'ends with this process'],
    ['nonsense', 2, 'There is no keyring "nonsense"'],
    ['native', 4, 'no D-Bus session bus'],
  ])('refuses --to %s', async (to, code, message) => {
    const home = await seededHome();
    const ended = await run(home, 'rekey', '--to', to);
    expect(ended.code).toBe(code);
    expect(ended.err).toContain(message);
    expect((await run(home, 'token', home.resource)).code).toBe(0);
  });
});
