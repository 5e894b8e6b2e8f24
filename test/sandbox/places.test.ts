import { spawnSync } from 'node:child_process';
import { chmod, chown, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Secret } from '../../src/secret.ts';
import { contentsOf } from '../support/homes/disk.ts';
import { temporaryDirectory } from '../support/homes/home.ts';
import { accepted, expire } from '../support/homes/vault.ts';
import { holdfast, start } from '../support/processes/process.ts';
import { requirement } from '../support/requirement.ts';
import {
  BARE,
  buildImage,
  type Image,
  MODULES,
  NO_SANDBOX,
  type Place,
  place,
} from '../support/sandbox/sandbox.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';

/* Where logins can be stored and who can open them: the recipes of docs/sandboxes.md. */

const NO_CHROOT = requirement(
  'it is not Linux as root, which may mount and chroot, with Node in /usr',
  process.geteuid?.() === 0 &&
    process.execPath.startsWith('/usr/') &&
    spawnSync('unshare', ['--mount', 'true'], { stdio: 'ignore' }).status === 0,
);

const SECRET = 'the-secret-of-the-robot';

let image: Image;
let servers: Servers;
beforeAll(async () => {
  const robot = { client_id: 'robot', client_secret: SECRET, grant_types: ['client_credentials'] };
  [image, servers] = await Promise.all([
    buildImage(),
    startServers({ clients: [{ ...robot, response_types: [], redirect_uris: [] }] }),
  ]);
});
afterAll(() => Promise.all([image.remove(), servers.stop()]));

/** A file as platforms mount secrets: readable, and not on the volume. */
async function mounted(text: string, inside: string): Promise<string[]> {
  const path = join(await temporaryDirectory(), 'secret');
  await writeFile(path, `${text}\n`, { mode: 0o400 });
  return ['--ro-bind', path, inside];
}

/** Logs in as a service, without a person. */
async function loggedInAsRobot(
  at: Place,
  { variables = {}, mounts = [] }: { variables?: Record<string, string>; mounts?: readonly string[] } = {},
): Promise<string> {
  const secret = await mounted(SECRET, '/run/secrets/mcp');
  const args = ['--client-credentials', '--client-id', 'robot', '--client-secret-file', '/run/secrets/mcp'];
  const login = at.start(['login', servers.resource, ...args], {
    variables,
    mounts: [...secret, ...mounts],
  });
  const { code, err } = await login.ended;
  expect({ code, err }).toEqual({ code: 0, err: expect.stringContaining('Logged in') });
  return err;
}

