import { spawnSync } from 'node:child_process';
import { chmod, chown, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { bundled } from '../support/homes/bundle.ts';
import { contentsOf } from '../support/homes/disk.ts';
import { failureOf, goodLogin } from '../support/homes/good-login.ts';
import { temporaryDirectory, temporaryHome } from '../support/homes/home.ts';
import { start } from '../support/processes/process.ts';
import { requirement } from '../support/requirement.ts';
import { type CommandLine, commandLine } from '../support/transcript.ts';

const isRoot = process.geteuid?.() === 0;
const root = requirement('it is not Linux as root', isRoot && process.platform === 'linux');

const good = goodLogin();

describe('a home that cannot save a login', () => {
  test.skipIf(root !== undefined)('explains that the disk is full', async () => {
    const at = await mountedHome('size=256k');
    await writeFile(join(at.home, '..', 'filler'), Buffer.alloc(1024 * 1024)).catch(() => {});
    const before = await good.servers.counters();
    const told = await good.unharmed(at, () => at.run(['login', good.servers.resource, '--account', 'b']));
    expect(told.replaceAll(/tmp\/[\w.-]+/g, 'tmp/FILE')).toMatchInlineSnapshot(`
      "exit 6
      --- stderr
      error: $HOME/tmp/FILE cannot be written: no space is left on the device. What was stored before is unharmed.
        Free some space, or set HOLDFAST_HOME to a directory on another file system; then try again."
    `);
    expect(await good.servers.counters()).toEqual(before);
  });

  test.skipIf(root !== undefined)('explains that the file system is read-only', async () => {
    const at = await mountedHome('size=4m');
    mount('-o', 'remount,ro', join(at.home, '..'));
    const told = await good.unharmed(at, () => at.run(['login', good.servers.resource, '--account', 'b']));
    expect(told.replaceAll(/tmp\/[\w.-]+/g, 'tmp/FILE')).toMatchInlineSnapshot(`
      "exit 6
      --- stderr
      error: $HOME/tmp/FILE cannot be written: the file system is read-only.
        Set HOLDFAST_HOME to a directory that can be written."
    `);
  });

  test.skipIf(root !== undefined)('explains that the home belongs to somebody else', async () => {
    const at = await good.home();
    await chown(at.home, 12345, 12345);
    const before = await contentsOf(at.home);
    const ended = await at.run(['login', good.servers.resource, '--account', 'b']);
    expect(failureOf(at, ended)).toMatch(/^exit 6\n/);
    expect(failureOf(at, ended)).toContain('$HOME belongs to user 12345, not to you (0).');
    expect(await contentsOf(at.home)).toEqual(before);
    await chown(at.home, 0, 0);
    expect(await good.works(at)).toBe(true);
  });

  test.skipIf(root !== undefined)(
    'refuses to create directories as root in another user’s home',
    async () => {
      const { path } = await temporaryHome();
      await mkdir(path);
      await chown(path, 12345, 12345);
      const at = commandLine(join(path, '.config', 'holdfast'), [good.servers]);
      for (const args of [['login', good.servers.resource], ['doctor'], ['rekey', '--to', 'file']]) {
        const ended = await at.run(args);
        expect(ended.out + ended.err).toContain('belongs to user 12345, and this process is root');
        expect(ended.out + ended.err).toContain('without sudo');
        expect(await contentsOf(path)).toEqual([expect.stringMatching(/^0755 /)]);
      }
    },
  );

  test.skipIf(root !== undefined)('reports a file system without inodes as a full disk', async () => {
    const at = await mountedHome('size=4m,nr_inodes=40');
    const there = join(at.home, '..', 'filler');
    await mkdir(there);
    for (let file = 0; ; file += 1) {
      const made = await writeFile(join(there, `${file}`), '').catch((error: unknown) => error);
      if (made !== undefined) break;
    }
    const { err } = await at.run(['rekey', '--to', 'file']);
    expect(err).not.toContain('ENOENT');
    expect(failureOf(at, await at.run(['rekey']))).toContain('no space is left on the device');
    expect(failureOf(at, await at.run(['rekey']))).not.toContain('There is no sealing key');
  });

  test.skipIf(root !== undefined)('asks for HOLDFAST_HOME when the account has no home', async () => {
    const user = ['--reuid=12345', '--regid=12345', '--clear-groups'];
    const { directory, file } = await readableCommand();
    for (const home of ['/', '/nonexistent', file]) {
      const args = [...user, process.execPath, file, 'rekey', '--to', 'file'];
      const { code, err } = await start('setpriv', args, { HOME: home }).ended;
      expect(code).not.toBe(0);
      expect(err).toContain('Set HOLDFAST_HOME to a directory of your own');
    }
    // The error names the directory that `sudo` left behind, and the command that returns it.
    const joe = join(directory, 'joe');
    await mkdir(joe);
    await chown(joe, 12345, 12345);
    await mkdir(join(joe, '.config'), { mode: 0o700 });
    const { err } = await start('setpriv', [...user, process.execPath, file, 'list'], { HOME: joe }).ended;
    expect(err).toContain(`Take it back: sudo chown -R 12345 ${join(joe, '.config')}`);
  });

  // File modes do not stop root; the read-only file system tests root instead.
  const unlessRoot = isRoot ? () => {} : test;
  unlessRoot('explains that the directory of the home cannot be written', async () => {
    const { path } = await temporaryHome();
    await mkdir(path, { mode: 0o500 });
    onTestFinished(() => chmod(path, 0o700));
    const at = commandLine(join(path, 'home'), [good.servers]);
    const { code, err } = await at.run(['login', good.servers.resource]);
    expect(code).toBe(6);
    expect(err).toContain('permission is denied');
  });

  test('explains that others may read the home', async () => {
    const at = await good.home();
    await chmod(at.home, 0o755);
    const before = await contentsOf(at.home);
    const ended = await at.run(['login', good.servers.resource, '--account', 'b']);
    expect(failureOf(at, ended)).toMatch(/^exit 6\n/);
    expect(failureOf(at, ended)).toContain('$HOME is open to other users (mode 0755).');
    expect(await contentsOf(at.home)).toEqual(before);
    await chmod(at.home, 0o700);
    expect(await good.works(at)).toBe(true);
  });

  test('explains that no keyring is persistent', async () => {
    const at = await good.home();
    const login = ['login', good.servers.resource, '--keyring', 'memory'];
    const before = await good.servers.counters();
    expect(await good.unharmed(at, () => at.run(login))).toMatchInlineSnapshot(`
      "exit 4
      --- stderr
      error: No keyring here can keep a login: nothing would survive this process.
        holdfast doctor says what each keyring lacks. To log in all the same, until this process ends: --allow-memory"
    `);
    expect(await good.servers.counters()).toEqual(before);
    expect(await good.unharmed(at, () => at.run([...login, '--allow-memory', '-q']))).toBe('exit 0');
  });
});

/** Makes the good login on its own file system. */
async function mountedHome(options: string): Promise<CommandLine> {
  const { path } = await temporaryHome();
  await mkdir(path);
  mount('-t', 'tmpfs', '-o', `${options},mode=0700`, 'holdfast-test', path);
  onTestFinished(() => void spawnSync('umount', ['--lazy', path]));
  return good.home(join(path, 'home'));
}

function mount(...args: string[]): void {
  const { status, stderr } = spawnSync('mount', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`mount failed: ${stderr}`);
}

/** Copies the command into a directory that every user may read. */
async function readableCommand(): Promise<{ directory: string; file: string }> {
  const directory = await temporaryDirectory();
  await chmod(directory, 0o755);
  const file = await bundled(directory, 'holdfast', new URL('../../src/cli/bin.ts', import.meta.url));
  return { directory, file };
}
