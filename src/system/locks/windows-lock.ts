import { toNamespacedPath } from 'node:path';
import { storageError } from '../files/storage-error.ts';
import { WindowsError } from '../os/windows-error.ts';
import type { KernelLockResult } from './flock.ts';

/*
 * LockFileEx: the open handle holds the lock. The kernel frees it when its holder ends, in any way, and never takes it
 * from a living holder. It also excludes callers of the same process, since each opens the file separately.
 *
 * The handle shares reading and writing but not deletion. So nobody can remove or replace the file while it is open,
 * and the path always names the locked file.
 */

const GENERIC_READ_WRITE = 0xc0000000;
const SHARE_READ_WRITE = 3;
const OPEN_ALWAYS = 4;
/** Do not follow a link: its creator could choose which file is locked. */
const OPEN_REPARSE_POINT = 0x00200000;
const INVALID_HANDLE = -1;
const EXCLUSIVE_AND_AT_ONCE = 3;

const ERROR_SHARING_VIOLATION = 32;
const ERROR_LOCK_VIOLATION = 33;
const ERROR_IO_PENDING = 997;

/** Windows error numbers with their errno names; other numbers stay numbers. */
const CODES: Readonly<Record<number, string>> = {
  2: 'ENOENT',
  3: 'ENOENT',
  5: 'EACCES',
  19: 'EROFS',
  112: 'ENOSPC',
  206: 'ENAMETOOLONG',
  1295: 'EDQUOT',
};

/** Tries once to lock the file, and creates it if it does not exist. */
export async function tryLockFileEx(path: string): Promise<KernelLockResult> {
  let calls: Calls;
  try {
    calls = await load();
  } catch (cause) {
    return {
      outcome: 'unsupported',
      reason: 'koffi, which calls it, cannot be loaded on this platform',
      cause,
    };
  }
  const handle = calls.open(path);
  // Another program, such as a virus scanner, has the file open exclusively, usually for a moment only.
  if (handle === 'held') return { outcome: 'held' };
  const failure = calls.lock(handle);
  if (failure === undefined) return { outcome: 'locked', release: async () => calls.close(handle) };
  calls.close(handle);
  if (failure === 'held') return { outcome: 'held' };
  return {
    outcome: 'unsupported',
    reason: `the file system does not know it (Windows error ${failure})`,
    cause: undefined,
  };
}

type Handle = number | bigint;

interface Calls {
  open(path: string): Handle | 'held';
  /**
   * Returns `undefined` when locked, `held` when another handle holds the lock, else the error number of a real
   * failure.
   */
  lock(handle: Handle): undefined | 'held' | number;
  close(handle: Handle): void;
}

let loaded: Promise<Calls> | undefined;

function load(): Promise<Calls> {
  loaded ??= bind();
  return loaded;
}

async function bind(): Promise<Calls> {
  const { default: koffi } = await import('koffi');
  const kernel32 = koffi.load('kernel32.dll');
  const overlapped = koffi.struct({
    internal: 'uintptr_t',
    internalHigh: 'uintptr_t',
    offset: 'uint32_t',
    offsetHigh: 'uint32_t',
    event: 'intptr_t',
  });
  const lastError = kernel32.func('__stdcall', 'GetLastError', 'uint32_t', []);
  const createFile = kernel32.func('__stdcall', 'CreateFileW', 'intptr_t', [
    'str16',
    'uint32_t',
    'uint32_t',
    'void *',
    'uint32_t',
    'uint32_t',
    'intptr_t',
  ]);
  const lockFile = kernel32.func('__stdcall', 'LockFileEx', 'int', [
    'intptr_t',
    'uint32_t',
    'uint32_t',
    'uint32_t',
    'uint32_t',
    koffi.inout(koffi.pointer(overlapped)),
  ]);
  const closeHandle = kernel32.func('__stdcall', 'CloseHandle', 'int', ['intptr_t']);
  return {
    open(path) {
      const handle = createFile(
        toNamespacedPath(path),
        GENERIC_READ_WRITE,
        SHARE_READ_WRITE,
        null,
        OPEN_ALWAYS,
        OPEN_REPARSE_POINT,
        0,
      );
      if (Number(handle) !== INVALID_HANDLE) return handle;
      const number = lastError();
      if (number === ERROR_SHARING_VIOLATION) return 'held';
      const error = new WindowsError('CreateFileW', number);
      throw storageError(
        Object.assign(error, { code: CODES[number] ?? `Windows error ${number}` }),
        'write',
        path,
      );
    },
    lock(handle) {
      const at = { internal: 0, internalHigh: 0, offset: 0, offsetHigh: 0, event: 0 };
      if (lockFile(handle, EXCLUSIVE_AND_AT_ONCE, 0, 1, 0, at) !== 0) return undefined;
      const number = lastError();
      return number === ERROR_LOCK_VIOLATION || number === ERROR_IO_PENDING ? 'held' : number;
    },
    close(handle) {
      closeHandle(handle);
    },
  };
}
