import { constants, promises, type Stats } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { StorageUnreadableError } from '../../errors.ts';
import { sleep } from '../locks/keyed-mutex.ts';
import { shellPath, storageError, systemErrorCode } from './storage-error.ts';

/** Time limit for a pipe, in milliseconds. */
const PIPE_DEADLINE_MS = 10_000;
const PIPE_POLL_MS = 20;

/**
 * Reads a file that someone else provides, such as a mounted secret. The provider chooses its owner, its modes, and
 * whether it is a link. Always returns or throws in time.
 *
 * @param options.pipes whether to accept a pipe, such as `/dev/stdin` or `<(command)`, which gives its content only
 *   once
 * @param options.check inspects the opened file, and throws if it must not be read
 * @param options.says the source of the file name, such as a variable, for the errors
 * @returns `undefined` when the file does not exist
 * @throws StorageUnreadableError when the file is too large or not a plain file, or when a pipe does not end within ten
 *   seconds
 */
export async function readGivenFile(
  path: string,
  options: {
    maxBytes: number;
    pipes?: boolean;
    says?: string | undefined;
    check?: (stats: Stats) => void | Promise<void>;
  },
): Promise<Buffer | undefined> {
  const { maxBytes, pipes = true, says, check } = options;
  const named = says === undefined ? shellPath(path) : `${says} names ${shellPath(path)}, which`;
  let file: FileHandle;
  try {
    // O_NONBLOCK: without it, the open of a FIFO that has no writer would wait forever.
    file = await promises.open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined;
    if (systemErrorCode(error) === 'ENXIO') throw notPlain(named, 'a socket', pipes);
    throw storageError(error, 'read', path, { says });
  }
  try {
    const stats = await file.stat();
    const kind = kindOf(stats);
    if (kind !== undefined && !(pipes && stats.isFIFO())) throw notPlain(named, kind, pipes);
    await check?.(stats);
    const deadline = performance.now() + PIPE_DEADLINE_MS;
    // The extra byte tells a file that is too large from one that just fits.
    const bytes = Buffer.alloc(maxBytes + 1);
    let filled = 0;
    while (filled < bytes.length) {
      const bytesRead = await readSome(file, bytes, filled);
      if (bytesRead === 0) break;
      if (bytesRead !== undefined) filled += bytesRead;
      else if (performance.now() < deadline) await sleep(PIPE_POLL_MS);
      else {
        throw new StorageUnreadableError(`${named} is a pipe that did not end within 10 s.`, {
          hint: 'See whether the program that writes to it runs.',
        });
      }
    }
    if (filled > maxBytes) {
      throw new StorageUnreadableError(`${shellPath(path)} is larger than ${maxBytes} bytes.`, {
        hint: 'Check that this is the file that was meant.',
      });
    }
    return bytes.subarray(0, filled);
  } catch (error) {
    throw storageError(error, 'read', path, { says });
  } finally {
    await file.close();
  }
}

/** Reads some bytes; `undefined` while a pipe has none yet. */
async function readSome(file: FileHandle, bytes: Buffer, from: number): Promise<number | undefined> {
  try {
    return (await file.read(bytes, from, bytes.length - from)).bytesRead;
  } catch (error) {
    if (systemErrorCode(error) === 'EAGAIN') return undefined;
    throw error;
  }
}

/** Names the file's type; `undefined` for a plain file. */
function kindOf(stats: Stats): string | undefined {
  if (stats.isFile()) return undefined;
  if (stats.isDirectory()) return 'a directory';
  return stats.isFIFO() ? 'a pipe' : 'a device';
}

function notPlain(named: string, kind: string, pipes: boolean): StorageUnreadableError {
  const once = kind === 'a pipe' ? ' It is read more than once, and a pipe gives its content only once.' : '';
  return new StorageUnreadableError(`${named} is ${kind}.${once}`, {
    hint: `Name a plain file${pipes ? ' or a pipe' : ''}.`,
  });
}
