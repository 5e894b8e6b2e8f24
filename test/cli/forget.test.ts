import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { temporaryDirectory } from '../support/homes/home.ts';
import { end, NO_SECRET_SERVICE, privateBus } from '../support/keyrings/secret-service.ts';
import { ENTER, HOLDFAST, NO_TERMINAL, terminal } from '../support/sandbox/sandbox-terminal.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
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

  test('removes a record whose desktop keyring was recreated, and says that it was not revoked', async () => {
    const { at, bus, desktop } = await sealedOnDesktop();
    await rm(join(desktop, '.local/share/keyrings'), { recursive: true });
    await bus.keyring({ unlock: true });
    const token = await at.run(['token', servers.resource], bus.variables);
    expect(token.err).toContain(`holdfast login ${servers.resource}`);
    const again = await at.run(['login', servers.resource], bus.variables);
    expect(again.code).toBe(0);
    const before = await at.run(['list'], bus.variables);
    expect(before.err).toContain('holdfast logout --forget');
    const { undecryptable } = JSON.parse((await at.run(['list', '--json'], bus.variables)).out);
    expect(undecryptable).toMatchObject([{ code: 'key-unavailable' }]);
    const { file } = undecryptable[0];
    expect(await readFile(file, 'utf8')).toMatch(/^[\w-]+\.\.[\w-]+\.[\w-]+\.[\w-]+$/);
    const doctor = await at.run(['doctor'], bus.variables);
    expect(doctor.out).toContain(`Its file: ${file}`);
    expect(doctor.out).toContain('holdfast logout --forget');

    const forgotten = await at.run(['logout', '--forget'], bus.variables);
    expect(forgotten.code).toBe(0);
    expect(forgotten.err).toContain('Removed 1 record whose key is gone.');
    expect(forgotten.err).toContain('not revoked');
    const after = await at.run(['list'], bus.variables);
    expect(after.err).not.toContain('does not open');
    expect((await at.run(['token', servers.resource], bus.variables)).code).toBe(0);
  });

  test('keeps a record under a locked keyring, and all records when a keyring may be out of reach', async () => {
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
    const one = await at.run(['logout', servers.resource, '--forget']);
    expect(one.code).toBe(2);
    expect(one.err).toContain('If its key is gone for good, add: --yes');
    await bus.keyring({ unlock: true });
    expect((await at.run(['token', servers.resource], bus.variables)).code).toBe(0);
  });

  test('removes a login whose keyring is out of reach when --yes confirms that its key is gone', async () => {
    const { at } = await sealedOnDesktop();
    const forgotten = await at.run(['logout', servers.resource, '--forget', '--yes']);
    expect(forgotten.code).toBe(0);
    expect(forgotten.err).toContain('Removed 1 record whose key is gone.');
  });

  test.skipIf(NO_TERMINAL !== undefined).each([
    ['y', 'Removed 1 record', 0],
    ['n', 'Nothing was removed', 1],
  ])('asks on a terminal whether the key of the login is gone; after %s: %s', async (answer, told, left) => {
    const { at, bus } = await sealedOnDesktop();
    const shown = terminal(`${HOLDFAST} logout ${servers.resource} --forget`, {
      HOME: '/nonexistent',
      HOLDFAST_HOME: at.home,
    });
    await shown.shows('[y/N]');
    expect(shown.shown()).toContain('secret-service is out of reach');
    shown.type(`${answer}${ENTER}`);
    await shown.ended;
    expect(shown.shown()).toContain(told);
    await bus.keyring({ unlock: true });
    const { out } = await at.run(['list', '--json'], bus.variables);
    expect(JSON.parse(out).credentials).toHaveLength(left);
  });
});
