import { execFileSync } from 'node:child_process';
import { chmod, chown, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { requirement } from '../support/requirement.ts';
import { command, exported, RESOURCE, TOKEN, userHome } from './command.ts';

/* The files on disk, and Holdfast's errors when somebody has changed them. */

const holdfast = command();
const NOT_ROOT = requirement('only root can give files away', process.geteuid?.() === 0);

/** A user with one login. */
async function loggedIn() {
  const home = await userHome();
  expect(await holdfast.run(['import', '-'], { home, input: exported() })).toMatchObject({ code: 0 });
  const root = join(home, '.config', 'holdfast');
  const paths = await readdir(root, { recursive: true });
  const record = join(root, paths.find((path) => path.endsWith('.jwe')) ?? '');
  const token = () => holdfast.run(['token', RESOURCE], { home });
  expect((await token()).out.trim()).toBe(TOKEN);
  return { home, root, record, token };
}

test('no file or directory is open to others under umask 0, and no token is in plain text', async () => {
  const before = process.umask(0);
  const { root } = await loggedIn().finally(() => process.umask(before));
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  for (const entry of entries) {
    const path = join(entry.parentPath, entry.name);
    expect([path, (await stat(path)).mode & 0o777]).toEqual([path, entry.isDirectory() ? 0o700 : 0o600]);
    if (entry.isFile()) expect((await readFile(path, 'latin1')).includes('SECRET')).toBe(false);
  }
  expect(entries.length).toBeGreaterThan(4);
});

describe('a disk that somebody else has written to', () => {
  const swapped = (text: string, at: number) =>
    text.slice(0, at) + (text[at] === 'A' ? 'B' : 'A') + text.slice(at + 1);
  const withHeader = (text: string, header: object) =>
    [Buffer.from(JSON.stringify(header)).toString('base64url'), ...text.split('.').slice(1)].join('.');

  test.each<[string, (text: string) => string]>([
    ['with one character changed', (text) => swapped(text, text.length - 40)],
    ['that was cut', (text) => text.slice(0, -5)],
    ['that is empty', () => ''],
    ['with the algorithm none', (text) => withHeader(text, { alg: 'none' })],
    ['with a key of its own', (text) => withHeader(text, { alg: 'dir', enc: 'A256GCM', k: 'AAAA' })],
    ['with a line end behind it', (text) => `${text}\n`],
  ])('does not open a record %s', async (_, change) => {
    const { record, token } = await loggedIn();
    await writeFile(record, change(await readFile(record, 'utf8')));
    const { code, out } = await token();
    expect([code, out]).toEqual([6, '']);
  });

  test('refuses a record that is a symbolic link', async () => {
    const { record, token } = await loggedIn();
    await rm(record);
    await symlink('/etc/passwd', record);
    expect(await token()).toMatchObject({ out: '', err: expect.stringContaining('symbolic link') });
  });

  test('refuses a record that is a FIFO, and does not wait for it', async () => {
    const { record, token } = await loggedIn();
    await rm(record);
    execFileSync('mkfifo', ['-m', '600', record]);
    const { code, out } = await token();
    expect([code === 0, out]).toEqual([false, '']);
  });

  test('refuses a record that others may read', async () => {
    const { record, token } = await loggedIn();
    await chmod(record, 0o644);
    expect(await token()).toMatchObject({ out: '', err: expect.stringContaining('open to other users') });
  });

  test.skipIf(NOT_ROOT)('refuses a record of another user', async () => {
    const { record, token } = await loggedIn();
    await chown(record, 65_534, 65_534);
    expect(await token()).toMatchObject({ out: '', err: expect.stringContaining('belongs to user') });
  });
});

test.each([0, -1, 1.5, 1_300_001, 2 ** 31, 1e300])(
  'refuses a planted key file with %d rounds before it computes them',
  async (rounds) => {
    const { root, token } = await loggedIn();
    const item = join(root, 'keyring', 'sealing-key');
    const [head = '', ...rest] = (await readFile(item, 'utf8')).split('.');
    const header = JSON.parse(Buffer.from(head, 'base64url').toString()) as object;
    const planted = Buffer.from(JSON.stringify({ ...header, p2c: rounds })).toString('base64url');
    await writeFile(item, [planted, ...rest].join('.'));
    const { code, out, err } = await token();
    expect([code === 0, out]).toEqual([false, '']);
    expect(err).toContain('its header is not of this format');
  },
);
