import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { KeyringDeniedError } from '../../src/errors.ts';
import { openSecretService } from '../../src/keyring/native/secret-service.ts';
import { processEnvironment } from '../../src/system/environment.ts';
import { temporaryDirectory } from '../support/homes/home.ts';
import { keepassxc, NO_KEEPASSXC } from '../support/keyrings/keepassxc.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { commandLine } from '../support/transcript.ts';

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

describe.skipIf(NO_KEEPASSXC)('KeePassXC as the Secret Service', () => {
  test.each([true, false])(
    'stores no key in a KeePassXC that asks a person first (confirms reads: %s), and leaves nothing there',
    async (confirms) => {
      const desktop = await keepassxc({ confirms });
      const at = commandLine(join(await temporaryDirectory(), 'home'), [servers]);
      const login = await at.run(['login', servers.resource], desktop.variables);
      expect(login.code).toBe(0);
      expect(login.err).toContain('Sealed under a key in the file keyring.');
      expect(login.err).toContain('is unlocked, but asks a person before it keeps an item');
      for (let use = 0; use < 2; use += 1) {
        expect((await at.run(['token', servers.resource], desktop.variables)).code).toBe(0);
      }
      expect(await desktop.entries()).toEqual([]);
    },
  );

  test('KeePassXC shows another program’s item only if a person agrees, and Holdfast names that setting', async () => {
    const desktop = await keepassxc({ confirms: true });
    desktop.store({ service: 'holdfast', username: 'made-elsewhere' }, 'a secret');
    const environment = { ...processEnvironment(), variables: desktop.variables };
    const keyring = await openSecretService(environment);
    const error = await keyring.get('made-elsewhere').catch((cause: unknown) => cause);
    await keyring.close();
    expect(error).toBeInstanceOf(KeyringDeniedError);
    expect(error).toMatchObject({
      message:
        'The Secret Service is unlocked, but keeps its items from a program until a person has agreed.',
      hint: expect.stringContaining('Confirm when passwords are retrieved by clients'),
    });
  });

  test('KeePassXC shows another program’s item once that setting is off', async () => {
    const desktop = await keepassxc({ confirms: false });
    desktop.store({ service: 'holdfast', username: 'made-elsewhere' }, 'a secret');
    const keyring = await openSecretService({ ...processEnvironment(), variables: desktop.variables });
    const found = await keyring.get('made-elsewhere');
    await keyring.close();
    expect(Buffer.from(found ?? []).toString()).toBe('a secret');
  });
});
