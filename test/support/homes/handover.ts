import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { temporaryDirectory } from './home.ts';

/** Replaces everything that a hand-over draws at random. */
export function withoutSecrets(text: string): string {
  return text
    .replaceAll(/([0-9A-Z]{7}-){7}[0-9A-Z]{7}/g, 'CODE')
    .replaceAll(/-----BEGIN HOLDFAST HAND-OVER-----[^"]*-----END HOLDFAST HAND-OVER-----/g, 'BLOB')
    .replaceAll(/\bfor (the next )?\d+ minutes/g, 'for $1NN minutes')
    .replaceAll(/(words[^:\n]*: |words": ?"|Its words: )[a-z]+( [a-z]+){3}/gi, '$1WORDS');
}

/** Finds the code in the output of `receive`. */
export function codeIn(text: string): string {
  const code = /([0-9A-Z]{7}-){7}[0-9A-Z]{7}/.exec(text)?.[0];
  if (code === undefined) throw new Error('No code was shown.');
  return code;
}

/** Writes the text to a file for one test. */
export async function fileWith(text: string): Promise<string> {
  const path = join(await temporaryDirectory(), 'blob');
  await writeFile(path, text);
  return path;
}
