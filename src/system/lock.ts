import { constants } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { LockTimeoutError, LockUnsupportedError } from '../errors.ts';
import { shellPath, storageError, systemErrorCode } from './storage-error.ts';
import { pause, TurnQueue, type WaitOptions } from './turn.ts';

/*
 * flock(2): held by the open file, freed by the kernel the moment its holder dies, by kill -9 too, and never taken
 * from a living one. Between callers of one process it excludes as well, since each opens the file anew; the queue
 * in front of it only keeps them in order and off the file.
 */

export type LockOptions = WaitOptions;

export interface Lock {
  /** Safe to call twice. */
  release(): Promise<void>;
}

/** From <sys/file.h>; the same on Linux, macOS and the BSDs. */
const LOCK_EX = 2;
const LOCK_NB = 4;

/** Between two tries while another process holds the lock: from the first to the last, growing, with jitter. */
const FIRST_PAUSE_MS = 1;
const LAST_PAUSE_MS = 25;

const queue = new TurnQueue();

/**
 * Takes the lock of that file, which is made when it is not there and never deleted.
 *
 * @throws LockTimeoutError when a living process held it for `waitMs`
 * @throws AbortedError when `signal` ended the wait
 * @throws LockUnsupportedError where there is no such lock
 */
export async function acquireLock(path: string, options: LockOptions): Promise<Lock> {
  const deadline = performance.now() + options.waitMs;
  const leave = await queue.turn(path, options, () => timedOut(path, options.waitMs));
  try {
    const file = await lockFile(path, deadline, options);
    let released: Promise<void> | undefined;
    return {
      release: () => {
        // Closing the only descriptor of the open file frees the lock.
        released ??= file.close().finally(leave);
        return released;
      },
    };
  } catch (error) {
    leave();
    throw error;
  }
}

async function lockFile(path: string, deadline: number, options: LockOptions): Promise<FileHandle> {
  const flock = await loadFlock();
  let step = FIRST_PAUSE_MS;
  for (;;) {
    const file = await openLockFile(path);
    let keep = false;
    try {
      const failure = flock(file.fd);
      if (failure === undefined) {
        keep = await stillNamed(file, path);
        if (keep) return file;
        continue; // Someone removed the file between open and flock: that lock excludes nobody.
      }
      if (failure !== 'held') {
        throw new LockUnsupportedError(
          `${shellPath(path)} cannot be locked: flock failed (errno ${failure}).`,
          {
            hint: 'Set HOLDFAST_HOME to a directory on a local file system.',
          },
        );
      }
    } finally {
      if (!keep) await file.close();
    }
    const left = deadline - performance.now();
    if (left <= 0) throw timedOut(path, options.waitMs);
    const wait = Math.min(left, step * (0.5 + Math.random()));
    step = Math.min(step * 2, LAST_PAUSE_MS);
    await pause(wait, options.signal);
  }
}

async function openLockFile(path: string): Promise<FileHandle> {
  try {
    return await open(path, constants.O_RDWR | constants.O_CREAT | (constants.O_NOFOLLOW ?? 0), 0o600);
  } catch (error) {
    throw storageError(error, 'write', path);
  }
}

async function stillNamed(file: FileHandle, path: string): Promise<boolean> {
  try {
    const [opened, named] = await Promise.all([file.stat(), stat(path)]);
    return opened.ino === named.ino && opened.dev === named.dev;
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return false;
    throw storageError(error, 'read', path);
  }
}

/** Tries once, without waiting. `undefined`: locked; `held`: by another; a number: the errno of a real failure. */
type Flock = (fd: number) => undefined | 'held' | number;

let flock: Promise<Flock> | undefined;

function loadFlock(): Promise<Flock> {
  flock ??= bindFlock();
  return flock;
}

async function bindFlock(): Promise<Flock> {
  if (process.platform === 'win32') {
    throw new LockUnsupportedError('On Windows, locking is not built yet.', {
      hint: 'Use Holdfast inside WSL for now.',
    });
  }
  try {
    const { default: koffi } = await import('koffi');
    // Null names the running program itself: Node is linked with the C library, whichever that is.
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
  } catch (cause) {
    throw new LockUnsupportedError(
      'The lock of this platform cannot be loaded (koffi has no binary for it).',
      {
        cause,
        hint: 'Reinstall Holdfast with its optional dependencies: npm install holdfast --include=optional',
      },
    );
  }
}

function timedOut(path: string, waitMs: number): LockTimeoutError {
  return new LockTimeoutError(`Another process held ${shellPath(path)} for more than ${waitMs} ms.`, {
    hint: `See which one: fuser -v ${shellPath(path)}. Its lock is freed the moment it ends.`,
  });
}
