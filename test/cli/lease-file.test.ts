import { readdir, readFile, rm, symlink } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporaryHome } from '../support/home.ts';
import { type Servers, startServers } from '../support/servers.ts';
import { commandLine } from '../support/transcript.ts';

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

describe.skipIf(process.platform !== 'linux')('a lease file whose holder cannot be seen from here', () => {
  it('is named by token, with the command that removes it, and the login works once it is removed', async () => {
    const { path, layout } = await temporaryHome();
    const at = commandLine(path, [servers]);
    const variables = { HOLDFAST_LOCK: 'lease-file' };
    await servers.behave({ accessTokenTtlSeconds: 1 });
    await at.run(['login', servers.resource], variables);
    const epoch = (await readdir(layout.locks)).find((name) => name.endsWith('.epoch')) ?? '';
    const owner = join(layout.locks, `${epoch.replace(/\.epoch$/, '')}.lock.owner`);
    const boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
    // As a holder of another container leaves it behind: this boot, and another PID namespace.
    const parts = [boot, 'pid:[999]', hostname(), '4242', '99', 'a-nonce'];
    await symlink(parts.map(encodeURIComponent).join('&'), owner);
    // Until the token has lapsed, it is served whoever holds the lease.
    for (;;) {
      const { code, err } = await at.run(['token', servers.resource, '--timeout', '1'], variables);
      if (code === 0) continue;
      expect(code).toBe(1);
      expect(err).toContain(`process 4242 on ${hostname()} held`);
      expect(err).toContain(`If it is gone for good: rm ${owner}`);
      break;
    }
    await servers.behave({ accessTokenTtlSeconds: 3600 });
    await rm(owner);
    expect((await at.run(['token', servers.resource], variables)).code).toBe(0);
  });
});
