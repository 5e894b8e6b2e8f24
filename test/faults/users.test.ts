import { spawnSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { bundled } from '../support/homes/bundle.ts';
import { contentsOf } from '../support/homes/disk.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { NOT_ROOT } from '../support/keyrings/keyctl.ts';
import { type Ended, start } from '../support/processes/process.ts';
import { Site } from './crash/site.ts';
import { type Family, startTokenServer, type TokenServer } from './crash/token-server.ts';

const RESOURCE = 'https://mcp.example.com/mcp';
const USER = 12345;

let directory: string;
let worker: string;
let cli: string;
let server: TokenServer;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'holdfast-test-'));
  await chmod(directory, 0o755);
  worker = await bundled(directory, 'worker', new URL('crash/worker.ts', import.meta.url));
  cli = await bundled(directory, 'holdfast', new URL('../../src/cli/bin.ts', import.meta.url));
  server = await startTokenServer();
});
afterAll(async () => {
  await server.close();
  await rm(directory, { recursive: true });
});

/** `holdfast token`, run by an ordinary user. */
function tokenAs(uid: number, home: string): Promise<Ended> {
  const user = [`--reuid=${uid}`, `--regid=${uid}`, '--clear-groups'];
  // Nothing may be spilled to a directory in which other users of this machine look.
  const variables = { HOLDFAST_HOME: home, HOLDFAST_KEYRING: 'file', HOME: '/nonexistent' };
  return start('setpriv', [...user, process.execPath, cli, 'token', RESOURCE], variables).ended;
}

async function login(leftMs: number): Promise<{ home: string; family: Family; site: Site }> {
  const { path } = await temporaryHome();
  const site = new Site(path, worker);
  const family = server.begin('strict');
  await site.keep(RESOURCE, family, leftMs);
  await chmod(dirname(path), 0o755);
  return { home: path, family, site };
}

describe.skipIf(NOT_ROOT)('another user of the machine', () => {
  test.each([
    ['may not even look into the directory above', 0o700, /cannot be read: permission is denied/],
    ['may look there', 0o755, /belongs to user 0, not to you \(12345\)/],
  ])(
    'refuses the home directory to another user who %s, says why, and changes nothing',
    async (_what, mode, said) => {
      const { home, family } = await login(-1000);
      await chmod(dirname(home), mode);
      const before = await contentsOf(home);
      const { code, out, err } = await tokenAs(USER, home);
      expect({ code, out }).toEqual({ code: 6, out: '' });
      expect(err).toMatch(said);
      expect(await contentsOf(home)).toEqual(before);
      expect(family.log).toEqual([]);
      const owner = await tokenAs(0, home);
      expect({ code: owner.code, good: owner.out.trim() === family.accessToken }).toEqual({
        code: 0,
        good: true,
      });
    },
  );
});

describe.skipIf(NOT_ROOT)('a directory that its owner may no longer use', () => {
  async function ofUser() {
    const made = await login(-1000);
    // The state before the first lease, since an existing lock can be taken without a right to write.
    await rm(made.site.layout.locks, { recursive: true });
    await mkdir(made.site.layout.locks, { mode: 0o700 });
    spawnSync('chown', ['-R', `${USER}:${USER}`, made.home]);
    return made;
  }

  test.each([
    ['.', 0o000, 6],
    ['locks', 0o000, 6],
    ['locks', 0o500, 6],
    ['tmp', 0o000, 6],
    ['tmp', 0o500, 6],
    ['credentials', 0o000, 6],
    ['credentials/KID', 0o000, 6],
    ['keyring', 0o000, 4],
  ])(
    'reports %s with mode %o before it asks the server, and works again once it is fixed',
    async (name, mode, exit) => {
      const { home, family, site } = await ofUser();
      const [kid = ''] = await readdir(site.layout.credentials);
      const path = join(home, name.replace('KID', kid));
      await chmod(path, mode);
      onTestFinished(() => chmod(path, 0o700));
      const { code, out, err } = await tokenAs(USER, home);
      expect({ code, out, asked: family.log.length }).toEqual({ code: exit, out: '', asked: 0 });
      expect(err).toMatch(/permission is denied/);
      await chmod(path, 0o700);
      const then = await tokenAs(USER, home);
      expect({ code: then.code, good: then.out.trim() === family.accessToken }).toEqual({
        code: 0,
        good: true,
      });
      expect(family.log.map(({ outcome }) => outcome)).toEqual(['rotated']);
    },
  );

  test('keeps the new tokens in the outbox while their directory is read-only, and stores them later', async () => {
    const { home, family, site } = await ofUser();
    const [kid = ''] = await readdir(site.layout.credentials);
    const path = join(site.layout.credentials, kid);
    await chmod(path, 0o500);
    onTestFinished(() => chmod(path, 0o700));
    for (let time = 0; time < 2; time += 1) {
      const { code, out } = await tokenAs(USER, home);
      expect({ code, good: out.trim() === family.accessToken }).toEqual({ code: 0, good: true });
    }
    await chmod(path, 0o700);
    const { code, out } = await tokenAs(USER, home);
    expect({ code, good: out.trim() === family.accessToken }).toEqual({ code: 0, good: true });
    expect(family.log.map(({ outcome }) => outcome)).toEqual(['rotated']);
    expect(await readdir(join(home, 'outbox'))).toEqual([]);
  });
});
