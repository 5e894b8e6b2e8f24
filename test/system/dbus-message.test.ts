import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeMessage, encodeCall, HEADER_BYTES, messageLength } from '../../src/system/dbus/message.ts';
import { MalformedMessageError, Variant } from '../../src/system/dbus/value.ts';
import '../support/fixed-seed.ts';

/* The services of the keyring tests read and write ordinary messages; these are the unusual cases. */

const CALL = { destination: 'org.example', path: '/a', interface: 'org.example.I', member: 'M' };

function bodyOf(signature: string, body: readonly unknown[]) {
  return decodeMessage(encodeCall({ ...CALL, signature, body }, 1)).body;
}

describe('a D-Bus message', () => {
  test('states its length in its first sixteen bytes', () => {
    const message = encodeCall({ ...CALL, signature: 's', body: ['text'] }, 7);
    expect(messageLength(message.subarray(0, HEADER_BYTES))).toBe(message.length);
  });

  test('decodes to the values that were encoded', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'binary' }),
        fc.uint8Array(),
        fc.array(fc.tuple(fc.string({ unit: 'grapheme' }), fc.string({ unit: 'grapheme' }))),
        fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
        fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
        fc.boolean(),
        (text, bytes, pairs, big, small, flag) => {
          const body = [text, Buffer.from(bytes), pairs, big, small, flag, new Variant('a{ss}', pairs)];
          expect(bodyOf('saya{ss}xibv', body)).toEqual(body);
        },
      ),
    );
  });

  test('a message of a big-endian machine is read', () => {
    // A reply to call 5 whose body is the text "hi".
    const fields = '0501750000000005' + '0801670001730000';
    const message = Buffer.from(`4202000100000007000000090000000f${fields}00000002686900`, 'hex');
    expect(messageLength(message)).toBe(message.length);
    expect(decodeMessage(message)).toEqual({ type: 2, replySerial: 5, errorName: undefined, body: ['hi'] });
  });

  test('reads or refuses a message that is damaged anywhere or cut off, and throws nothing else', () => {
    const good = encodeCall(
      {
        ...CALL,
        signature: 'a{sv}(oayays)as',
        body: [
          { a: new Variant('v', new Variant('s', 'x')) },
          ['/s', Buffer.alloc(3), Buffer.alloc(5), 't'],
          ['a', 'b'],
        ],
      },
      1,
    );
    fc.assert(
      fc.property(
        fc.nat({ max: good.length - 1 }),
        fc.integer({ min: 0, max: 255 }),
        fc.nat({ max: good.length }),
        (at, byte, length) => {
          const damaged = Buffer.from(good.subarray(0, length));
          if (at < length) damaged[at] = byte;
          try {
            decodeMessage(damaged);
          } catch (error) {
            expect(error).toBeInstanceOf(MalformedMessageError);
          }
        },
      ),
      { numRuns: 2_000 },
    );
  });

  test('refuses a message with endlessly nested variants', () => {
    let nested = new Variant('s', 'x');
    for (let depth = 0; depth < 100; depth += 1) nested = new Variant('v', nested);
    expect(() => bodyOf('v', [nested])).toThrow(MalformedMessageError);
  });
});
