import { closeSync, constants, fstatSync, openSync, statSync } from 'node:fs';
import { storageError, systemErrorCode } from '../files/storage-error.ts';

/*
 * flock(2): the open file holds the lock. The kernel frees it when its holder dies, even by kill -9, and never takes it
 * from a living holder. It also excludes callers of the same process, since each opens the file separately.
 */

/**
 * `held`: someone else holds the lock. `unsupported`: the platform or the file system may not support it; `reason` says
 * why.
 */
export type KernelLockResult =
  | { readonly outcome: 'locked'; readonly release: () => Promise<void> }
  | { readonly outcome: 'held' }
  | { readonly outcome: 'unsupported'; readonly reason: string; readonly cause: unknown };

/** From <sys/file.h>; the same on Linux, macOS and the BSDs. */
const LOCK_EX = 2;
const LOCK_NB = 4;

/** Tries once to lock the file, and creates it if it does not exist. */
export async function tryFlock(path: string): Promise<KernelLockResult> {
  let call: Flock;
  try {
    call = await loadFlock();
  } catch (cause) {
    return {
      outcome: 'unsupported',
      reason: 'koffi, which calls it, cannot be loaded on this platform',
      cause,
    };
  }
  for (;;) {
    const fd = openLockFile(path);
    let keep = false;
    try {
      const failure = call(fd);
      if (failure === 'held') return { outcome: 'held' };
      if (failure !== undefined) {
        return {
          outcome: 'unsupported',
          reason: `the file system does not know it (errno ${failure})`,
          cause: undefined,
        };
      }
      // Another process may have removed the file between open and flock. That lock would exclude nobody.
      keep = stillNamed(fd, path);
      if (keep) return { outcome: 'locked', release: closing(fd) };
    } finally {
      if (!keep) closeSync(fd);
    }
  }
}

/*
 * Synchronous, like flock itself: on a local file system each of these calls takes microseconds. A turn through the
 * thread pool costs more than the rest of the lock.
 */

/**
 * Closing the only descriptor of the open file frees the lock. A second close would close someone else's descriptor.
 */
function closing(fd: number): () => Promise<void> {
  let open = true;
  return async () => {
    if (!open) return;
    open = false;
    closeSync(fd);
  };
}

function openLockFile(path: string): number {
  try {
    return openSync(path, constants.O_RDWR | constants.O_CREAT | (constants.O_NOFOLLOW ?? 0), 0o600);
  } catch (error) {
    throw storageError(error, 'write', path);
  }
}

function stillNamed(fd: number, path: string): boolean {
  try {
    const [opened, named] = [fstatSync(fd), statSync(path)];
    return opened.ino === named.ino && opened.dev === named.dev;
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return false;
    throw storageError(error, 'read', path);
  }
}

/** Returns `undefined` when locked, `held` when another holder has the lock, else the errno of a real failure. */
type Flock = (fd: number) => undefined | 'held' | number;

let flock: Promise<Flock> | undefined;

function loadFlock(): Promise<Flock> {
  flock ??= bindFlock();
  return flock;
}

async function bindFlock(): Promise<Flock> {
  const { default: koffi } = await import('koffi');
  // Null means the running program itself, since Node is linked with the C library.
  const call = koffi.load(null).func('int flock(int fd, int operation)');
  const { EAGAIN, EWOULDBLOCK, EINTR } = koffi.os.errno;
  return (fd) => {
    for (;;) {
      if (call(fd, LOCK_EX | LOCK_NB) === 0) return undefined;
      const errno = koffi.errno();
      if (errno === EINTR) continue;
      return errno === EAGAIN || errno === EWOULDBLOCK ? 'held' : errno;
    }
  };
}
