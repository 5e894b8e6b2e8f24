import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { StorageUnreadableError } from '../errors.ts';

/*
 * The format of docker-agent's token file: a nonce of 12 bytes, then the AES-256-GCM ciphertext with its tag of 16
 * bytes. It has no header and no associated data. The plaintext is one JSON object that maps the URL of a server to its
 * entry.
 */

/** Maps each URL, in docker-agent's spelling, to its entry as JSON. It is a Map because any text may be a URL there. */
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
 * @returns `undefined` when the key does not open them: they are sealed under another key, or somebody altered them
 * @throws StorageUnreadableError when the bytes are too few or the plaintext is not a bundle; the message shows no
 *   content
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

/**
 * Parses the JSON of a bundle. Go also writes an empty map as null.
 *
 * @returns `undefined` when the text is not the JSON of a bundle
 */
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

/** The ends identify one version of the file: each write draws a new nonce and yields another tag. */
export const STAMP_ENDS = { head: NONCE_BYTES, tail: TAG_BYTES } as const;

/** Returns the size and both ends of the whole file's bytes. */
export function endsOf(bytes: Buffer): { size: number; head: Buffer; tail: Buffer } {
  return { size: bytes.length, head: bytes.subarray(0, NONCE_BYTES), tail: bytes.subarray(-TAG_BYTES) };
}

/** Builds the stamp from the size of the file and both its ends. */
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
