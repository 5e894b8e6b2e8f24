import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { temporaryDirectory } from '../support/homes/home.ts';
import { holdfast } from '../support/processes/process.ts';

const KEY = /^[\w-]{43}\n$/;

async function run(args: readonly string[], variables: Readonly<Record<string, string>> = {}) {
  const home = join(await temporaryDirectory(), 'home');
  return holdfast(args, { HOLDFAST_HOME: home, ...variables }).ended;
}

describe('holdfast key new', () => {
  test('prints only a new key when the output is not a terminal', async () => {
    const [one, two] = [await run(['key', 'new']), await run(['key', 'new'])];
    expect(one).toEqual({ code: 0, out: expect.stringMatching(KEY), err: '' });
    expect(two.out).not.toBe(one.out);
  });

  test('writes a new file that only its owner can read, prints no key, and replaces nothing', async () => {
    const path = join(await temporaryDirectory(), 'sealing-key');
    const made = await run(['key', 'new', '--out', path]);
    const key = await readFile(path, 'utf8');
    expect(key).toMatch(KEY);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(made).toEqual({
      code: 0,
      out: '',
      err: `A new sealing key is in ${path}, which only you can read.\n`,
    });
    expect((await run(['key', 'new', '--out', path])).code).toBe(2);
    expect(await readFile(path, 'utf8')).toBe(key);
  });

  test('makes a key that HOLDFAST_SEALING_KEY_FILE accepts, as doctor confirms', async () => {
    const path = join(await temporaryDirectory(), 'sealing-key');
    await run(['key', 'new', '--out', path]);
    const { out } = await run(['doctor'], { HOLDFAST_SEALING_KEY_FILE: path });
    expect(out).toContain('Only key-file is considered: its variable is set, or --keyring');
    expect(out).toContain('New logins are sealed under the key that key-file gives; Holdfast only reads it.');
    await writeFile(path, 'no key');
    const damaged = await run(['doctor'], { HOLDFAST_SEALING_KEY_FILE: path });
    expect(damaged.code).toBe(1);
    expect(damaged.out).toContain('something that is not base64url');
  });

  test('refuses any action other than new', async () => {
    expect(await run(['key', 'old'])).toMatchObject({ code: 2, out: '' });
  });
});
