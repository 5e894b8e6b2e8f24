import type { IncomingMessage } from 'node:http';
import { PassThrough, type Readable, type Transform } from 'node:stream';
import { createBrotliDecompress, createUnzip } from 'node:zlib';
import { InvalidResponseError } from '../errors.ts';
import { quote } from '../quote.ts';

/*
 * Bodies. Every sender counts as hostile. Bytes are counted after decompression, and reading stops at the limit, even
 * in the middle of a compressed chunk.
 */

/** Maximum number of bytes read from an unwanted body, so that its connection can be reused. */
const MOST_DISCARDED_BYTES = 64 * 1024;

/** Time limit for reading a body that no caller waits for (discarded, or of an error), in milliseconds. */
const LONGEST_WAIT_MS = 5_000;

const DECODERS = new Map<string, () => Transform>([
  ['gzip', createUnzip],
  ['x-gzip', createUnzip],
  ['deflate', createUnzip],
  ['br', createBrotliDecompress],
]);

/**
 * Returns the body without the compression that some servers apply unasked. The stream fails with an
 * InvalidResponseError when the body cannot be decompressed. An empty body passes whatever its encoding.
 *
 * @param host how messages name the server
 */
export function decoded(incoming: IncomingMessage, host: string): Readable {
  const coding = incoming.headers['content-encoding']?.trim().toLowerCase() ?? '';
  if (coding === '' || coding === 'identity') return incoming;
  const body = new PassThrough();
  const fail = (why: string) =>
    body.destroy(new InvalidResponseError(`${host} ${why}.`, { hint: 'Tell who runs the server.' }));
  incoming
    .on('error', (error) => body.destroy(error))
    .on('close', () => {
      if (!incoming.complete) body.destroy(new Error('The connection was closed.'));
    });
  body.on('close', () => incoming.destroy());
  const decoder = DECODERS.get(coding)?.();
  let begun = false;
  incoming.once('data', () => (begun = true)).once('end', () => (begun ? decoder : body)?.end());
  if (decoder === undefined) {
    incoming.once('data', () => fail(`answered in the unknown encoding ${quote(coding)}`));
  } else {
    decoder.on('error', () => fail('answered what cannot be decompressed'));
    body.on('close', () => decoder.destroy());
    incoming.pipe(decoder, { end: false }).pipe(body);
  }
  return body;
}

/** Passes on each chunk. Resolves at the end of the stream; rejects when it breaks off or `onChunk` throws. */
export function pump(stream: Readable, onChunk: (chunk: Buffer) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    stream
      .on('data', (chunk: Buffer) => {
        try {
          onChunk(chunk);
        } catch (error) {
          reject(error instanceof Error ? error : new Error(String(error)));
          stream.destroy();
        }
      })
      .on('end', resolve)
      .on('error', reject)
      .on('close', () => reject(new Error('The connection was closed.')));
  });
}

/** Reads the whole stream. Beyond the limit, it stops reading and throws the error that `tooLarge` makes. */
export async function whole(stream: Readable, limit: number, tooLarge: () => Error): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  await pump(stream, (chunk) => {
    size += chunk.byteLength;
    if (size > limit) throw tooLarge();
    chunks.push(chunk);
  });
  return chunks.length === 1 ? (chunks[0] ?? Buffer.of()) : Buffer.concat(chunks, size);
}

/** Reads the beginning of a stream: up to the limit, or until the stream ends, fails or takes too long. */
export async function beginning(stream: Readable, limit: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  const late = setTimeout(() => stream.destroy(), LONGEST_WAIT_MS);
  try {
    await pump(stream, (chunk) => {
      chunks.push(chunk);
      size += chunk.byteLength;
      if (size >= limit) stream.destroy();
    });
  } catch {
    // The bytes received so far are enough.
  } finally {
    clearTimeout(late);
  }
  return Buffer.concat(chunks, size).subarray(0, limit);
}

/** Drains the rest so that the connection can be reused. Closes the connection if the rest is long or slow. */
export function discard(incoming: IncomingMessage): void {
  let size = 0;
  const late = setTimeout(() => incoming.destroy(), LONGEST_WAIT_MS);
  late.unref();
  incoming
    .on('error', () => {})
    .on('close', () => clearTimeout(late))
    .on('data', (chunk: Buffer) => {
      size += chunk.byteLength;
      if (size > MOST_DISCARDED_BYTES) incoming.destroy();
    });
}
