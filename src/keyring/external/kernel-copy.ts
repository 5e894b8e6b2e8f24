import { KeyringBrokenError } from '../../errors.ts';
import { KeyError, loadKernelKeyring, RING } from '../../system/os/kernel-keyring.ts';

/*
 * The keyring crate can keep a copy of each item in the kernel's keyring, in front of the Secret Service
 * (`linux-native-async-persistent`): a key of the type `user` in the session ring, linked from the persistent one. It reads
 * that copy first, so an item that leaves has to leave there too. Both hold the same; only the Secret Service is read here.
 */

/**
 * Ends the copy, wherever one is that this process can find.
 *
 * @throws KeyringBrokenError when there is one and it stays
 */
export async function forgetKernelCopy(service: string, account: string): Promise<void> {
  const kernel = await loadKernelKeyring().catch(() => undefined);
  // Where the kernel cannot be asked from here, another process may still have a copy; that is said in the documentation.
  if (kernel === undefined) return;
  for (const ring of [() => RING.session, () => kernel.persistentRing(), () => RING.user]) {
    let key: number;
    try {
      key = kernel.search(ring(), 'user', `keyring-rs:${account}@${service}`);
    } catch (error) {
      if (error instanceof KeyError) continue;
      throw error;
    }
    try {
      kernel.invalidate(key);
    } catch (error) {
      if (!(error instanceof KeyError)) throw error;
      throw new KeyringBrokenError(`A copy of the item stays in the kernel’s keyring (${error.code}).`, {
        cause: error,
        hint: 'It ends three days after its last use, or at the next boot. To look: keyctl show @s',
      });
    }
  }
}
