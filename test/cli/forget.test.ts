import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporaryDirectory } from '../support/home.ts';
import { end, NO_SECRET_SERVICE, privateBus } from '../support/secret-service.ts';
import { type Servers, startServers } from '../support/servers.ts';
import { commandLine } from '../support/transcript.ts';

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

describe.skipIf(NO_SECRET_SERVICE)('holdfast logout --forget', () => {
  async function sealedOnDesktop() {
    const [desktop, home] = [await temporaryDirectory(), join(await temporaryDirectory(), 'home')];
    const at = commandLine(home, [servers]);
    const bus = await privateBus({ home: desktop });
    const daemon = await bus.keyring({ unlock: true });
    const login = await at.run(['login', servers.resource], bus.variables);
    expect(login.err).toContain('the keyring secret-service');
    await end(daemon);
    return { at, bus, desktop };
  }

  it('removes a record whose keyring was made anew, and says that it was not revoked', async () => {
    const { at, bus, desktop } = await sealedOnDesktop();
    await rm(join(desktop, '.local/share/keyrings'), { recursive: true });
    await bus.keyring({ unlock: true });
    const token = await at.run(['token', servers.resource], bus.variables);
    expect(token.err).toContain(`holdfast login ${servers.resource}`);
    const again = await at.run(['login', servers.resource], bus.variables);
    expect(again.code).toBe(0);
    const before = await at.run(['list'], bus.variables);
    expect(before.err).toContain('holdfast logout --forget');

    const forgotten = await at.run(['logout', '--forget'], bus.variables);
    expect(forgotten.code).toBe(0);
    expect(forgotten.err).toContain('Removed 1 record whose key is gone.');
    expect(forgotten.err).toContain('not revoked');
    const after = await at.run(['list'], bus.variables);
    expect(after.err).not.toContain('does not open');
    expect((await at.run(['token', servers.resource], bus.variables)).code).toBe(0);
  });

  it('keeps a record under a locked keyring, and all of them where one may be out of reach', async () => {
    const { at, bus } = await sealedOnDesktop();
    const locked = await bus.keyring({ unlock: false });
    for (const args of [[servers.resource], []]) {
      const { code } = await at.run(['logout', ...args, '--forget'], bus.variables);
      expect(code).not.toBe(0);
    }
    await end(locked);
    const elsewhere = await at.run(['logout', '--forget']);
    expect(elsewhere.code).toBe(2);
    expect(elsewhere.err).toContain('secret-service is out of reach');
    await bus.keyring({ unlock: true });
    expect((await at.run(['token', servers.resource], bus.variables)).code).toBe(0);
  });
});
