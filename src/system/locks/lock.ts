import { InvalidArgumentError, LockTimeoutError, LockUnsupportedError } from '../../errors.ts';
import { quote } from '../../quote.ts';
import { shellPath } from '../files/storage-error.ts';
import type { KernelLockResult } from './flock.ts';
import { KeyedMutex, sleep, type WaitOptions } from './keyed-mutex.ts';

/*
 * A lock with one holder at a time, among all processes: the kernel's own lock, or a lease file if the kernel's does
 * not work. The queue in front orders the callers of one process, so that only one at a time tries the file.
 * Each kind loads at its first use.
 */

export interface LockOptions extends WaitOptions {
  /** The kind of lock to use. Default: the kernel's, or a lease file if the kernel's is not supported. */
  readonly kind?: LockKind | undefined;
}

export type LockKind = KernelLock | 'lease-file';

/** Locks that the kernel frees: flock on Linux, macOS and the BSDs, LockFileEx on Windows. */
type KernelLock = 'flock' | 'lockfileex';

export interface Lock {
  /** The kind of lock in use. */
  readonly kind: LockKind;
  /** Safe to call twice. */
  release(): Promise<void>;
}

/**
 * The pause between two attempts while another process holds the lock, in milliseconds. It doubles from the first to
 * the last, with jitter.
 */
const FIRST_PAUSE_MS = 1;
const LAST_PAUSE_MS = 25;

const KERNEL_LOCKS: Readonly<Record<KernelLock, (path: string) => Promise<KernelLockResult>>> = {
  flock: async (path) => (await import('./flock.ts')).tryFlock(path),
  lockfileex: async (path) => (await import('./windows-lock.ts')).tryLockFileEx(path),
};

const OWN_KERNEL_LOCK: KernelLock = process.platform === 'win32' ? 'lockfileex' : 'flock';

const queue = new KeyedMutex();

/**
 * Reads the kind of lock from `HOLDFAST_LOCK`; `undefined` leaves the choice to the platform.
 *
 * @throws InvalidArgumentError for any other value
 */
export function lockKindOf(variables: Readonly<Record<string, string | undefined>>): LockKind | undefined {
  const kind = variables['HOLDFAST_LOCK'];
  if (!kind) return undefined;
  if (kind === 'flock' || kind === 'lockfileex' || kind === 'lease-file') return kind;
  throw new InvalidArgumentError(`HOLDFAST_LOCK is ${quote(kind, 40)}, which is no lock.`, {
    hint: 'Choose flock (on Windows lockfileex) or lease-file, or unset it. Every process that shares the directory must use the same.',
  });
}

/**
 * Takes the lock of the file.
 *
 * @throws LockTimeoutError when a living process held it for `waitMs`
 * @throws AbortedError when `signal` ended the wait
 * @throws LockUnsupportedError when the requested kind does not work, or without a request neither kind
 */
export async function acquireLock(path: string, options: LockOptions): Promise<Lock> {
  const deadline = performance.now() + options.waitMs;
  const leave = await queue.acquire(path, options, () => timedOut(path, options.waitMs, undefined));
  try {
    const held = await lock(path, deadline, options);
    let released: Promise<void> | undefined;
    return {
      kind: held.kind,
      release: () => {
        released ??= held.release().finally(leave);
        return released;
      },
    };
  } catch (error) {
    leave();
    throw error;
  }
}

async function lock(path: string, deadline: number, options: LockOptions): Promise<Lock> {
  let step = FIRST_PAUSE_MS;
  for (;;) {
    const tried = await tryOnce(path, options.kind);
    if ('release' in tried) return tried;
    const left = deadline - performance.now();
    if (left <= 0) throw timedOut(path, options.waitMs, tried.owner);
    const wait = Math.min(left, step * (0.5 + Math.random()));
    step = Math.min(step * 2, LAST_PAUSE_MS);
    await sleep(wait, options.signal);
  }
}

/** Returns the lock, or its owner if that is known. */
async function tryOnce(
  path: string,
  kind: LockKind | undefined,
): Promise<Lock | { readonly owner: string | undefined }> {
  let why = 'it was not wanted';
  if (kind !== 'lease-file') {
    const name = kind ?? OWN_KERNEL_LOCK;
    const kernel = await KERNEL_LOCKS[name](path);
    if (kernel.outcome === 'locked') return { kind: name, release: kernel.release };
    if (kernel.outcome === 'held') return { owner: undefined };
    if (kind !== undefined) throw unsupported(path, `${name} does not work: ${kernel.reason}`, kernel.cause);
    why = kernel.reason;
  }
  const { tryLeaseFile } = await import('./lease-file.ts');
  const lease = await tryLeaseFile(path);
  if (lease.outcome === 'locked') return { kind: 'lease-file', release: lease.release };
  if (lease.outcome === 'held') return { owner: lease.owner };
  throw unsupported(
    path,
    `neither ${OWN_KERNEL_LOCK} works (${why}) nor can a lease file be made there`,
    lease.cause,
  );
}

function unsupported(path: string, why: string, cause: unknown): LockUnsupportedError {
  return new LockUnsupportedError(`${shellPath(path)} cannot be locked: ${why}.`, {
    cause,
    hint: 'Set HOLDFAST_HOME to a directory on a local file system.',
  });
}

function timedOut(path: string, waitMs: number, owner: string | undefined): LockTimeoutError {
  return new LockTimeoutError(
    `${owner ?? 'Another process'} held ${shellPath(path)} for more than ${Math.round(waitMs)} ms.`,
    {
      hint:
        owner === undefined
          ? `See which one: ${process.platform === 'win32' ? 'resmon.exe, CPU, Associated Handles' : `fuser -v ${shellPath(path)}`}. Its lock is freed the moment it ends.`
          : `If it is gone for good: rm ${shellPath(`${path}.owner`)}`,
    },
  );
}
