/*
 * Reads the state of the user's default keychain from Security.framework, without a dialog. A library reads and writes
 * the items. It prompts whenever the system wants to, and offers no call to check first.
 */

export type KeychainStatus = 'unlocked' | 'locked' | 'absent';

export interface DefaultKeychain {
  /** Makes every later call of this process that needs a dialog fail instead (errSecInteractionNotAllowed). */
  forbidDialogs(): void;
  /** @throws Error with the OSStatus when the system does not reveal the state */
  status(): KeychainStatus;
}

const SECURITY = '/System/Library/Frameworks/Security.framework/Security';
const CORE_FOUNDATION = '/System/Library/Frameworks/CoreFoundation.framework/CoreFoundation';

/** kSecPreferencesDomainUser: the same keychain that the library opens. */
const USER_DOMAIN = 0;
const UNLOCKED = 1;
/** errSecNoSuchKeychain, errSecNoDefaultKeychain. */
const ABSENT = new Set([-25294, -25307]);

/** @throws the loader's error, if koffi or the framework is missing */
export async function defaultKeychain(): Promise<DefaultKeychain> {
  const { default: koffi } = await import('koffi');
  const security = koffi.load(SECURITY);
  const copyDefault = security.func('SecKeychainCopyDomainDefault', 'int32_t', [
    'int',
    koffi.out(koffi.pointer('void *')),
  ]);
  const getStatus = security.func('SecKeychainGetStatus', 'int32_t', [
    'void *',
    koffi.out(koffi.pointer('uint32_t')),
  ]);
  const allowDialogs = security.func('SecKeychainSetUserInteractionAllowed', 'int32_t', ['uint8_t']);
  const release = koffi.load(CORE_FOUNDATION).func('CFRelease', 'void', ['void *']);
  return {
    forbidDialogs() {
      expectSuccess('SecKeychainSetUserInteractionAllowed', allowDialogs(0));
    },
    status() {
      const found: [bigint | null] = [null];
      const result: number = copyDefault(USER_DOMAIN, found);
      if (ABSENT.has(result)) return 'absent';
      expectSuccess('SecKeychainCopyDomainDefault', result);
      const [keychain] = found;
      try {
        const status: [number] = [0];
        const asked: number = getStatus(keychain, status);
        // The file that the preferences name may have been removed.
        if (ABSENT.has(asked)) return 'absent';
        expectSuccess('SecKeychainGetStatus', asked);
        return (status[0] & UNLOCKED) === 0 ? 'locked' : 'unlocked';
      } finally {
        release(keychain);
      }
    },
  };
}

function expectSuccess(call: string, status: number): void {
  if (status !== 0) throw new Error(`${call} failed with OSStatus ${status}`);
}
