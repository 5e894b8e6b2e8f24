import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { RecordDamagedError } from './errors.ts';

/*
 * A record is a JWE in compact form (RFC 7516 section 7.1) with a direct key: `alg` dir, `enc` A256GCM. The
 * authenticated header names the key (`kid`) and the record (`sub`). So a record that is copied to another id, or put
 * under another key, does not open.
 */

/** The part of a sealing key that sealing needs. */
export interface RecordKey {
  readonly kid: string;
  /** 32 bytes. */
  readonly key: Uint8Array;
}

/** No credential is nearly this large; a larger record is refused before it is decoded. */
export const MAX_RECORD_BYTES = 1024 * 1024;

const IV_BYTES = 12;
const TAG_BYTES = 16;

/**
 * Seals a record under the key, bound to the record id. Each call draws a new nonce (96 bits, NIST SP 800-38D 8.2.2).
 */
export function seal(plaintext: Uint8Array, { kid, key }: RecordKey, id: string): string {
  const header = encodeHeader(kid, id);
  const iv = randomBytes(IV_BYTES);
  const cipher = createCipheriv('aes-256-gcm', key, iv, { authTagLength: TAG_BYTES });
  cipher.setAAD(Buffer.from(header, 'ascii'));
  const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()]);
  // The second part, the encrypted key, is empty: the key is used directly (RFC 7518 section 4.5).
  return `${header}..${iv.toString('base64url')}.${ciphertext.toString('base64url')}.${cipher.getAuthTag().toString('base64url')}`;
}

/**
 * Opens what `seal` made for the same key and record id.
 *
 * @param maxBytes a larger record is refused before it is decoded
 * @throws RecordDamagedError when any part was altered or truncated, or belongs to another key or id
 */
export function unseal(
  record: string,
  { kid, key }: RecordKey,
  id: string,
  maxBytes: number = MAX_RECORD_BYTES,
): Buffer {
  const parts = record.length <= maxBytes ? record.split('.') : [];
  const [header, encryptedKey, iv, ciphertext, tag] = parts.map((part, index) =>
    index === 0 ? undefined : canonicalBase64url(part),
  );
  if (parts.length !== 5 || header !== undefined || !encryptedKey || !iv || !ciphertext || !tag) {
    throw damaged('it is not five parts of base64url');
  }
  // `seal` spells the header in only one way, so another spelling is another record. No JSON is parsed before it is
  // authenticated.
  if (parts[0] !== encodeHeader(kid, id))
    throw damaged('its header belongs to another record, key or format');
  if (encryptedKey.length !== 0 || iv.length !== IV_BYTES || tag.length !== TAG_BYTES) {
    throw damaged('a part has the wrong length');
  }
  const decipher = createDecipheriv('aes-256-gcm', key, iv, { authTagLength: TAG_BYTES });
  decipher.setAAD(Buffer.from(parts[0], 'ascii'));
  decipher.setAuthTag(tag);
  try {
    return Buffer.concat([decipher.update(ciphertext), decipher.final()]);
  } catch {
    throw damaged('it fails authentication');
  }
}

function encodeHeader(kid: string, sub: string): string {
  return Buffer.from(JSON.stringify({ alg: 'dir', enc: 'A256GCM', kid, sub })).toString('base64url');
}

/** Decodes base64url, and refuses other spellings that a lenient decoder accepts for the same bytes. */
function canonicalBase64url(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64url');
  return bytes.toString('base64url') === text ? bytes : undefined;
}

function damaged(why: string): RecordDamagedError {
  return new RecordDamagedError(`The record does not open: ${why}.`);
}
