import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type BlobHeader,
  generateHandoverKeys,
  isWholeBlob,
  MAX_BLOB_CHARACTERS,
  openBlob,
  readBlob,
  sealBlob,
} from '../../src/handover/blob.ts';
import { codeOf, parseCode } from '../../src/handover/code.ts';
import { WORDS } from '../../src/handover/word-list.ts';
import { fourWords } from '../../src/handover/words.ts';
import '../support/fixed-seed.ts';

const about: Omit<BlobHeader, 'to'> = {
  resource: 'https://mcp.example/mcp',
  account: 'work',
  mode: 'move',
  expiresAt: 1_900_000_000_000,
};

/** A public key is any number below 2^255 - 19; these tests look only at the code. */
const publicKeys = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => {
  bytes[31] = (bytes[31] ?? 0) & 0x3f;
  return bytes;
});

describe('a hand-over code', () => {
  test('writes a key as 56 letters and digits in eight groups, and reads it back', () => {
    fc.assert(
      fc.property(publicKeys, (publicKey) => {
        const { text, id } = codeOf(publicKey);
        expect(text).toMatch(/^([0-9A-HJKMNP-TV-Z]{7}-){7}[0-9A-HJKMNP-TV-Z]{7}$/);
        const read = parseCode(text);
        expect(Buffer.from(read.publicKey).equals(Buffer.from(publicKey))).toBe(true);
        expect(read).toMatchObject({ text, id });
      }),
    );
  });

  test('reads a code in any case, without hyphens, with spaces and with look-alike letters', async () => {
    const { publicKey } = await generateHandoverKeys();
    const { text, id } = codeOf(publicKey);
    const spellings = [
      text.toLowerCase(),
      text.replaceAll('-', ''),
      `  ${text.replaceAll('-', ' ')}\n`,
      text.replaceAll('0', 'O').replaceAll('1', 'l'),
      text.replaceAll('1', 'I'),
    ];
    for (const spelling of spellings) expect(parseCode(spelling).id).toBe(id);
  });

  test('refuses a code with one wrong letter or two exchanged letters', () => {
    const { text } = codeOf(Buffer.alloc(32, 7));
    const letters = text.replaceAll('-', '');
    for (let at = 0; at < letters.length; at += 1) {
      const wrong = `${letters.slice(0, at)}${letters[at] === 'Z' ? 'Y' : 'Z'}${letters.slice(at + 1)}`;
      expect(() => parseCode(wrong)).toThrow('its checksum does not fit');
      const [a = '', b = ''] = letters.slice(at, at + 2);
      if (a === b || b === '') continue;
      expect(() => parseCode(`${letters.slice(0, at)}${b}${a}${letters.slice(at + 2)}`)).toThrow('checksum');
    }
  });

  test.each([
    ['', 'it has 0 letters and digits, and a code has 56'],
    ['A', 'it has 1 letters and digits, and a code has 56'],
    ['U', 'it has "U" in it, which no code has'],
    ['\u001b[31m', 'it has "\\u{1b}" in it, which no code has'],
    ['0'.repeat(100_000), 'it has 1000 letters and digits, and a code has 56'],
  ])('refuses the code %j and says why', (text, why) => {
    expect(() => parseCode(text)).toThrow(`The hand-over code cannot be used: ${why}.`);
  });
});

describe('the check words', () => {
  test('takes the check words from the English list of BIP 39', () => {
    // The hash of https://github.com/trezor/python-mnemonic, mnemonic/wordlist/english.txt.
    const hash = createHash('sha256')
      .update(`${WORDS.join('\n')}\n`)
      .digest('hex');
    expect(hash).toBe('2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda');
  });

  test('gives equal words for equal input, and other words for other input', async () => {
    const words = await fourWords('code', Buffer.from('a'));
    expect(words).toMatch(/^[a-z]+( [a-z]+){3}$/);
    expect(await fourWords('code', Buffer.from('a'))).toBe(words);
    expect(await fourWords('code', Buffer.from('b'))).not.toBe(words);
    expect(await fourWords('blob', Buffer.from('a'))).not.toBe(words);
  });
});

