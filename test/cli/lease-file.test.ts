import { lutimes, readdir, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { tryLeaseFile } from '../../src/system/locks/lease-file.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { commandLine } from '../support/transcript.ts';

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

describe.skipIf(process.platform !== 'linux')('a lease file of a holder in another container', () => {
  test('names the lease file and the command that removes it, then works once it is removed', async () => {
    const { path, layout } = await temporaryHome();
    const at = commandLine(path, [servers]);
    const variables = { HOLDFAST_LOCK: 'lease-file' };
    await servers.behave({ accessTokenTtlSeconds: 1 });
    await at.run(['login', servers.resource], variables);
    const epoch = (await readdir(layout.locks)).find((name) => name.endsWith('.epoch')) ?? '';
    const owner = join(layout.locks, `${epoch.replace(/\.epoch$/, '')}.lock.owner`);
    const boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
    // A holder in another container leaves this behind: the same boot id, another PID namespace.
    const parts = [boot, 'pid:[999]', hostname(), '4242', '99', 'a-nonce'];
    await symlink(parts.map(encodeURIComponent).join('&'), owner);
    // An unexpired token is served without the lease.
    for (;;) {
      const { code, err } = await at.run(['token', servers.resource, '--timeout', '1'], variables);
      if (code === 0) continue;
      expect(code).toBe(1);
      expect(err).toContain(`process 4242 on ${hostname()} held`);
      expect(err).toContain(`If it is gone for good: rm ${owner}`);
      break;
    }
    const held = `Process 4242 on ${hostname()} holds the lease file ${owner} for`;
    for (const command of ['list', 'doctor']) {
      const { code, out, err } = await at.run([command], variables);
      expect(code).toBe(0);
      expect(`${out}${err}`).toContain(`${held} `);
      expect(`${out}${err}`).not.toContain(`rm ${owner}`);
    }
    const longAgo = new Date(Date.now() - 3 * 60 * 60 * 1000);
    await lutimes(owner, longAgo, longAgo);
    for (const command of ['list', 'doctor']) {
      const { out, err } = await at.run([command], variables);
      expect(`${out}${err}`).toContain(`${held} 3 hours`);
      expect(`${out}${err}`).toContain(`If that process is gone for good: rm ${owner}`);
    }
    const { unseenLeases } = JSON.parse((await at.run(['list', '--json'], variables)).out);
    const holder = `process 4242 on ${hostname()}`;
    expect(unseenLeases).toEqual([{ file: owner, holder, since: longAgo.toISOString() }]);
    await servers.behave({ accessTokenTtlSeconds: 3600 });
    await rm(owner);
    expect((await at.run(['token', servers.resource], variables)).code).toBe(0);
    expect((await at.run(['list'], variables)).err).toBe('');
  });

  test('does not mention a lease file whose holder is alive or provably dead', async () => {
    const { path, layout } = await temporaryHome();
    const at = commandLine(path, [servers]);
    const variables = { HOLDFAST_LOCK: 'lease-file' };
    await at.run(['login', servers.resource], variables);
    const [alive, dead] = ['alive.lock', 'dead.lock'].map((name) => join(layout.locks, name));
    await tryLeaseFile(alive ?? '');
    const owner = await readlink(`${alive}.owner`);
    await symlink(owner.replace(`&${process.pid}&`, '&4194304&'), `${dead}.owner`);
    await writeFile(join(layout.locks, 'no-link.lock.owner'), '');
    expect((await at.run(['list'], variables)).err).toBe('');
    expect((await at.run(['doctor'], variables)).out).not.toContain('holds the lease file');
  });
});
