import { scrypt } from 'node:crypto';
import { WORDS } from './word-list.ts';

/*
 * A short authentication string: four words that two people, or one person at two machines, compare. To forge the same
 * words with another code or blob, an attacker must find one match among 2^44 within its lifetime of minutes. Each
 * attempt costs a computation that is slow on purpose (scrypt, RFC 7914, 32 MiB).
 */

const COUNT = 4;
const BITS_A_WORD = 11n;
const COST = { N: 2 ** 15, r: 8, p: 1, maxmem: 64 * 1024 * 1024 };

/**
 * Derives the four words from the transcript.
 *
 * @param of `code`: the words confirm that the code arrived unchanged, so a blob sealed to it opens where it was made.
 *   `blob`: the words confirm that this blob was sealed for that code, and that nobody replaced it.
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
