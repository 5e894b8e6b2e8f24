/*
 * Reads and writes values in D-Bus messages (D-Bus Specification, "Type System" and "Marshaling"). Input is not
 * trusted: the reader checks every length and limits the nesting.
 */

/** A value with its own signature, the type `v` in a body. */
export class Variant {
  readonly signature: string;
  readonly value: unknown;

  constructor(signature: string, value: unknown) {
    this.signature = signature;
    this.value = value;
  }
}

/** The input is not a valid D-Bus message. */
export class MalformedMessageError extends Error {}

const MAX_DEPTH = 32;

export function aligned(offset: number, to: number): number {
  return Math.ceil(offset / to) * to;
}

/** Splits a signature into complete types: `sa{sv}ay` gives `s`, `a{sv}`, `ay`. */
export function completeTypes(signature: string): string[] {
  const types: string[] = [];
  for (let at = 0; at < signature.length; ) {
    const end = endOfType(signature, at);
    types.push(signature.slice(at, end));
    at = end;
  }
  return types;
}

function endOfType(signature: string, at: number): number {
  let end = at;
  while (signature[end] === 'a') end += 1;
  const open = signature[end];
  if (open === undefined) throw new MalformedMessageError('a signature that ends early');
  if (open !== '(' && open !== '{') return end + 1;
  const close = open === '(' ? ')' : '}';
  for (end += 1; signature[end] !== close; ) end = endOfType(signature, end);
  return end + 1;
}

const ALIGNMENT: Readonly<Record<string, number>> = {
  y: 1,
  g: 1,
  v: 1,
  n: 2,
  q: 2,
  b: 4,
  i: 4,
  u: 4,
  h: 4,
  s: 4,
  o: 4,
  a: 4,
  x: 8,
  t: 8,
  d: 8,
  '(': 8,
  '{': 8,
};

function alignmentOf(type: string): number {
  const alignment = ALIGNMENT[type.charAt(0)];
  if (alignment === undefined) throw new MalformedMessageError('an unknown type');
  return alignment;
}

/** Writes little-endian on every machine; the receiver accepts either byte order. */
export class Writer {
  #parts: Buffer[] = [];
  #length = 0;

  bytes(): Buffer {
    return Buffer.concat(this.#parts);
  }

  align(to: number): void {
    this.#push(Buffer.alloc(aligned(this.#length, to) - this.#length));
  }

  /** `a{…}` takes an object or pairs; `ay` takes bytes; a structure takes an array; `x` takes a bigint. */
  value(type: string, value: unknown): void {
    this.align(alignmentOf(type));
    const inner = type.slice(1, -1);
    switch (type.charAt(0)) {
      case 'y':
        return this.#push(Buffer.of(value as number));
      case 'b':
        return this.#push(uint32(value === true ? 1 : 0));
      case 'i':
        return this.#push(uint32((value as number) >>> 0));
      case 'u':
        return this.#push(uint32(value as number));
      case 'x': {
        const bytes = Buffer.alloc(8);
        bytes.writeBigInt64LE(value as bigint);
        return this.#push(bytes);
      }
      case 's':
      case 'o': {
        const text = Buffer.from(value as string, 'utf8');
        return this.#push(uint32(text.length), text, Buffer.alloc(1));
      }
      case 'g': {
        const text = Buffer.from(value as string, 'latin1');
        return this.#push(Buffer.of(text.length), text, Buffer.alloc(1));
      }
      case 'v': {
        const { signature, value: held } = value as Variant;
        this.value('g', signature);
        return this.value(signature, held);
      }
      case '(':
      case '{': {
        const values = value as readonly unknown[];
        return completeTypes(inner).forEach((member, index) => this.value(member, values[index]));
      }
      case 'a':
        return this.#array(type.slice(1), value);
      default:
        throw new TypeError(`D-Bus values of the type ${type} are not written here`);
    }
  }

  #array(type: string, value: unknown): void {
    const length = uint32(0);
    this.#push(length);
    this.align(alignmentOf(type));
    const start = this.#length;
    if (value instanceof Uint8Array) this.#push(Buffer.from(value));
    else {
      const elements = Array.isArray(value) ? value : Object.entries(value as object);
      for (const element of elements) this.value(type, element);
    }
    length.writeUInt32LE(this.#length - start);
  }

  #push(...parts: Buffer[]): void {
    for (const part of parts) {
      this.#parts.push(part);
      this.#length += part.length;
    }
  }
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

export class Reader {
  at = 0;
  readonly #bytes: Buffer;
  readonly #view: DataView;
  readonly #little: boolean;

  constructor(bytes: Buffer, little: boolean) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#little = little;
  }

  align(to: number): void {
    this.at = aligned(this.at, to);
  }

  /** Returns a Buffer for `ay`, an array for other arrays and structures, and a bigint for `x` and `t`. */
  value(type: string, depth: number): unknown {
    if (depth > MAX_DEPTH) throw new MalformedMessageError('nested too deeply');
    this.align(alignmentOf(type));
    switch (type.charAt(0)) {
      case 'y':
        return this.#view.getUint8(this.#take(1));
      case 'b':
        return this.#uint32() !== 0;
      case 'n':
        return this.#view.getInt16(this.#take(2), this.#little);
      case 'q':
        return this.#view.getUint16(this.#take(2), this.#little);
      case 'i':
        return this.#view.getInt32(this.#take(4), this.#little);
      case 'u':
      case 'h':
        return this.#uint32();
      case 'x':
        return this.#view.getBigInt64(this.#take(8), this.#little);
      case 't':
        return this.#view.getBigUint64(this.#take(8), this.#little);
      case 'd':
        return this.#view.getFloat64(this.#take(8), this.#little);
      case 's':
      case 'o':
        return this.#text(this.#uint32());
      case 'g':
        return this.#text(this.#view.getUint8(this.#take(1)));
      case 'v': {
        const signature = this.value('g', depth) as string;
        if (completeTypes(signature).length !== 1)
          throw new MalformedMessageError('a variant of several types');
        return new Variant(signature, this.value(signature, depth + 1));
      }
      case 'a':
        return this.#array(type.slice(1), depth);
      default:
        return completeTypes(type.slice(1, -1)).map((member) => this.value(member, depth + 1));
    }
  }

  #array(type: string, depth: number): unknown {
    const length = this.#uint32();
    this.align(alignmentOf(type));
    const start = this.#take(length);
    const end = this.at;
    if (type === 'y') return Buffer.from(this.#bytes.subarray(start, end));
    const elements: unknown[] = [];
    for (this.at = start; this.at < end; ) {
      const before = this.at;
      elements.push(this.value(type, depth + 1));
      if (this.at === before) throw new MalformedMessageError('an element without bytes');
    }
    if (this.at !== end) throw new MalformedMessageError('an array that overruns its length');
    return elements;
  }

  #text(length: number): string {
    const start = this.#take(length + 1);
    return this.#bytes.toString('utf8', start, start + length);
  }

  #uint32(): number {
    return this.#view.getUint32(this.#take(4), this.#little);
  }

  /** Consumes the next `count` bytes and returns their offset. */
  #take(count: number): number {
    const start = this.at;
    if (start + count > this.#bytes.length) throw new MalformedMessageError('it ends early');
    this.at += count;
    return start;
  }
}
