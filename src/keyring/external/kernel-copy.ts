import { KeyringBrokenError } from '../../errors.ts';
import { KeyError, loadKernelKeyring, RING } from '../../system/os/kernel-keyring.ts';

/*
 * The keyring crate can store a copy of each item in the kernel's keyring, in front of the Secret Service
 * (`linux-native-async-persistent`). The copy is a key of type `user` in the session ring, linked from the persistent
 * ring. The crate reads the copy first, so removing an item must remove the copy too. Both hold the same text; Holdfast
 * reads only the Secret Service.
 */

/**
 * Removes the copies that this process can find.
 *
 * @throws KeyringBrokenError when a copy exists and cannot be removed
 */
export async function forgetKernelCopy(service: string, account: string): Promise<void> {
  const kernel = await loadKernelKeyring().catch(() => undefined);
  // Without kernel access here, another process may still have a copy; the documentation says so.
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
