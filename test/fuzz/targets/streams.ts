import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { LineReader } from '../../../src/proxy/relay/lines.ts';
import {
  capabilitiesOf,
  claimedVersion,
  isNotification,
  isRequest,
  readMessage,
} from '../../../src/proxy/relay/message.ts';
import { EventStream, type StreamEvent } from '../../../src/proxy/upstream/event-stream.ts';
import { decodeMessage, encodeCall, HEADER_BYTES, messageLength } from '../../../src/system/dbus/message.ts';
import { MalformedMessageError, Variant } from '../../../src/system/dbus/value.ts';
import { hostileBytes, hostileTexts, pieces } from '../inputs.ts';
import { checkFailure, feed, type Target } from '../target.ts';

/* Data from a connection: messages of D-Bus, and of both sides of the proxy. */

const cuts = fc.array(fc.nat(2000), { maxLength: 5 });
/** Small enough for inputs to reach. */
const LIMIT = 4096;

const EVENTS = [
  'event: message\ndata: {"jsonrpc":"2.0","id":1,"result":{}}\n\n',
  '\ufeffid: 7\r\nretry: 3000\r\ndata: a\r\ndata: b\r\n\r\n: comment\r\n',
  'event: endpoint\ndata: /messages?session=1\n\n',
];
const MESSAGES = [
  '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}',
  '[{"jsonrpc":"2.0","id":"a","result":{}},{"jsonrpc":"2.0","method":"notifications/progress"}]',
  '{"jsonrpc":"2.0","id":2,"method":"initialize","params":{"capabilities":{"roots":{}}}}\n',
  '{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"x"}}',
];

export const STREAMS: readonly Target[] = [
  {
    name: 'dbus',
    title: 'decodes a D-Bus message within its bytes, or refuses it as malformed',
    runs: 2000,
    open() {
      const base = { destination: 'a.b', path: '/a', interface: 'a.b', member: 'M' };
      const nested = new Variant('a{ss}', { a: 'b' });
      const good = [
        encodeCall(
          {
            ...base,
            signature: 'a{sv}(oayays)b',
            body: [{ x: nested }, ['/s', Buffer.alloc(3), randomBytes(3), 't'], true],
          },
          1,
        ),
        encodeCall({ ...base, signature: 'vaay', body: [new Variant('v', nested), [Buffer.from('x')]] }, 2),
        encodeCall({ ...base, signature: 'a(sa{sv})u', body: [[['s', {}]], 7] }, 3),
        encodeCall(base, 4),
      ];
      let decoded = 0;
      return {
        property: feed(hostileBytes(good), (bytes) => {
          if (bytes.length < HEADER_BYTES) return;
          try {
            const length = messageLength(bytes);
            if (bytes.length < length) return;
            decodeMessage(bytes.subarray(0, length));
            decoded += 1;
          } catch (error) {
            if (!(error instanceof MalformedMessageError)) throw error;
          }
        }),
        reached: () => assert.ok(decoded > 20),
      };
    },
  },
  {
    name: 'event-stream',
    title: 'reads the same events from a stream in any pieces, and stops at the size limit',
    runs: 1000,
    open: () => ({
      property: feed(
        fc.tuple(
          hostileTexts(
            EVENTS,
            ['data:', 'event:', 'id:', 'retry:', ':', ' ', '\n', '\r', '\r\n', 'x', '{}', '9'],
            3 * LIMIT,
          ),
          cuts,
        ),
        ([text, places]) => {
          const bytes = Buffer.from(text);
          assert.deepEqual(eventsIn(pieces(bytes, places)), eventsIn([bytes]));
        },
      ),
    }),
  },
  {
    name: 'lines',
    title: 'reads the same lines in any pieces, and drops only a line that is too long',
    runs: 1000,
    open: () => ({
      property: feed(
        fc.tuple(hostileTexts(MESSAGES, ['\n', '\r\n', '{', 'x', ' ', 'é', '😀'], 3 * LIMIT), cuts),
        ([text, places]) => {
          const bytes = Buffer.from(text);
          const read = (chunks: readonly Buffer[]) => {
            const lines: string[] = [];
            let dropped = 0;
            const reader = new LineReader(
              LIMIT,
              (line) => lines.push(line),
              () => (dropped += 1),
            );
            for (const chunk of chunks) reader.write(chunk);
            reader.end();
            return { lines, dropped };
          };
          const whole = read([bytes]);
          assert.deepEqual(read(pieces(bytes, places)), whole);
          assert.ok(whole.lines.every((line) => line.length <= LIMIT && !line.includes('\n')));
        },
      ),
    }),
  },
  {
    name: 'json-rpc',
    title: 'forwards a JSON-RPC message as one line with the same values, or rejects it',
    runs: 1000,
    open: () => ({
      property: feed(
        hostileTexts(
          MESSAGES,
          [
            '{',
            '}',
            '[',
            ']',
            ',',
            ':',
            '"',
            '"id"',
            '"method"',
            '"params"',
            '"_meta"',
            '"x"',
            '1',
            'null',
            '\n',
            '\r',
          ],
          64 * 1024,
        ),
        (text) => {
          const incoming = readMessage(text);
          if (incoming === undefined) return;
          assert.doesNotMatch(incoming.text, /[\r\n]/);
          assert.deepEqual(JSON.parse(incoming.text), JSON.parse(text));
          for (const message of incoming.messages) {
            assert.ok(['string', 'number', 'undefined'].includes(typeof message.id));
            assert.ok(!(isRequest(message) && isNotification(message)));
            assert.ok(['string', 'undefined'].includes(typeof claimedVersion(message)));
            capabilitiesOf(message);
          }
        },
      ),
    }),
  },
];

function eventsIn(chunks: readonly Buffer[]): unknown {
  const events: StreamEvent[] = [];
  const stream = new EventStream((event) => events.push(event), LIMIT);
  let isOver = false;
  try {
    for (const chunk of chunks) stream.write(chunk);
  } catch (error) {
    checkFailure(error, ['response-too-large']);
    isOver = true;
  }
  assert.ok(events.every(({ data }) => data.length <= LIMIT));
  // The parser takes `retry` before the event ends, so after the limit it depends on the pieces.
  return { events, isOver, id: stream.lastEventId, retryMs: isOver ? undefined : stream.retryMs };
}
