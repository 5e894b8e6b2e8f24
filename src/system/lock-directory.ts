import { mkdir, readdir, rmdir, stat } from 'node:fs/promises';
import { LockTimeoutError } from '../errors.ts';
import { shellPath, storageError, systemErrorCode } from './storage-error.ts';
import { pause } from './turn.ts';

/*
 * The lock that many programs of npm use for their files: a directory beside the file, whose holder touches it every few
 * seconds, so that one which has not been touched for longer was left by a process that died (the package proper-lockfile).
 */

/**
 * Runs the step while the directory is ours. Meant for steps of milliseconds: it is not touched meanwhile.
 *
 * @param options.staleMs how long after its last touch it counts as left behind
 * @throws LockTimeoutError when a living holder keeps it for `waitMs`
 * @throws StorageUnwritableError
 */
export async function underLockDirectory<T>(
  path: string,
  options: { readonly staleMs: number; readonly waitMs: number },
  step: () => Promise<T>,
): Promise<T> {
  const deadline = performance.now() + options.waitMs;
  for (;;) {
    try {
      await mkdir(path, { mode: 0o700 });
      break;
    } catch (error) {
      if (systemErrorCode(error) !== 'EEXIST') throw storageError(error, 'write', path);
    }
    const touched = (await stat(path).catch(() => undefined))?.mtimeMs;
    if (touched !== undefined && Date.now() - touched > options.staleMs) {
      await rmdir(path).catch(() => {
        // Another process was faster.
      });
    } else if (performance.now() > deadline) {
      throw new LockTimeoutError(
        `Another program has held ${shellPath(path)} for ${Math.round(options.waitMs)} ms.`,
        {
          hint: 'End the program whose file that is, then try again.',
        },
      );
    } else {
      await pause(50 * (0.5 + Math.random()));
    }
  }
  try {
    return await step();
  } finally {
    await rmdir(path).catch(() => {
      // Whoever took it for left behind has it now.
    });
  }
}

/** The names in a directory of another program, sorted; none when it is not there. */
export async function namesIn(path: string): Promise<string[]> {
  try {
    return (await readdir(path)).toSorted();
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return [];
    throw storageError(error, 'read', path);
  }
}
