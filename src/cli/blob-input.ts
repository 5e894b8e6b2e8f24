import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { AbortedError } from '../errors.ts';
import { isWholeBlob, MAX_BLOB_CHARACTERS } from '../handover/blob.ts';
import { printable } from '../quote.ts';
import { readGivenFile } from '../system/files/private-directory.ts';
import { canAsk } from './terminal.ts';

/* Where a hand-over blob comes from. It is no argument of a command: it is too long for one. */

/** A mounted file tells nobody that it changed. */
const LOOK_EVERY_MS = 500;

export interface BlobSource {
  /** The file to look at; standard input, where not given. */
  readonly file?: string | undefined;
  readonly signal: AbortSignal;
  /** Ends the wait without an error. */
  readonly over?: AbortSignal | undefined;
  /** Where blobs are pasted: hears how to ask there about one, since nothing else may read what is typed meanwhile. */
  readonly onReader?: ((ask: Ask) => void) | undefined;
}

/** Asks, and answers the line that is typed. Rejects with an AbortedError when the input, or the wait, ends first. */
export type Ask = (question: string) => Promise<string>;

/**
 * The texts that may be a blob, one after the other, as they come.
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

/** `undefined` when the file is not there. */
export async function readBlobFile(path: string, says: string): Promise<string | undefined> {
  return (await readGivenFile(path, { maxBytes: MAX_BLOB_CHARACTERS, says }))?.toString('utf8');
}

/** Lines up to the last one of a blob; up to an empty one after others, for what was cut; or up to the end. */
async function* pasted(end: AbortSignal, onReader?: (ask: Ask) => void): AsyncGenerator<string> {
  // As a terminal, lines may have any length: by itself it cuts them at 4,096 characters.
  const lines = createInterface({ input: process.stdin, output: process.stderr, terminal: canAsk() });
  // Ctrl-C reaches the terminal as a character while lines are read from it.
  lines.on('SIGINT', () => process.kill(process.pid, 'SIGINT'));
  // After Ctrl-Z and `fg` Node leaves the input paused, so that no key works any more.
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

/** Each whole blob that the file holds, when it holds another one. */
async function* written(path: string, end: AbortSignal): AsyncGenerator<string> {
  let last: string | undefined;
  while (!end.aborted) {
    const text = await readBlobFile(path, '--file');
    // A part of one is still being written.
    if (text !== undefined && text !== last && isWholeBlob(text)) {
      last = text;
      yield text;
    }
    await sleep(LOOK_EVERY_MS, undefined, { signal: end }).catch(() => {
      // The loop sees it.
    });
  }
}
