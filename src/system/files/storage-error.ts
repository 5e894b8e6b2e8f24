import { lstatSync } from 'node:fs';
import { dirname } from 'node:path';
import {
  HoldfastError,
  StorageFullError,
  StorageUnreadableError,
  StorageUnsafeError,
  StorageUnwritableError,
} from '../../errors.ts';

/** Returns the `code` of a Node system error, such as `ENOENT`. */
export function systemErrorCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

/** Quotes a path for a shell; for PowerShell on Windows. */
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
  ELOOP: 'its symbolic links lead in a circle, or are too many',
  EISDIR: 'it is a directory',
  EBUSY: 'another program or a mount holds it',
  ENOENT: 'it, or a directory above it, is not there',
  ENOTCONN: 'the file system behind it is not connected',
  ENODEV: 'the device behind it is gone',
  EINVAL: 'the file system does not support the operation',
  ENOTSUP: 'the file system does not support the operation',
  EOPNOTSUPP: 'the file system does not support the operation',
  ENOTEMPTY: 'it is a directory that is not empty',
  EEXIST: 'it is there already',
  ETXTBSY: 'a program runs from it',
  EAGAIN: 'it is not available at the moment',
  ETIMEDOUT: 'the file system did not answer in time',
  EHOSTDOWN: 'the server of the file system is down',
};

/** Error codes that mean a wrong path, not missing permission. */
const WRONG_PATH = new Set(['ENOTDIR', 'ENAMETOOLONG', 'ENOENT', 'EISDIR', 'ELOOP']);

/**
 * Converts a failed file operation into an error that says what to do. Returns Holdfast's own errors unchanged.
 *
 * @param options.says the source of the path, such as a variable
 * @param options.isOurs whether the path is one of Holdfast's own directories, which HOLDFAST_HOME can move elsewhere
 */
export function storageError(
  error: unknown,
  action: 'read' | 'write',
  path: string,
  options: { says?: string | undefined; isOurs?: boolean } = {},
): HoldfastError {
  if (error instanceof HoldfastError) return error;
  const code = systemErrorCode(error) ?? 'unknown error';
  const named =
    options.says === undefined ? shellPath(path) : `${options.says} names ${shellPath(path)}, which`;
  // Holdfast opens its own files without following links, but follows the links in paths that the user names.
  const isLink = code === 'ELOOP' && options.says === undefined;
  const message = `${named} cannot be ${action === 'read' ? 'read' : 'written'}: ${REASONS[code] ?? code}.`;
  switch (isLink ? 'a link' : code) {
    case 'ENOSPC':
    case 'EDQUOT':
    case 'EFBIG':
      return new StorageFullError(`${message} What was stored before is unharmed.`, {
        cause: error,
        hint: 'Free some space, or set HOLDFAST_HOME to a directory on another file system; then try again.',
      });
    case 'a link':
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
      const hint = hintFor(code, action, path, options);
      return action === 'read'
        ? new StorageUnreadableError(message, { cause: error, hint })
        : new StorageUnwritableError(message, { cause: error, hint });
    }
  }
}

function hintFor(
  code: string,
  action: 'read' | 'write',
  path: string,
  { says, isOurs }: { says?: string | undefined; isOurs?: boolean },
): string {
  if (code === 'EMFILE' || code === 'ENFILE')
    return 'Raise the limit (ulimit -n) or close files, then try again.';
  const denied = code === 'EACCES' || code === 'EPERM';
  const owner = denied && isOurs === true ? foreignOwner(path) : undefined;
  if (owner !== undefined) return owner;
  if (isOurs === true && (denied || WRONG_PATH.has(code))) {
    return 'Set HOLDFAST_HOME to a directory of your own that can be written: export HOLDFAST_HOME=/path/to/holdfast';
  }
  if (says !== undefined && WRONG_PATH.has(code)) return `Check what ${says} is set to.`;
  return `Check who may ${action} there: ${process.platform === 'win32' ? 'icacls' : 'ls -ld'} ${shellPath(path)}`;
}

/** If another user owns a directory on the path inside one of ours, as after `sudo`, says how to get it back. */
function foreignOwner(path: string): string | undefined {
  const uid = process.geteuid?.();
  if (uid === undefined) return undefined;
  for (let one = path; dirname(one) !== one; one = dirname(one)) {
    let owner: number | undefined;
    try {
      owner = lstatSync(one).uid;
      if (owner === uid || lstatSync(dirname(one)).uid !== uid) return undefined;
    } catch {
      // This path cannot be inspected; its parent tells more.
      continue;
    }
    return `${shellPath(one)} belongs to user ${owner}, perhaps since a command with sudo. Take it back: sudo chown -R ${uid} ${shellPath(one)}`;
  }
  return undefined;
}
