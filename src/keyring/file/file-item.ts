import { createCipheriv, createDecipheriv, pbkdf2 as pbkdf2Callback, randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import * as v from 'valibot';
import { KeyringBrokenError } from '../../errors.ts';
import { decodeSharedItem, encodeSharedItem, type SharedItem } from './layout-99designs.ts';

/*
 * One item of the file keyring, in the format of 99designs/keyring 1.2, so that other programs can read it. The format
 * is JWE compact (RFC 7516), with the content key wrapped under a passphrase (PBES2-HS256+A128KW, RFC 7518 section 4.8)
 * and content encryption A256GCM. It uses node:crypto alone, because it runs at each start of `holdfast token`.
 */

const ALG = 'PBES2-HS256+A128KW';
const ENC = 'A256GCM';
const KEY_WRAP_IV = Buffer.alloc(8, 0xa6);
const SALT_BYTES = 12;

/** Maximum PBKDF2 iterations that readers of the format accept; a file with more would only waste time. */
const MAX_ROUNDS = 1_300_000;

/** Maximum size of an item's file in bytes. A sealing key has 32 bytes, and no item here is near this size. */
export const MAX_ITEM_BYTES = 256 * 1024;

const pbkdf2 = promisify(pbkdf2Callback);

const Header = v.object({
  alg: v.literal(ALG),
  enc: v.literal(ENC),
  p2c: v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(MAX_ROUNDS)),
  p2s: v.pipe(v.string(), v.nonEmpty()),
});

/**
 * Encrypts an item under the passphrase.
 *
 * @param rounds PBKDF2 iterations: 8,192 suffice for 32 random bytes; a person's passphrase needs 600,000
 */
export async function encryptItem(item: SharedItem, passphrase: string, rounds: number): Promise<string> {
  const salt = randomBytes(SALT_BYTES);
  const header = Buffer.from(
    JSON.stringify({
      alg: ALG,
      created: new Date().toISOString(),
      enc: ENC,
      p2c: rounds,
      p2s: salt.toString('base64url'),
    }),
  ).toString('base64url');
  const contentKey = randomBytes(32);
  const wrap = createCipheriv('id-aes128-wrap', await wrappingKey(passphrase, salt, rounds), KEY_WRAP_IV);
  const wrapped = Buffer.concat([wrap.update(contentKey), wrap.final()]);
  const iv = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', contentKey, iv);
  cipher.setAAD(Buffer.from(header, 'ascii'));
  const ciphertext = Buffer.concat([cipher.update(encodeSharedItem(item)), cipher.final()]);
  const parts = [wrapped, iv, ciphertext, cipher.getAuthTag()].map((part) => part.toString('base64url'));
  return [header, ...parts].join('.');
}

/**
 * Decrypts an item that Holdfast, or another program with the passphrase, wrote.
 *
 * @throws KeyringBrokenError when the passphrase is wrong or the file is damaged; the message never includes its
 *   content
 */
export async function decryptItem(text: string, passphrase: string): Promise<SharedItem> {
  const parts = text.length <= MAX_ITEM_BYTES ? text.split('.') : [];
  const [head, ...rest] = parts;
  const [wrapped, iv, ciphertext, tag] = rest.map(decodePart);
  if (parts.length !== 5 || !head || !wrapped || !iv || !ciphertext || !tag) {
    throw damaged('it is not five parts of base64url');
  }
  const header = v.safeParse(Header, parseJson(Buffer.from(head, 'base64url')));
  if (!header.success) throw damaged('its header is not of this format');
  if (wrapped.length !== 40 || iv.length !== 12 || tag.length !== 16)
    throw damaged('a part has the wrong length');
  const salt = Buffer.from(header.output.p2s, 'base64url');
  const contentKey = unwrap(wrapped, await wrappingKey(passphrase, salt, header.output.p2c));
  const decipher = createDecipheriv('aes-256-gcm', contentKey, iv, { authTagLength: 16 });
  decipher.setAAD(Buffer.from(head, 'ascii'));
  decipher.setAuthTag(tag);
  let plaintext: Buffer;
  try {
    plaintext = Buffer.concat([decipher.update(ciphertext), decipher.final()]);
  } catch {
    throw damaged('it fails authentication');
  }
  return decodeSharedItem(plaintext);
}

/** The file name of an item. It escapes only `/` and `%`, as the other programs do. */
export function itemFileName(key: string): string {
  return key.replaceAll('%', '%25').replaceAll('/', '%2F');
}

/** RFC 7518 section 4.8.1.1: the salt is the algorithm's name, a zero byte, and `p2s`. */
function wrappingKey(passphrase: string, salt: Uint8Array, rounds: number): Promise<Buffer> {
  return pbkdf2(passphrase, Buffer.concat([Buffer.from(`${ALG}\0`), salt]), rounds, 16, 'sha256');
}

/** AES key unwrap (RFC 3394) checks integrity itself, so a wrong passphrase fails here. */
function unwrap(wrapped: Buffer, key: Buffer): Buffer {
  const unwrapping = createDecipheriv('id-aes128-wrap', key, KEY_WRAP_IV);
  try {
    return Buffer.concat([unwrapping.update(wrapped), unwrapping.final()]);
  } catch {
    throw new KeyringBrokenError(
      'The keyring file does not open: the passphrase is another, or the file is damaged.',
      {
        hint: 'Check HOLDFAST_PASSPHRASE, or put the passphrase file that belongs to it back. The file is left as it is.',
      },
    );
  }
}

/** Refuses non-canonical base64url, so that every changed character is detected. */
function decodePart(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64url');
  return bytes.toString('base64url') === text ? bytes : undefined;
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
}

function damaged(why: string): KeyringBrokenError {
  return new KeyringBrokenError(`The keyring file does not open: ${why}.`, {
    hint: 'Put a copy from a backup in its place. The file is left as it is.',
  });
}
