import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { StorageUnreadableError } from '../errors.ts';

/*
 * docker-agent's token file: a nonce of 12 bytes, then the AES-256-GCM ciphertext with its tag of 16 bytes; no header and
 * no associated data. Within is one JSON object, from the URL of a server to its entry.
 */

/** From the URL, as docker-agent spells it, to the entry, as JSON. A map: any text may be a URL there. */
export type Bundle = ReadonlyMap<string, unknown>;

const NONCE_BYTES = 12;
const TAG_BYTES = 16;

export function sealBundle(bundle: Bundle, key: Uint8Array): Buffer {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES });
  const text = JSON.stringify(Object.fromEntries(bundle));
  return Buffer.concat([nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]);
}

/**
 * Opens the file's bytes.
 *
 * @returns `undefined` when they do not open with that key: it is another one, or they were altered
 * @throws StorageUnreadableError when they are too few, or what they hold is not a bundle; no content is in the message
 */
export function openBundle(bytes: Buffer, key: Uint8Array): Bundle | undefined {
  if (bytes.length < NONCE_BYTES + TAG_BYTES) throw unreadable('it is cut short');
  const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, NONCE_BYTES), {
    authTagLength: TAG_BYTES,
  });
  decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
  let text: string;
  try {
    text = Buffer.concat([
      decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES)),
      decipher.final(),
    ]).toString('utf8');
  } catch {
    return undefined;
  }
  const json = parseBundle(text);
  if (json === undefined) throw unreadable('it opens, but what it holds is not a bundle of tokens');
  return json;
}

/** The JSON of a bundle; `undefined` when it is something else. Go writes an empty map as null, too. */
export function parseBundle(text: string): Bundle | undefined {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (json === null) return new Map();
  return isObject(json) ? new Map(Object.entries(json)) : undefined;
}

/** What tells one writing of the file from every other: each draws a new nonce, and has a tag of its own. */
export const STAMP_ENDS = { head: NONCE_BYTES, tail: TAG_BYTES } as const;

/** The ends of the whole file's bytes. */
export function endsOf(bytes: Buffer): { size: number; head: Buffer; tail: Buffer } {
  return { size: bytes.length, head: bytes.subarray(0, NONCE_BYTES), tail: bytes.subarray(-TAG_BYTES) };
}

/** Of the size of the file, and those ends of it. */
export function stampOf({ size, head, tail }: { size: number; head: Buffer; tail: Buffer }): string {
  return `${size}.${head.toString('hex')}.${tail.toString('hex')}`;
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function unreadable(why: string): StorageUnreadableError {
  return new StorageUnreadableError(`docker-agent’s token file cannot be read: ${why}.`, {
    hint: 'Put it back from a backup, or move it aside and log in again. It is left as it is.',
  });
}
