import { aligned, completeTypes, MalformedMessageError, Reader, Variant, Writer } from './value.ts';

/*
 * The wire format of D-Bus messages (D-Bus Specification, "Message Format"), as far as a client needs it. File
 * descriptors are not supported.
 */

export const METHOD_RETURN = 2;
export const ERROR = 3;
const METHOD_CALL = 1;
const NO_AUTO_START = 2;
const PROTOCOL_VERSION = 1;

const FIELD = {
  path: 1,
  interface: 2,
  member: 3,
  errorName: 4,
  replySerial: 5,
  destination: 6,
  signature: 8,
};

/** The fixed part of a header, including the length of its fields. */
export const HEADER_BYTES = 16;

/** A sealing key has 32 bytes; no reply that Holdfast needs is nearly this large. */
const MAX_MESSAGE_BYTES = 1024 * 1024;

const LITTLE = 'l'.charCodeAt(0);
const BIG = 'B'.charCodeAt(0);

export interface MethodCall {
  readonly destination: string;
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  readonly signature?: string | undefined;
  readonly body?: readonly unknown[] | undefined;
  /** Whether the bus may start a service that does not run; default `true`. */
  readonly autoStart?: boolean | undefined;
}

export interface IncomingMessage {
  readonly type: number;
  /** The serial number of the call that this message answers. */
  readonly replySerial: number | undefined;
  readonly errorName: string | undefined;
  readonly body: readonly unknown[];
}

export function encodeCall(call: MethodCall, serial: number): Buffer {
  const body = new Writer();
  const signature = call.signature ?? '';
  const types = completeTypes(signature);
  const values = call.body ?? [];
  types.forEach((type, index) => body.value(type, values[index]));
  const fields: [number, Variant][] = [
    [FIELD.path, new Variant('o', call.path)],
    [FIELD.interface, new Variant('s', call.interface)],
    [FIELD.member, new Variant('s', call.member)],
    [FIELD.destination, new Variant('s', call.destination)],
  ];
  if (signature !== '') fields.push([FIELD.signature, new Variant('g', signature)]);
  const content = body.bytes();
  const header = new Writer();
  for (const byte of [LITTLE, METHOD_CALL, call.autoStart === false ? NO_AUTO_START : 0, PROTOCOL_VERSION]) {
    header.value('y', byte);
  }
  header.value('u', content.length);
  header.value('u', serial);
  header.value('a(yv)', fields);
  header.align(8);
  return Buffer.concat([header.bytes(), content]);
}

/**
 * Returns the length of a message from its first `HEADER_BYTES` bytes.
 *
 * @throws MalformedMessageError
 */
export function messageLength(header: Buffer): number {
  const little = isLittle(header);
  const bodyBytes = little ? header.readUInt32LE(4) : header.readUInt32BE(4);
  const fieldBytes = little ? header.readUInt32LE(12) : header.readUInt32BE(12);
  const length = aligned(HEADER_BYTES + fieldBytes, 8) + bodyBytes;
  if (length > MAX_MESSAGE_BYTES) throw new MalformedMessageError(`a message of ${length} bytes`);
  return length;
}

/** @throws MalformedMessageError */
export function decodeMessage(bytes: Buffer): IncomingMessage {
  const reader = new Reader(bytes, isLittle(bytes));
  reader.at = 12;
  const fields = new Map<unknown, unknown>();
  for (const field of reader.value('a(yv)', 0) as [number, Variant][]) fields.set(field[0], field[1].value);
  reader.align(8);
  const signature = fields.get(FIELD.signature);
  const types = typeof signature === 'string' ? completeTypes(signature) : [];
  const body = types.map((type) => reader.value(type, 0));
  const errorName = fields.get(FIELD.errorName);
  const replySerial = fields.get(FIELD.replySerial);
  return {
    type: bytes[1] ?? 0,
    replySerial: typeof replySerial === 'number' ? replySerial : undefined,
    errorName: typeof errorName === 'string' ? errorName : undefined,
    body,
  };
}

function isLittle(bytes: Buffer): boolean {
  if (bytes[0] !== LITTLE && bytes[0] !== BIG) throw new MalformedMessageError('an unknown byte order');
  return bytes[0] === LITTLE;
}
