import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { CompactEncrypt, compactDecrypt } from 'jose';
import { describe, expect, test } from 'vitest';
import { KeyringBrokenError } from '../../src/errors.ts';
import { decryptItem, encryptItem, itemFileName } from '../../src/keyring/file/file-item.ts';
import '../support/fixed-seed.ts';

const ALG = 'PBES2-HS256+A128KW';
const ROUNDS = 8192;
const FIXTURES = fileURLToPath(new URL('../fixtures/99designs-file', import.meta.url));

describe('an item of the file keyring', () => {
  test.each([
    ['plain', 'plain', 'hello'],
    ['with%2Fslash', 'with/slash', 'a<b>&c'],
    ['with%25percent', 'with%percent', 'ünïcode ✓'],
    // Windows allows no colon in a file name, so the copy here has another name.
    ['colon-key', 'colon:key', 'x'],
    ['empty', 'empty', ''],
  ])('opens an item that 99designs/keyring wrote: %s', async (file, key, data) => {
    const text = await readFile(join(FIXTURES, file), 'utf8');
    const item = await decryptItem(text, 'correct horse battery staple');
    expect(item.key).toBe(key);
    expect(Buffer.from(item.data).toString('utf8')).toBe(data);
  });

  test('writes items that jose opens', async () => {
    const text = await encryptItem({ key: 'sealing-key', data: Buffer.from('data') }, 'pass', ROUNDS);
    const { plaintext } = await compactDecrypt(text, Buffer.from('pass'), {
      keyManagementAlgorithms: [ALG],
      contentEncryptionAlgorithms: ['A256GCM'],
    });
    expect(JSON.parse(Buffer.from(plaintext).toString())).toMatchObject({
      Key: 'sealing-key',
      Data: Buffer.from('data').toString('base64'),
    });
  });

  test('opens an item that jose wrote', async () => {
    const text = await new CompactEncrypt(Buffer.from('{"Key":"k","Data":"aGk="}'))
      .setProtectedHeader({ alg: ALG, enc: 'A256GCM' })
      .encrypt(Buffer.from('pass'));
    expect(await decryptItem(text, 'pass')).toEqual({ key: 'k', data: Buffer.from('hi') });
  });

  test('an item opens to the same name and data, whatever its name, data and passphrase', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.string({ unit: 'grapheme' }),
        fc.uint8Array(),
        fc.string(),
        async (key, data, passphrase) => {
          const item = await decryptItem(await encryptItem({ key, data }, passphrase, 10), passphrase);
          expect(item).toEqual({ key, data: Buffer.from(data) });
        },
      ),
    );
  });

  test('another passphrase does not open an item, and the error shows neither', async () => {
    const text = await encryptItem({ key: 'k', data: Buffer.from('data') }, 'right', ROUNDS);
    const failure = decryptItem(text, 'wrong-guess');
    await expect(failure).rejects.toThrow(KeyringBrokenError);
    await expect(failure).rejects.not.toThrow(/right|wrong-guess/);
  });

  test('an item does not open with any character changed or cut off', async () => {
    const text = await encryptItem({ key: 'k', data: Buffer.from('data') }, 'pass', 10);
    for (let offset = 0; offset < text.length; offset += 1) {
      const changed = `${text.slice(0, offset)}${text[offset] === 'A' ? 'B' : 'A'}${text.slice(offset + 1)}`;
      await expect(decryptItem(changed, 'pass')).rejects.toThrow(KeyringBrokenError);
      await expect(decryptItem(text.slice(0, offset), 'pass')).rejects.toThrow(KeyringBrokenError);
    }
  });

  test('refuses to derive a key with more rounds than any writer uses', async () => {
    const header = { alg: ALG, enc: 'A256GCM', p2c: 2_000_000_000, p2s: 'AAAAAAAAAAAAAAAA' };
    const text = await encryptItem({ key: 'k', data: Buffer.from('data') }, 'pass', 10);
    const hostile = [
      Buffer.from(JSON.stringify(header)).toString('base64url'),
      ...text.split('.').slice(1),
    ].join('.');
    await expect(decryptItem(hostile, 'pass')).rejects.toThrow(/header/);
  });

  test('escapes only slash and percent in the file name of an item', () => {
    expect(itemFileName('a/b%c:d')).toBe('a%2Fb%25c:d');
  });
});
