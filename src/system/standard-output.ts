import { fstatSync, writeSync } from 'node:fs';

const STDOUT = 1;

/**
 * Writes text to standard output without Node's stream, which takes 2 ms to make, if standard output is a file, a pipe
 * or a socket: there, the stream would write synchronously too. Never throws.
 *
 * @returns what the stream still has to write: the rest if a pipe is full or an error occurred, else nothing
 */
export function writeAtOnce(text: string): Uint8Array {
  const bytes = Buffer.from(text, 'utf8');
  let written = 0;
  try {
    if (process.platform === 'win32') return bytes;
    const stats = fstatSync(STDOUT);
    if (!stats.isFile() && !stats.isFIFO() && !stats.isSocket()) return bytes;
    while (written < bytes.length) written += writeSync(STDOUT, bytes, written);
  } catch {
    // The stream meets the same error, and reports it.
  }
  return bytes.subarray(written);
}
