import { randomBytes } from 'node:crypto';

/*
 * Sealing keys as text: 32 random bytes each, in base64url. The first key seals; the keys after it only open older
 * records.
 */

/** The item's name in every keyring. */
export const SEALING_KEY_ITEM = 'sealing-key';
export const SEALING_KEY_BYTES = 32;

/** The fault in a text of keys, in words that reveal none of it. */
export interface KeyTextFault {
  /** As the end of a sentence: "the second key …". */
  readonly fault: string;
}

export function newSealingKey(): Buffer {
  return randomBytes(SEALING_KEY_BYTES);
}

export function keyText(keys: readonly Uint8Array[]): string {
  return keys.map((key) => Buffer.from(key).toString('base64url')).join(' ');
}

/** Parses an item that Holdfast wrote; `undefined` for any other spelling. */
export function writtenKeys(text: string): Buffer[] | undefined {
  const keys = text.split(' ').map((word) => Buffer.from(word, 'base64url'));
  const same = keyText(keys) === text && keys.every((key) => key.length === SEALING_KEY_BYTES);
  return same ? keys : undefined;
}

/**
 * Parses keys that a person or a program wrote: one per line or separated by blanks, in base64url or base64, as from
 * `openssl rand -base64 32`.
 */
export function givenKeys(text: string): Buffer[] | KeyTextFault {
  const words = text.split(/\s+/).filter((word) => word !== '');
  if (words.length === 0) return { fault: 'holds no key' };
  const keys: Buffer[] = [];
  for (const [index, word] of words.entries()) {
    const which = words.length === 1 ? 'holds something that' : `holds as key ${index + 1} something that`;
    const plain = word
      .replaceAll('+', '-')
      .replaceAll('/', '_')
      .replace(/={1,2}$/, '');
    const key = Buffer.from(plain, 'base64url');
    if (key.toString('base64url') !== plain) return { fault: `${which} is not base64url` };
    if (key.length !== SEALING_KEY_BYTES) {
      return { fault: `${which} has ${key.length} bytes in place of ${SEALING_KEY_BYTES}` };
    }
    if (!keys.some((known) => known.equals(key))) keys.push(key);
  }
  return keys;
}
