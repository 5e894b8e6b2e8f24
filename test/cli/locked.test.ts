import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { temporaryDirectory } from '../support/homes/home.ts';
import { NO_SECRET_SERVICE, privateBus } from '../support/keyrings/secret-service.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { commandLine } from '../support/transcript.ts';

/*
 * One home in three sessions: a desktop with its keyring unlocked, an SSH session with the keyring locked, and the desktop
 * again. Each session runs a real gnome-keyring on its own bus.
 */

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

async function session(home: string, desktop: string, options: { unlock: boolean }) {
  const bus = await privateBus({ home: desktop });
  const daemon = await bus.keyring(options);
  const at = commandLine(home, [servers]);
  return {
    run: (...args: string[]) => at.run(args, bus.variables),
    end: async () => {
      daemon.kill('SIGKILL');
    },
  };
}

describe.skipIf(NO_SECRET_SERVICE)('a login that the desktop’s keyring seals', () => {
  test('reports a login under a locked keyring as locked, and allows another login beside it', async () => {
    const [desktop, home] = [await temporaryDirectory(), join(await temporaryDirectory(), 'home')];
    const first = await session(home, desktop, { unlock: true });
    const login = await first.run('login', servers.resource);
    expect(login.err).toContain('Sealed under a key in the keyring secret-service.');
    const before = await first.run('token', servers.resource);
    expect(before.code).toBe(0);
    await first.end();

    const locked = await session(home, desktop, { unlock: false });
    for (const command of ['token', 'headers'] as const) {
      const refused = await locked.run(command, servers.resource);
      expect(refused.code).toBe(4);
      expect(refused.err).toMatch(/is sealed under a key that cannot be read now\. .*locked/);
      expect(refused.err).toContain('Unlock it');
    }
    const listed = await locked.run('list');
    expect(listed.err).toContain('1 record does not open');
    expect((await locked.run('doctor')).out).toContain('secret-service is passed over (locked)');
    const again = await locked.run('login', servers.resource);
    expect(again.code).toBe(0);
    expect(again.err).toContain('Sealed under a key in the file keyring.');
    expect(again.err).toContain('secret-service was passed over');
    const fromFile = await locked.run('token', servers.resource);
    expect(fromFile.code).toBe(0);
    await locked.end();

    const last = await session(home, desktop, { unlock: true });
    const after = await last.run('token', servers.resource);
    expect(after.code).toBe(0);
    expect(after.out === before.out).toBe(true);
    expect(after.out === fromFile.out).toBe(false);
    const both = JSON.parse((await last.run('list', '--json')).out) as {
      credentials: { keyring: string }[];
    };
    expect(both.credentials.map(({ keyring }) => keyring)).toEqual(['secret-service', 'file']);
  });
});
