import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { type Keyring, LIFETIMES } from '../keyring/keyring.ts';
import type { ContractTest } from './contract.ts';

/** A keyring to test. `reopen` makes another one over the same items, if the items outlive the keyring. */
export interface KeyringUnderTest {
  readonly keyring: Keyring;
  readonly reopen?: (() => Promise<Keyring>) | undefined;
  dispose(): Promise<void>;
}

/**
 * The duties of a keyring, as tests. Each test opens its own keyring, which must be usable and have no items with these
 * names.
 *
 * @example for (const { name, run } of keyringContract(open)) test(name, run)
 */
export function keyringContract(open: () => Promise<KeyringUnderTest>): readonly ContractTest[] {
  const duty = (name: string, check: (under: KeyringUnderTest) => Promise<void>): ContractTest => ({
    name,
    run: async () => {
      const under = await open();
      try {
        await check(under);
      } finally {
        await under.keyring.close();
        await under.keyring.close();
        await under.dispose();
      }
    },
  });
  const name = 'contract-item';
  return [
    duty('probes as usable, with a lifetime', async ({ keyring }) => {
      const probe = await keyring.probe();
      assert.equal(probe.status, 'usable');
      assert.ok(probe.status === 'usable' && LIFETIMES.includes(probe.lifetime));
    }),
    duty('has nothing at first, and asking makes nothing', async ({ keyring }) => {
      assert.equal(await keyring.get(name), undefined);
      assert.equal(await keyring.delete(name), false);
      assert.equal(await keyring.get(name), undefined);
    }),
    duty('gives back every byte', async ({ keyring }) => {
      const secret = Uint8Array.from({ length: 256 }, (_, index) => index);
      await keyring.set(name, secret);
      assert.deepEqual(Uint8Array.from((await keyring.get(name)) ?? []), secret);
      await keyring.delete(name);
    }),
    duty('replaces what was there', async ({ keyring }) => {
      await keyring.set(name, randomBytes(32));
      const second = randomBytes(48);
      await keyring.set(name, second);
      assert.deepEqual(Buffer.from((await keyring.get(name)) ?? []), second);
      await keyring.delete(name);
    }),
    duty('keeps items of different names apart', async ({ keyring }) => {
      await keyring.set(name, Buffer.from('one'));
      await keyring.set(`${name}-2`, Buffer.from('two'));
      assert.equal(Buffer.from((await keyring.get(name)) ?? []).toString(), 'one');
      assert.equal(await keyring.delete(name), true);
      assert.equal(await keyring.get(name), undefined);
      assert.equal(Buffer.from((await keyring.get(`${name}-2`)) ?? []).toString(), 'two');
      await keyring.delete(`${name}-2`);
    }),
    duty('does not hold on to the caller’s buffer', async ({ keyring }) => {
      const secret = Buffer.from('unchanged');
      await keyring.set(name, secret);
      secret.fill(0);
      assert.equal(Buffer.from((await keyring.get(name)) ?? []).toString(), 'unchanged');
      await keyring.delete(name);
    }),
    duty('what was kept is there after reopening, if it lasts at all', async ({ keyring, reopen }) => {
      const probe = await keyring.probe();
      const lasts = probe.status === 'usable' && probe.lifetime !== 'process';
      assert.equal(lasts, reopen !== undefined, 'a keyring that lasts can be reopened');
      if (reopen === undefined) return;
      const secret = randomBytes(32);
      await keyring.set(name, secret);
      const again = await reopen();
      try {
        assert.deepEqual(Buffer.from((await again.get(name)) ?? []), secret);
        await again.delete(name);
      } finally {
        await again.close();
      }
    }),
  ];
}
