import { createHash } from 'node:crypto';
import { InvalidArgumentError } from '../errors.ts';
import { quote } from '../quote.ts';

/*
 * The code that the receiving machine shows: its public key for one hand-over. One message goes each way, with no
 * server in between, so the sender needs the whole key. A shorter code would be a hash of a key that nobody can look
 * up. An X25519 public key has 255 bits (RFC 7748 section 5). With 5 bits of version and 20 of checksum it becomes 56
 * letters of Crockford's base 32, which has no I, L, O and U and ignores case. The code shows them in eight groups of
 * seven.
 */

const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const LENGTH = 56;
const GROUP = 7;
const CHECKSUM_BITS = 20n;
const KEY_BITS = 255n;
const VERSION = 0n;

/** The prime of X25519's field. A coordinate that is not below it is a second spelling of another key. */
const PRIME = 2n ** KEY_BITS - 19n;

export interface HandoverCode {
  /** The canonical spelling. */
  readonly text: string;
  /** X25519, 32 bytes. */
  readonly publicKey: Uint8Array;
  /** A short name for the code: base64url of 128 bits. */
  readonly id: string;
}

/** @param publicKey X25519, 32 bytes, as HPKE serialises it (RFC 9180 section 7.1.1) */
export function codeOf(publicKey: Uint8Array): HandoverCode {
  const key = BigInt(`0x${Buffer.from(publicKey).reverse().toString('hex')}`);
  const content = (VERSION << KEY_BITS) | key;
  let value = (content << CHECKSUM_BITS) | checksumOf(content);
  let letters = '';
  for (let index = 0; index < LENGTH; index += 1) {
    letters = `${ALPHABET[Number(value & 31n)]}${letters}`;
    value >>= 5n;
  }
  const text = (letters.match(new RegExp(`.{${GROUP}}`, 'g')) ?? []).join('-');
  const id = createHash('sha256').update('holdfast hand-over code\0').update(publicKey);
  return { text, publicKey, id: id.digest().subarray(0, 16).toString('base64url') };
}

/**
 * Reads a code as a person types it: in any case, with or without hyphens and spaces, O for 0, I and L for 1.
 *
 * @throws InvalidArgumentError when a letter is wrong, missing or too many; when a newer Holdfast made the code
 */
export function parseCode(input: string): HandoverCode {
  const letters = input
    .slice(0, 1000)
    .toUpperCase()
    .replace(/[\s-]/g, '')
    .replace(/O/g, '0')
    .replace(/[IL]/g, '1');
  const wrong = /[^0-9A-HJKMNP-TV-Z]/u.exec(letters)?.[0];
  if (wrong !== undefined) throw unusable(`it has ${quote(wrong)} in it, which no code has`);
  if (letters.length !== LENGTH) {
    throw unusable(`it has ${letters.length} letters and digits, and a code has ${LENGTH}`);
  }
  let value = 0n;
  for (const letter of letters) value = (value << 5n) | BigInt(ALPHABET.indexOf(letter));
  const content = value >> CHECKSUM_BITS;
  if ((value & (2n ** CHECKSUM_BITS - 1n)) !== checksumOf(content)) {
    throw unusable('its checksum does not fit, so a letter is wrong');
  }
  if (content >> KEY_BITS !== VERSION) {
    throw new InvalidArgumentError('The hand-over code was made by a newer Holdfast than this one.', {
      hint: 'Ask which version shows the code. If it is newer, update Holdfast here as you installed it.',
    });
  }
  const key = content & (2n ** KEY_BITS - 1n);
  if (key >= PRIME) throw unusable('it is no public key');
  const publicKey = Buffer.from(key.toString(16).padStart(64, '0'), 'hex').reverse();
  return codeOf(new Uint8Array(publicKey));
}

function checksumOf(content: bigint): bigint {
  const hash = createHash('sha256').update('holdfast hand-over checksum\0').update(content.toString(16));
  return BigInt(hash.digest().readUInt32BE()) >> (32n - CHECKSUM_BITS);
}

function unusable(why: string): InvalidArgumentError {
  return new InvalidArgumentError(`The hand-over code cannot be used: ${why}.`, {
    hint: 'Copy the whole code that holdfast receive shows.',
  });
}
