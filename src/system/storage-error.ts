import {
  HoldfastError,
  StorageFullError,
  StorageUnreadableError,
  StorageUnsafeError,
  StorageUnwritableError,
} from '../errors.ts';

/** The `code` of a Node system error, such as `ENOENT`. */
export function systemErrorCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

/** A path as one would type it in a shell; in PowerShell on Windows. */
export function shellPath(path: string): string {
  if (process.platform === 'win32') {
    return /^[\w:.\\-]+$/.test(path) ? path : `'${path.replaceAll("'", "''")}'`;
  }
  return /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}

const REASONS: Record<string, string> = {
  EACCES: 'permission is denied',
  EPERM: 'the operation is not permitted',
  EROFS: 'the file system is read-only',
  ENOSPC: 'no space is left on the device',
  EDQUOT: 'the disk quota is used up',
  EFBIG: 'the file size limit is reached',
  ENOTDIR: 'a part of the path is not a directory',
  ENAMETOOLONG: 'the path is too long',
  EMFILE: 'this process has too many open files',
  ENFILE: 'the system has too many open files',
  EIO: 'the device reports an I/O error',
  EXDEV: 'the directory spans two file systems',
  ESTALE: 'the network file system lost the file',
};

/** Turns a failed file operation into the error that says what to do. Errors of ours pass through. */
export function storageError(error: unknown, action: 'read' | 'write', path: string): HoldfastError {
  if (error instanceof HoldfastError) return error;
  const code = systemErrorCode(error) ?? 'unknown error';
  const message = `${shellPath(path)} cannot be ${action === 'read' ? 'read' : 'written'}: ${REASONS[code] ?? code}.`;
  switch (code) {
    case 'ENOSPC':
    case 'EDQUOT':
    case 'EFBIG':
      return new StorageFullError(`${message} What was stored before is unharmed.`, {
        cause: error,
        hint: 'Free some space, or set HOLDFAST_HOME to a directory on another file system; then try again.',
      });
    case 'ELOOP':
      return new StorageUnsafeError(
        `${shellPath(path)} is a symbolic link, so someone else may choose its target.`,
        {
          cause: error,
          hint: `Look where it leads, then remove the link: rm ${shellPath(path)}`,
        },
      );
    case 'EROFS':
      return new StorageUnwritableError(message, {
        cause: error,
        hint: 'Set HOLDFAST_HOME to a directory that can be written.',
      });
    default: {
      const hint =
        code === 'EMFILE' || code === 'ENFILE'
          ? 'Raise the limit (ulimit -n) or close files, then try again.'
          : `Check who may ${action} there: ${process.platform === 'win32' ? 'icacls' : 'ls -ld'} ${shellPath(path)}`;
      return action === 'read'
        ? new StorageUnreadableError(message, { cause: error, hint })
        : new StorageUnwritableError(message, { cause: error, hint });
    }
  }
}
