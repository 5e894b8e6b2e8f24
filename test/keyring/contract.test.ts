import { describe, test } from 'vitest';
import { FileKeyring } from '../../src/keyring/file.ts';
import { MemoryKeyring } from '../../src/keyring/memory.ts';
import { openSecretService } from '../../src/keyring/secret-service.ts';
import { keyringContract } from '../../src/testing/keyring-contract.ts';
import { temporaryHome } from '../support/home.ts';
import { NO_SECRET_SERVICE, privateBus } from '../support/secret-service.ts';

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

describe.skipIf(NO_SECRET_SERVICE)('the Secret Service of a real gnome-keyring', () => {
  const contract = keyringContract(async () => {
    const { environment } = await temporaryHome();
    const bus = await privateBus();
    await bus.keyring({ unlock: true });
    const open = () => openSecretService({ ...environment, variables: bus.variables });
    return { keyring: await open(), reopen: open, dispose: async () => {} };
  });
  for (const { name, run } of contract) test(name, run);
});