describe.skipIf(NO_SANDBOX !== undefined)('a home in a sandbox', () => {
  test('a user without an entry in passwd and without HOME needs only HOLDFAST_HOME', async () => {
    const at = await place(image, [servers]);
    const nowhere = await at.start(['list'], { variables: { HOLDFAST_HOME: '' } }).ended;
    expect(nowhere.code).toBe(2);
    expect(nowhere.err).toContain('Set HOLDFAST_HOME to a path that starts at the root.');
    await loggedInAsRobot(at);
    const { code, out, err } = await at.start(['token', servers.resource]).ended;
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(await accepted(servers.resource, new Secret(out.trim()))).toBe(true);
  });

  test('a login by client credentials gets a new token automatically, without the mounted secret', async () => {
    const at = await place(image, [servers]);
    await loggedInAsRobot(at);
    const before = await servers.counters();
    await expire(at.home, servers.resource);
    expect((await at.start(['token', servers.resource]).ended).code).toBe(0);
    const after = await servers.counters();
    expect(after.clientCredentialsGrants).toBe(before.clientCredentialsGrants + 1);
  });

  test('reports a home that cannot be written before anybody has to log in', async () => {
    const at = await place(image, [servers]);
    const variables = { HOME: '/holdfast', HOLDFAST_HOME: '' };
    const before = await servers.counters();
    const { code, err } = await at.start(['login', servers.resource, '--paste'], { variables }).ended;
    expect(code).toBe(6);
    expect(err).toContain('/holdfast cannot be written: the file system is read-only.\n');
    expect(err).toContain('Set HOLDFAST_HOME to a directory that can be written.');
    expect(await servers.counters()).toEqual(before);
  });

  test('doctor says that a login in memory is gone with the sandbox, and it is', async () => {
    const at = await place(image, [servers]);
    const options = {
      variables: { HOME: '/holdfast', HOLDFAST_HOME: '/run/memory/holdfast' },
      mounts: ['--tmpfs', '/run/memory'],
    };
    const doctor = await at.start(['doctor'], options).ended;
    expect(doctor.code).toBe(0);
    expect(doctor.out).toContain(
      'tmpfs: what is stored is gone at the next boot, or when the container ends.',
    );
    await loggedInAsRobot(at, options);
    const { code, err } = await at.start(['token', servers.resource], options).ended;
    expect(code).toBe(3);
    expect(err).toContain('There is no login');
    expect(await contentsOf(at.home.path)).toEqual([]);
  });

  test.each([
    ['HOLDFAST_PASSPHRASE_FILE', '/run/secrets/holdfast', '/run/secrets/holdfast'],
    ['CREDENTIALS_DIRECTORY', '/run/credentials', '/run/credentials/holdfast-passphrase'],
  ])('the volume alone opens nothing when the passphrase comes from %s', async (name, value, path) => {
    const at = await place(image, [servers]);
    const options = { variables: { [name]: value }, mounts: await mounted('correct horse battery', path) };
    await loggedInAsRobot(at, options);
    expect((await contentsOf(at.home.path)).filter((line) => line.includes('passphrase'))).toEqual([]);
    expect((await at.start(['token', servers.resource], options).ended).code).toBe(0);
    const doctor = await at.start(['doctor'], options).ended;
    expect(doctor.out).toContain(name);
    const without = await at.start(['token', servers.resource]).ended;
    expect({ code: without.code, out: without.out }).toEqual({ code: 4, out: '' });
    const wrong = { ...options, mounts: await mounted('another one', path) };
    const refused = await at.start(['token', servers.resource], wrong).ended;
    expect({ code: refused.code, out: refused.out }).toEqual({ code: 4, out: '' });
    // The failures above have not harmed the login.
    expect((await at.start(['token', servers.resource], options).ended).code).toBe(0);
  });

  test('gives a program an access token in its environment, and no store', async () => {
    const at = await place(image, [servers]);
    await loggedInAsRobot(at);
    const { path } = at.home;
    // As `holdfast run URL --as MCP_TOKEN -- docker run --env MCP_TOKEN IMAGE` does.
    const command = [...BARE, 'sh', '-c', `echo "$MCP_TOKEN"; ls '${path}'`];
    const sandboxed = holdfast(['run', servers.resource, '--as', 'MCP_TOKEN', '--', ...command], {
      HOLDFAST_HOME: path,
    });
    const { out, err } = await sandboxed.ended;
    expect(out === (await at.start(['token', servers.resource]).ended).out).toBe(true);
    expect(err).toContain('No such file or directory');
  });

  test('refuses a volume whose modes the platform has loosened, and names the command that fixes it', async () => {
    const at = await place(image, [servers]);
    await loggedInAsRobot(at);
    // The mode that a pod's fsGroup gives a volume when it is mounted.
    await chmod(at.home.path, 0o2770);
    const { code, out, err } = await at.start(['token', servers.resource]).ended;
    expect({ code, out }).toEqual({ code: 6, out: '' });
    expect(err).toContain('is open to other users (mode 2770).\n  Close it: chmod -R go= /volume/holdfast');
    await chmod(at.home.path, 0o700);
    expect((await at.start(['token', servers.resource]).ended).code).toBe(0);
  });
});

describe.skipIf(NO_CHROOT !== undefined)('a bare chroot without /proc, /dev and /etc', () => {
  test.each([0, 1234])('stores a login of user %i, and serves its token', async (uid) => {
    const root = await temporaryDirectory();
    await chmod(root, 0o755);
    await chmod(image.directory, 0o755);
    for (const name of ['bin', 'lib', 'lib64']) await symlink(`usr/${name}`, join(root, name));
    const binds: [string, string][] = [
      ['/usr', '/usr'],
      [image.directory, '/holdfast'],
      [await MODULES, await MODULES],
    ];
    for (const [, inside] of binds) await mkdir(join(root, inside), { recursive: true });
    // As an init container leaves it: the volume belongs to root, and the directory in it to the user.
    const store = join(root, 'volume', 'holdfast');
    await mkdir(store, { recursive: true });
    await chmod(store, 0o700);
    await chown(store, uid, uid);
    const secret = join(root, 'mcp-secret');
    await writeFile(secret, SECRET, { mode: 0o444 });
    // Docker mounts its secrets read-only, so Docker decides who may read them.
    const closed = `mount --bind '${secret}' '${secret}' && mount -o remount,bind,ro '${secret}'`;
    const mounts = [...binds.map(([from, to]) => `mount --bind '${from}' '${join(root, to)}'`), closed].join(
      ' && ',
    );
    const inside = async (...args: string[]) =>
      start('unshare', [
        '--mount',
        'sh',
        '-c',
        `${mounts} && exec chroot --userspec ${uid}:${uid} '${root}' env -i HOLDFAST_HOME=/volume/holdfast "$@"`,
        'sh',
        process.execPath,
        '/holdfast/holdfast.cjs',
        ...args,
      ]).ended;
    const client = ['--client-credentials', '--client-id', 'robot', '--client-secret-file', '/mcp-secret'];
    const login = await inside('login', servers.resource, ...client);
    expect({ code: login.code, err: login.err }).toEqual({
      code: 0,
      err: expect.stringContaining('Logged in'),
    });
    const { code, out, err } = await inside('token', servers.resource);
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(await accepted(servers.resource, new Secret(out.trim()))).toBe(true);
    const doctor = await inside('doctor');
    expect({ code: doctor.code, out: doctor.out }).toEqual({
      code: 0,
      out: expect.stringContaining('flock works there'),
    });
  });
});
