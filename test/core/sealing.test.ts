import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { compactDecrypt } from 'jose';
import { describe, expect, test } from 'vitest';
import { RecordDamagedError } from '../../src/errors.ts';
import { type RecordKey, seal, unseal } from '../../src/sealing.ts';
import '../support/fixed-seed.ts';

const key: RecordKey = { kid: 'a-key', key: randomBytes(32) };

describe('a sealed record', () => {
  test('opens to the sealed plaintext', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 4096 }), (plaintext) => {
        expect(unseal(seal(plaintext, key, 'record'), key, 'record')).toEqual(Buffer.from(plaintext));
      }),
    );
  });

  test('opens in another implementation of JWE', async () => {
    const { plaintext, protectedHeader } = await compactDecrypt(
      seal(Buffer.from('hello'), key, 'record'),
      key.key,
    );
    expect(Buffer.from(plaintext).toString()).toBe('hello');
    expect(protectedHeader).toEqual({ alg: 'dir', enc: 'A256GCM', kid: 'a-key', sub: 'record' });
  });

  test('contains nothing of the plaintext', () => {
    const record = seal(Buffer.from('a refresh token'), key, 'record');
    expect(record).not.toContain('refresh');
    expect(record).not.toContain(Buffer.from('a refresh token').toString('base64url'));
  });

  test('differs each time the same plaintext is sealed', () => {
    expect(seal(Buffer.from('same'), key, 'record')).not.toBe(seal(Buffer.from('same'), key, 'record'));
  });

  test('does not open with one changed bit in any character', () => {
    const record = seal(Buffer.from('some tokens'), key, 'record');
    for (let offset = 0; offset < record.length; offset += 1) {
      for (let bit = 0; bit < 7; bit += 1) {
        const bytes = Buffer.from(record, 'latin1');
        bytes.writeUInt8(bytes.readUInt8(offset) ^ (1 << bit), offset);
        expect(() => unseal(bytes.toString('latin1'), key, 'record')).toThrow(RecordDamagedError);
      }
    }
  });

  test('does not open when cut at any length or with anything appended', () => {
    const record = seal(Buffer.from('some tokens'), key, 'record');
    for (let length = 0; length < record.length; length += 1) {
      expect(() => unseal(record.slice(0, length), key, 'record')).toThrow(RecordDamagedError);
    }
    expect(() => unseal(`${record}A`, key, 'record')).toThrow(RecordDamagedError);
    expect(() => unseal(`${record}\n`, key, 'record')).toThrow(RecordDamagedError);
  });

  test('does not open under another name, key id or key', () => {
    const record = seal(Buffer.from('some tokens'), key, 'record');
    expect(() => unseal(record, key, 'other')).toThrow(RecordDamagedError);
    expect(() => unseal(record, { ...key, kid: 'other' }, 'record')).toThrow(RecordDamagedError);
    expect(() => unseal(record, { ...key, key: randomBytes(32) }, 'record')).toThrow(RecordDamagedError);
  });
});