describe('a hand-over blob', () => {
  async function sealed(plaintext = Buffer.from('a login')) {
    const keys = await generateHandoverKeys();
    const code = codeOf(keys.publicKey);
    return { keys, code, blob: await sealBlob(code, about, plaintext) };
  }

  test('opens a blob with the key of its code, and says what it is for', async () => {
    const { keys, code, blob } = await sealed();
    const read = readBlob(blob);
    expect(read.header).toEqual({ ...about, to: code.id });
    expect(Buffer.from(await openBlob(read, keys)).toString()).toBe('a login');
  });

  test('writes lines of 72 characters at most, and reads a blob with other line ends and text around it', async () => {
    const { keys, blob } = await sealed(Buffer.alloc(5000, 'x'));
    expect(blob.split('\n').every((line) => line.length <= 72)).toBe(true);
    for (const text of [
      blob.replaceAll('\n', '\r\n'),
      `Hi!\n\n${blob}\n\nBye`,
      blob.replaceAll('\n', '  '),
    ]) {
      expect((await openBlob(readBlob(text), keys)).length).toBe(5000);
    }
  });

  test('does not open a blob with another key', async () => {
    const { blob } = await sealed();
    await expect(openBlob(readBlob(blob), await generateHandoverKeys())).rejects.toMatchObject({
      code: 'handover-damaged',
      message: expect.stringContaining('fails authentication'),
    });
  });

  test('refuses a blob with any character altered, or cut anywhere', async () => {
    const { keys, blob } = await sealed();
    const attempt = async (text: string) => openBlob(readBlob(text), keys);
    const payload = blob.indexOf('\n') + 1;
    for (let at = 0; at < blob.length; at += 1) {
      await expect(attempt(blob.slice(0, at))).rejects.toMatchObject({ code: 'handover-damaged' });
      if (at < payload || /\s/.test(blob[at] ?? '')) continue;
      const other = blob[at] === 'A' ? 'B' : 'A';
      await expect(attempt(`${blob.slice(0, at)}${other}${blob.slice(at + 1)}`)).rejects.toMatchObject({
        code: expect.stringMatching(/^handover-(damaged|newer)$/),
      });
    }
  });

  test('says that a blob was cut off at its end', async () => {
    const { blob } = await sealed();
    const cut = blob.slice(0, -40);
    expect(isWholeBlob(blob)).toBe(true);
    expect(isWholeBlob(cut)).toBe(false);
    expect(() => readBlob(cut)).toThrow('it was cut: the line -----END HOLDFAST HAND-OVER----- is missing');
  });

  test('refuses a blob whose resource, account, mode or time was changed', async () => {
    const { keys, blob } = await sealed();
    const [begin, ...lines] = blob.split('\n');
    const end = lines.pop();
    const [header = '', ...parts] = lines.join('').split('.');
    const plain = JSON.parse(Buffer.from(header, 'base64url').toString()) as Record<string, unknown>;
    const changes = [
      { resource: 'https://other.example/mcp' },
      { account: 'default' },
      { mode: 'access-token' },
      { expiresAt: about.expiresAt + 1 },
    ];
    for (const change of changes) {
      const other = Buffer.from(JSON.stringify({ ...plain, ...change })).toString('base64url');
      const text = [begin, [other, ...parts].join('.'), end].join('\n');
      expect(readBlob(text).header).toMatchObject(change);
      await expect(openBlob(readBlob(text), keys)).rejects.toMatchObject({ code: 'handover-damaged' });
    }
    const newer = Buffer.from(JSON.stringify({ ...plain, v: 2 })).toString('base64url');
    expect(() => readBlob([begin, [newer, ...parts].join('.'), end].join('\n'))).toThrow(
      'The hand-over blob says that a newer Holdfast made it',
    );
  });

  test('refuses any other text as a blob, and a large one at once', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 400 }), (text) => {
        for (const tried of [
          text,
          `-----BEGIN HOLDFAST HAND-OVER-----${text}-----END HOLDFAST HAND-OVER-----`,
        ]) {
          expect(() => readBlob(tried)).toThrow('The hand-over blob cannot be read');
        }
      }),
    );
    expect(() => readBlob('x'.repeat(MAX_BLOB_CHARACTERS + 1))).toThrow('no blob is so large');
  });

  test('seals no blob for an unusable key, nor one too large for a receiver', async () => {
    await expect(sealBlob(codeOf(Buffer.alloc(32)), about, Buffer.from('x'))).rejects.toMatchObject({
      code: 'invalid-argument',
      message: 'The hand-over code holds no usable public key.',
    });
    const { publicKey } = await generateHandoverKeys();
    await expect(sealBlob(codeOf(publicKey), about, Buffer.alloc(200_000))).rejects.toThrow('200000 bytes');
  });
});
