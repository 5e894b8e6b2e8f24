import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { AbortedError } from '../errors.ts';
import { isWholeBlob, MAX_BLOB_CHARACTERS } from '../handover/blob.ts';
import { printable } from '../quote.ts';
import { readGivenFile } from '../system/files/given-file.ts';
import { canAsk } from './output/terminal.ts';

/* Reads hand-over blobs. A blob is too long for a command-line argument. */

/** Interval between reads, in milliseconds, since a mounted file does not report changes. */
const LOOK_EVERY_MS = 500;

export interface BlobSource {
  /** The file to read; standard input if absent. */
  readonly file?: string | undefined;
  readonly signal: AbortSignal;
  /** Ends the wait without an error. */
  readonly over?: AbortSignal | undefined;
  /** For pasted blobs: receives the function that asks about one. No other reader may take the input meanwhile. */
  readonly onReader?: ((ask: Ask) => void) | undefined;
}

/** Asks, and resolves with the typed line. Rejects with an AbortedError if the input or the wait ends first. */
export type Ask = (question: string) => Promise<string>;

/**
 * Yields each text that may be a blob, as it arrives.
 *
 * @throws AbortedError for `signal`
 * @throws StorageUnreadableError
 */
export async function* blobsFrom(source: BlobSource): AsyncGenerator<string> {
  const { file, signal, over } = source;
  const end = over === undefined ? signal : AbortSignal.any([signal, over]);
  yield* file === undefined ? pasted(end, source.onReader) : written(file, end);
  if (signal.aborted) throw new AbortedError('The wait for a blob was ended.', { cause: signal.reason });
}

/** @returns `undefined` if the file does not exist */
export async function readBlobFile(path: string, says: string): Promise<string | undefined> {
  return (await readGivenFile(path, { maxBytes: MAX_BLOB_CHARACTERS, says }))?.toString('utf8');
}

/**
 * Reads lines up to a blob's last line. Text that is not a whole blob ends at an empty line, or at the end of the
 * input.
 */
async function* pasted(end: AbortSignal, onReader?: (ask: Ask) => void): AsyncGenerator<string> {
  // `terminal` allows lines of any length: a terminal's own line mode cuts them at 4,096 characters.
  const lines = createInterface({ input: process.stdin, output: process.stderr, terminal: canAsk() });
  // Ctrl-C reaches the terminal as a character while lines are read from it.
  lines.on('SIGINT', () => process.kill(process.pid, 'SIGINT'));
  // After Ctrl-Z and `fg` Node leaves the input paused, so that keys no longer work.
  lines.on('SIGCONT', () => lines.resume());
  const close = () => lines.close();
  end.addEventListener('abort', close);
  onReader?.((question) => {
    return new Promise((resolve, reject) => {
      lines.once('close', () => reject(new AbortedError('The input ended before there was an answer.')));
      lines.question(printable(question), resolve);
    });
  });
  try {
    if (end.aborted) return;
    let text = '';
    for await (const line of lines) {
      text += `${line}\n`;
      const isCut = line.trim() === '' && text.trim() !== '';
      if (!isWholeBlob(text) && !isCut && text.length <= MAX_BLOB_CHARACTERS) continue;
      yield text;
      text = '';
    }
    if (text.trim() !== '' && !end.aborted) yield text;
  } finally {
    end.removeEventListener('abort', close);
    lines.close();
    // An open pipe would keep the process from ending.
    process.stdin.pause();
  }
}

/** Yields each whole blob in the file that differs from the last one. */
async function* written(path: string, end: AbortSignal): AsyncGenerator<string> {
  let last: string | undefined;
  while (!end.aborted) {
    const text = await readBlobFile(path, '--file');
    // The writer has not finished the blob yet.
    if (text !== undefined && text !== last && isWholeBlob(text)) {
      last = text;
      yield text;
    }
    await sleep(LOOK_EVERY_MS, undefined, { signal: end }).catch(() => {
      // The loop checks the signal.
    });
  }
}
