import { describe, test } from 'vitest';
import { FileKeyring } from '../../src/keyring/file/file.ts';
import { MemoryKeyring } from '../../src/keyring/memory.ts';
import { openKWallet } from '../../src/keyring/native/kwallet.ts';
import { openSecretService } from '../../src/keyring/native/secret-service.ts';
import { keyringContract } from '../../src/testing/keyring-contract.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { NO_KWALLET, startKWallet, writeKWalletSettings } from '../support/keyrings/kwallet.ts';
import { NO_SECRET_SERVICE, privateBus } from '../support/keyrings/secret-service.ts';

describe('the file keyring', () => {
  const contract = keyringContract(async () => {
    const { layout, environment } = await temporaryHome();
    const open = () => new FileKeyring(layout, environment);
    return { keyring: open(), reopen: async () => open(), dispose: async () => {} };
  });
  for (const { name, run } of contract) test(name, run);
});

describe('the memory keyring', () => {
  const contract = keyringContract(async () => ({ keyring: new MemoryKeyring(), dispose: async () => {} }));
  for (const { name, run } of contract) test(name, run);
});

/** The layouts of a desktop keyring: Holdfast's own, and that of 99designs/keyring for a service. */
const LAYOUTS = [
  ['its own layout', () => ({})],
  ['the layout of 99designs/keyring', (service: string) => ({ as99designs: service })],
] as const;

describe.skipIf(NO_SECRET_SERVICE)('the Secret Service of a real gnome-keyring', () => {
  describe.each(LAYOUTS)('in %s', (_name, layout) => {
    const contract = keyringContract(async () => {
      const { environment } = await temporaryHome();
      const bus = await privateBus();
      await bus.keyring({ unlock: true });
      const open = () => openSecretService({ ...environment, variables: bus.variables }, layout('login'));
      return { keyring: await open(), reopen: open, dispose: async () => {} };
    });
    for (const { name, run } of contract) test(name, run);
  });
});

describe.skipIf(NO_KWALLET)('the KWallet of a real kwalletd5', () => {
  describe.each(LAYOUTS)('in %s', (_name, layout) => {
    const contract = keyringContract(async () => {
      const { environment } = await temporaryHome();
      const bus = await privateBus({ services: {} });
      await writeKWalletSettings(bus);
      await startKWallet(bus, ['kdewallet', 'some-agent']);
      const here = { ...environment, variables: bus.variables, homeDirectory: bus.home };
      const open = () => openKWallet(here, layout('some-agent'));
      return { keyring: await open(), reopen: open, dispose: async () => {} };
    });
    for (const { name, run } of contract) test(name, run);
  });
});
