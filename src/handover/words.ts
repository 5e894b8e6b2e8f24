import { scrypt } from 'node:crypto';
import { WORDS } from './word-list.ts';

/*
 * A short authentication string: four words that two people, or one at two machines, compare. Whoever wants to bring about
 * the same words with another code or blob has to find one among 2^44, within its life of minutes, and each try costs a
 * computation that is made slow on purpose (scrypt, RFC 7914, 32 MiB).
 */

const COUNT = 4;
const BITS_A_WORD = 11n;
const COST = { N: 2 ** 15, r: 8, p: 1, maxmem: 64 * 1024 * 1024 };

/**
 * @param of `code`: the words say that a code came over unchanged, so that what is sealed to it opens where it was made.
 *   `blob`: that a blob is the one which was sealed for that code, and nobody has put another in its place.
 */
export async function fourWords(of: 'code' | 'blob', transcript: Uint8Array): Promise<string> {
  const bytes = await new Promise<Buffer>((resolve, reject) => {
    scrypt(transcript, `holdfast hand-over words 1 ${of}`, 8, COST, (error, key) =>
      error === null ? resolve(key) : reject(error),
    );
  });
  let bits = bytes.readBigUInt64BE();
  const words: string[] = [];
  for (let index = 0; index < COUNT; index += 1) {
    words.push(WORDS[Number(bits & (2n ** BITS_A_WORD - 1n))] ?? '');
    bits >>= BITS_A_WORD;
  }
  return words.join(' ');
}
