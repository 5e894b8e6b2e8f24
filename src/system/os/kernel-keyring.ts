/*
 * Calls the kernel's key management (keyctl(2), add_key(2)) through the C library's syscall(), since the keyutils
 * library is usually not installed. No call here blocks: none makes the kernel ask a program for a key.
 */

/** The serial number of a key or a ring, or a negative alias for one of this process's own rings. */
export type KeySerial = number;

/** keyctl(2), "special key IDs". */
export const RING = { process: -2, session: -3, user: -4, usersession: -5 } as const;

/** Maximum payload of a key of the type `user`. */
export const MAX_PAYLOAD_BYTES = 32_767;

const OPERATION = {
  getRing: 0,
  describe: 6,
  link: 8,
  unlink: 9,
  search: 10,
  read: 11,
  invalidate: 21,
  getPersistent: 22,
};

/** A call that the kernel refused, with the name of its error number. */
export class KeyError extends Error {
  /** `EACCES`, `ENOKEY` …; `unsupported` if the kernel cannot be called. */
  readonly code: string;

  constructor(code: string, call: string) {
    super(`${call}: ${code}`);
    this.name = 'KeyError';
    this.code = code;
  }
}

export interface KernelKeyring {
  /** Returns the ring's serial number and never creates a ring. Every method throws KeyError. */
  ringOf(special: KeySerial): KeySerial;
  /**
   * Returns the ring that outlives the user's processes, and links it into the process's ring. Counts as a use of it.
   */
  persistentRing(): KeySerial;
  /** Returns `type;uid;gid;permissions;description`. */
  describe(key: KeySerial): string;
  /** Finds the key of that type and description in the ring, or in a ring within it. */
  search(ring: KeySerial, type: 'user' | 'keyring', description: string): KeySerial;
  /** Adds a key, or replaces the payload of the key with that description. */
  add(type: 'user' | 'keyring', description: string, payload: Uint8Array, ring: KeySerial): KeySerial;
  read(key: KeySerial): Buffer;
  link(key: KeySerial, ring: KeySerial): void;
  unlink(key: KeySerial, ring: KeySerial): void;
  /** Deletes the key at once from every ring. */
  invalidate(key: KeySerial): void;
}

/** The numbers of `add_key` and `keyctl`, by Node's architecture names; newer architectures share one table. */
const GENERIC = { addKey: 217, keyctl: 219 };
const SYSCALLS: Readonly<Record<string, { readonly addKey: number; readonly keyctl: number }>> = {
  x64: { addKey: 248, keyctl: 250 },
  ia32: { addKey: 286, keyctl: 288 },
  arm: { addKey: 309, keyctl: 311 },
  ppc64: { addKey: 269, keyctl: 271 },
  s390x: { addKey: 278, keyctl: 280 },
  arm64: GENERIC,
  riscv64: GENERIC,
  loong64: GENERIC,
};

let loaded: Promise<KernelKeyring> | undefined;

/**
 * Binds the calls once.
 *
 * @throws KeyError when this platform cannot call them
 */
export function loadKernelKeyring(): Promise<KernelKeyring> {
  loaded ??= bindKernelKeyring();
  return loaded;
}

async function bindKernelKeyring(): Promise<KernelKeyring> {
  const numbers = SYSCALLS[process.arch];
  if (process.platform !== 'linux' || numbers === undefined) throw new KeyError('unsupported', process.arch);
  const { default: koffi } = await import('koffi').catch(() => {
    throw new KeyError('unsupported', 'koffi, which calls it, cannot be loaded');
  });
  // Null means the running program itself, since Node is linked with the C library.
  const program = koffi.load(null);
  const addKey = program.func('long syscall(long, const char *, const char *, const void *, size_t, long)');
  const withNumbers = program.func('long syscall(long, long, long, long, long)');
  const withText = program.func('long syscall(long, long, long, const char *, const char *, long)');
  const withBytes = program.func('long syscall(long, long, long, void *, size_t)');
  const names = new Map(Object.entries(koffi.os.errno).map(([name, errno]) => [errno, name]));
  const checked = (what: string, result: number): number => {
    if (result !== -1) return result;
    const errno = koffi.errno();
    throw new KeyError(names.get(errno) ?? `errno ${errno}`, what);
  };
  const control = (what: string, operation: number, first = 0, second = 0): number =>
    checked(what, withNumbers(numbers.keyctl, operation, first, second, 0));
  /** Reads the value, and retries with a larger buffer while the value is longer than the buffer. */
  const bytesOf = (what: string, operation: number, key: KeySerial): Buffer => {
    for (let bytes = Buffer.alloc(256); ; ) {
      const length = checked(what, withBytes(numbers.keyctl, operation, key, bytes, bytes.length));
      if (length <= bytes.length) return bytes.subarray(0, length);
      bytes = Buffer.alloc(length);
    }
  };
  return {
    ringOf: (special) => control('KEYCTL_GET_KEYRING_ID', OPERATION.getRing, special),
    persistentRing: () => control('KEYCTL_GET_PERSISTENT', OPERATION.getPersistent, -1, RING.process),
    describe: (key) =>
      bytesOf('KEYCTL_DESCRIBE', OPERATION.describe, key).toString('utf8').replace(/\0$/, ''),
    search: (ring, type, description) =>
      checked('KEYCTL_SEARCH', withText(numbers.keyctl, OPERATION.search, ring, type, description, 0)),
    add: (type, description, payload, ring) => {
      // A ring has no payload; the kernel refuses any pointer, even to an empty one.
      const bytes = type === 'keyring' ? null : payload;
      return checked('add_key', addKey(numbers.addKey, type, description, bytes, payload.length, ring));
    },
    read: (key) => bytesOf('KEYCTL_READ', OPERATION.read, key),
    link: (key, ring) => void control('KEYCTL_LINK', OPERATION.link, key, ring),
    unlink: (key, ring) => void control('KEYCTL_UNLINK', OPERATION.unlink, key, ring),
    invalidate: (key) => void control('KEYCTL_INVALIDATE', OPERATION.invalidate, key),
  };
}
