import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LineReader } from '../../src/proxy/relay/lines.ts';
import { readMessage } from '../../src/proxy/relay/message.ts';
import { EventStream, type StreamEvent } from '../../src/proxy/upstream/event-stream.ts';
import '../support/fixed-seed.ts';

function read(chunks: readonly (string | Buffer)[], limit?: number) {
  const events: StreamEvent[] = [];
  const stream = new EventStream((event) => void events.push(event), limit);
  for (const chunk of chunks) stream.write(Buffer.from(chunk as string));
  return { events, id: stream.lastEventId, retryMs: stream.retryMs };
}

const message = (data: string) => ({ type: 'message', data });

describe('an event stream', () => {
  test.each<[string, string, StreamEvent[]]>([
    ['ends at an empty line', 'data: a\n\ndata: b\n\n', [message('a'), message('b')]],
    ['knows three ends of a line', 'data: a\r\n\r\ndata: b\r\rdata: c\n\n', ['a', 'b', 'c'].map(message)],
    ['has data of several lines', 'data: a\ndata: b\ndata\n\n', [message('a\nb\n')]],
    ['loses one space and no more', 'data:  a\n\ndata:b\n\n', [message(' a'), message('b')]],
    [
      'names its events',
      'event: endpoint\ndata: /m\n\ndata: x\n\n',
      [{ type: 'endpoint', data: '/m' }, message('x')],
    ],
    ['has comments, and fields that nobody knows', ': hello\nfoo: bar\ndata: a\n\n', [message('a')]],
    ['may begin with a byte order mark', '\ufeffdata: a\n\n', [message('a')]],
    ['that breaks off loses the event at its end', 'data: a\n\ndata: b\n', [message('a')]],
    ['without data is none', 'event: x\n\nid: 1\n\n', []],
  ])('parses an event stream: it %s', (_, text, expected) => {
    expect(read([text]).events).toEqual(expected);
  });

  test('remembers the id and the retry time of the last complete event', () => {
    expect(read(['id: 1\ndata: a\n\nid: 2\nretry: 250\ndata:\n\nid: 3\ndata: b\n'])).toMatchObject({
      id: '2',
      retryMs: 250,
    });
    expect(read(['id: 1\ndata:\n\nid: no\0good\ndata: a\n\nretry: soon\n\n'])).toMatchObject({
      id: '1',
      retryMs: undefined,
    });
    expect(read(['id: 1\ndata:\n\nid\ndata:\n\n']).id).toBeUndefined();
  });

  test.each(['\n\n', '\r\n\n', '\r\n\r\n', '\n\r\n', '\r\r', '\r\n\r'])(
    'ends an event at %j, even when each byte is a separate chunk',
    (ends) => {
      const bytes = [...Buffer.from(`id: 1\ndata: a${ends}data: b\n\n`)].map((byte) => Buffer.of(byte));
      expect(read(bytes)).toMatchObject({ events: [message('a'), message('b')], id: '1' });
    },
  );

  test('reads the same events however the stream is cut into chunks', () => {
    const piece = fc.constantFrom(
      'data: ',
      'id: 7',
      'event: e',
      '\r',
      '\n',
      '\r\n',
      'ü🎉',
      'x',
      ': c',
      '\n\n',
    );
    fc.assert(
      fc.property(
        fc.array(piece, { maxLength: 30 }),
        fc.array(fc.nat(8), { minLength: 1, maxLength: 8 }),
        (pieces, cuts) => {
          const whole = Buffer.from(pieces.join(''));
          const chunks: Buffer[] = [];
          for (let at = 0, turn = 0; at < whole.length; turn += 1) {
            const size = 1 + (cuts[turn % cuts.length] ?? 0);
            chunks.push(whole.subarray(at, at + size));
            at += size;
          }
          expect(read(chunks)).toEqual(read([whole]));
        },
      ),
    );
  });

  test('yields no event beyond the limit, whether of one line or of many', () => {
    expect(() => read([`data: ${'x'.repeat(2000)}`], 1000)).toThrow('more than');
    expect(() => read(['data: 0123456789\n'.repeat(200)], 1000)).toThrow('more than');
    expect(read([`${'data: 0123456789\n\n'.repeat(200)}`], 1000).events).toHaveLength(200);
  });

  test.each(['data: a\n\n', ''])(
    'refuses an event beyond the limit even when it ends in the same chunk: after %j',
    (before) => {
      const events: StreamEvent[] = [];
      const stream = new EventStream((event) => void events.push(event), 1000);
      const tooLarge = `${before}data: ${'x'.repeat(1000)}\n\ndata: b\n\n`;
      expect(() => stream.write(Buffer.from(tooLarge))).toThrow('more than');
      expect(events).toEqual(before === '' ? [] : [message('a')]);
    },
  );
});

describe('line reader', () => {
  test('cuts at line breaks and never within a character', () => {
    const lines: string[] = [];
    const reader = new LineReader(
      100,
      (line) => void lines.push(line),
      () => lines.push('too long'),
    );
    const bytes = Buffer.from('{"a":"ü"}\n\n{"b":1}\r\n{"c"');
    for (const byte of bytes) reader.write(Buffer.of(byte));
    reader.write(Buffer.from(':2}'));
    reader.end();
    expect(lines).toEqual(['{"a":"ü"}', '{"b":1}\r', '{"c":2}']);
  });

  test('skips lines that are too long and reads the next ones', () => {
    const lines: string[] = [];
    const reader = new LineReader(
      10,
      (line) => void lines.push(line),
      () => lines.push('too long'),
    );
    reader.write(Buffer.from('0123456'));
    reader.write(Buffer.from('789abc'));
    reader.write(Buffer.from('def\nshort\n'));
    expect(lines).toEqual(['too long', 'short']);
  });
});

describe('message reader', () => {
  test('joins a message of several lines into one line with the same value', () => {
    const value = { jsonrpc: '2.0', id: 1, result: { text: 'a\nb\r\u2028', list: [1, 2] } };
    const text = readMessage(JSON.stringify(value, null, 2))?.text ?? '';
    expect(text).not.toMatch(/[\r\n]/);
    expect(JSON.parse(text)).toEqual(value);
  });

  test.each(['', 'null', '[]', '1', '"x"', '{}', '[1]', '{"id":{}}', '{"id":1}', '{"method":1,"id":1}', '{'])(
    'rejects %s as a message',
    (text) => {
      expect(readMessage(text)).toBeUndefined();
    },
  );
});
