import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { storageError, systemErrorCode } from './storage-error.ts';

/** The properties of a file system that matter for the files on it. */
export interface FileSystem {
  readonly name: string;
  /**
   * `disk`: as durable as the disk. `memory`: lost at the next boot. `network`: a remote server may provide it, and
   * locks may not work.
   */
  readonly kind: 'disk' | 'memory' | 'network' | 'layered' | 'unknown';
  readonly freeBytes: number;
}

/** The `f_type` values of statfs(2), from <linux/magic.h>. */
const LINUX: Readonly<Record<number, readonly [name: string, kind: FileSystem['kind']]>> = {
  0xef53: ['ext4', 'disk'],
  0x58465342: ['xfs', 'disk'],
  0x9123683e: ['btrfs', 'disk'],
  0x2fc12fc1: ['zfs', 'disk'],
  0xf2f52010: ['f2fs', 'disk'],
  0xca451a4e: ['bcachefs', 'disk'],
  0x4d44: ['vfat', 'disk'],
  0x01021994: ['tmpfs', 'memory'],
  0x858458f6: ['ramfs', 'memory'],
  0x794c7630: ['overlay', 'layered'],
  0x6969: ['nfs', 'network'],
  0xff534d42: ['cifs', 'network'],
  0xfe534d42: ['smb2', 'network'],
  0x01021997: ['9p', 'network'],
  0x65735546: ['fuse', 'network'],
  0x00c36400: ['ceph', 'network'],
  0x6a656a63: ['virtiofs', 'network'],
};

/**
 * Identifies the file system of a path, or of its nearest existing ancestor.
 *
 * @throws StorageUnreadableError
 */
export async function fileSystemOf(path: string, platform: NodeJS.Platform): Promise<FileSystem> {
  for (let at = path; ; at = dirname(at)) {
    try {
      const { type, bavail, bsize } = await statfs(at);
      const [name, kind] = (platform === 'linux' ? LINUX[type] : undefined) ?? [
        `type 0x${type.toString(16)}`,
        'unknown' as const,
      ];
      return { name, kind, freeBytes: bavail * bsize };
    } catch (error) {
      if (systemErrorCode(error) !== 'ENOENT' || dirname(at) === at) throw storageError(error, 'read', at);
    }
  }
}
