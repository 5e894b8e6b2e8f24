import { describe, test } from 'vitest';
import { DirectoryStore } from '../../src/store/directory.ts';
import { MemoryStore } from '../../src/store/memory.ts';
import { storeContract } from '../../src/testing/store-contract.ts';
import { temporaryHome } from '../support/homes/home.ts';

describe('the directory store', () => {
  const contract = storeContract(async () => {
    const { layout, environment } = await temporaryHome();
    const open = () => new DirectoryStore(layout, environment);
    return { store: open(), reopen: async () => open(), dispose: async () => {} };
  });
  for (const { name, run } of contract) test(name, run);
});

describe('the memory store', () => {
  const contract = storeContract(async () => ({ store: new MemoryStore(), dispose: async () => {} }));
  for (const { name, run } of contract) test(name, run);
});
