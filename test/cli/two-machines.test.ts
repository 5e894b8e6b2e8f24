import { spawnSync } from 'node:child_process';
import { cp, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { temporaryDirectory } from '../support/homes/home.ts';
import { start, TYPESCRIPT } from '../support/processes/process.ts';
import { requirement } from '../support/requirement.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { SCRIPTED_BROWSER } from '../support/transcript.ts';

/* A machine is a mount namespace with its own boot id, machine id and host name; all else is that of this machine. */

const BIN = fileURLToPath(new URL('../../src/cli/bin.ts', import.meta.url));
const AS_HERE = ['--dev-bind', '/', '/', '--unshare-uts'];
const NO_MACHINES = requirement(
  'bubblewrap (bwrap) is not installed, or may not make namespaces here',
  process.platform === 'linux' &&
    spawnSync('bwrap', [...AS_HERE, '--hostname', 'x', 'true'], { stdio: 'ignore' }).status === 0,
);

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

async function machine(host: string, boot: string, id: string) {
  const directory = await temporaryDirectory();
  const files = { boot: join(directory, 'boot'), id: join(directory, 'id') };
  await writeFile(files.boot, `${boot.repeat(8)}-0000-4000-8000-000000000000\n`);
  await writeFile(files.id, `${id.repeat(32)}\n`);
  const binds = ['--ro-bind', files.boot, '/proc/sys/kernel/random/boot_id', '--ro-bind', files.id];
  const words = [
    ...AS_HERE,
    '--hostname',
    host,
    ...binds,
    '/etc/machine-id',
    process.execPath,
    ...TYPESCRIPT,
  ];
  return (home: string, ...args: string[]) =>
    start('bwrap', [...words, BIN, ...args], {
      HOME: '/nonexistent',
      HOLDFAST_HOME: home,
      HOLDFAST_KEYRING: 'file',
      BROWSER: SCRIPTED_BROWSER,
    }).ended;
}

/** The arguments of a login; a login, like a refresh, writes the record. */
const login = () => ['login', servers.resource];

describe.skipIf(NO_MACHINES)('a home copied between machines', () => {
  test('tells by list and doctor that two machines use copies of one login', async () => {
    const [desk, laptop] = [await machine('desk', 'a', '1'), await machine('laptop', 'b', '2')];
    const home = join(await temporaryDirectory(), 'home');
    for (const [on, told] of [
      [desk, false],
      [laptop, false],
      [desk, true],
    ] as const) {
      expect((await on(home, ...login())).code).toBe(0);
      const words = 'Two machines, "desk" and "laptop", use copies of the login';
      const [list, doctor] = [await on(home, 'list'), await on(home, 'doctor')];
      expect([list.code, doctor.code]).toEqual([0, 0]);
      expect(list.err.includes(words)).toBe(told);
      expect(doctor.out.includes(words)).toBe(told);
    }
    expect(await desk(home, 'token', servers.resource)).toMatchObject({ code: 0, err: '' });
    const { credentials } = JSON.parse((await desk(home, 'list', '--json')).out);
    expect(credentials).toMatchObject([{ machines: ['desk', 'laptop'] }]);
  });

  test('does not warn of sandboxes that use one volume in turn or share a kernel', async () => {
    const home = join(await temporaryDirectory(), 'home');
    const chain = [
      await machine('sandbox-1', 'a', '1'),
      await machine('sandbox-2', 'b', '2'),
      // Two containers of one image on one kernel.
      await machine('sandbox-3', 'c', '3'),
      await machine('sandbox-4', 'c', '3'),
    ];
    for (const on of [...chain, chain[2], chain[3]]) await on?.(home, ...login());
    const list = await chain[3]?.(home, 'list');
    expect(list).toMatchObject({ code: 0, err: '' });
    expect((await chain[3]?.(home, 'doctor'))?.out).not.toContain('Two machines');
  });

  test('names the other machine when the server refuses the refresh', async () => {
    const [desk, laptop] = [await machine('desk', 'a', '1'), await machine('laptop', 'b', '2')];
    const [home, copy] = [await temporaryDirectory(), await temporaryDirectory()];
    await servers.behave({ accessTokenTtlSeconds: 1 });
    await desk(join(home, 'home'), ...login());
    await cp(join(home, 'home'), join(copy, 'home'), { recursive: true });
    const generation = async () =>
      JSON.parse((await desk(join(home, 'home'), 'list', '--json')).out).credentials[0].generation;
    while ((await generation()) === 1) await desk(join(home, 'home'), 'token', servers.resource);
    await servers.behave({ accessTokenTtlSeconds: 3600 });
    const refused = await laptop(join(copy, 'home'), 'token', servers.resource);
    expect(refused.code).toBe(3);
    expect(refused.err).toContain('this directory was also used on the machine "desk"');
    expect(refused.err).toContain(`holdfast login ${servers.resource}`);
    expect((await laptop(join(copy, 'home'), 'list')).err).toContain('the machine "desk"');
  });

  test('hides the machine id in its note, and ignores a damaged note', async () => {
    const desk = await machine('desk', 'a', '1');
    const home = join(await temporaryDirectory(), 'home');
    await desk(home, ...login());
    const locks = join(home, 'locks');
    const file = join(locks, (await readdir(locks)).find((name) => name.endsWith('.machines')) ?? '');
    expect(await readFile(file, 'utf8')).toContain('"host":"desk"');
    expect(await readFile(file, 'utf8')).not.toContain('1'.repeat(32));
    for (const text of ['{', '[{"host":1}]', 'null', '[{},{},{},{},{},{},{}]']) {
      await writeFile(file, text);
      expect(await desk(home, 'list')).toMatchObject({ code: 0, err: '' });
    }
  });
});
