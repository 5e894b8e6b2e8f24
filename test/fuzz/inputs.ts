import { randomBytes } from 'node:crypto';
import fc from 'fast-check';

/*
 * The inputs of the targets: good documents that were damaged, documents made of the words of a grammar, and words
 * repeated up to the length that Holdfast accepts, where super-linear work shows. Documents hold tokens by name only,
 * so that no counterexample prints one.
 */

export const REFRESH = `refresh-${randomBytes(16).toString('hex')}`;
export const ACCESS = `access-${randomBytes(16).toString('hex')}`;

/** Keys that lead out of an object, and names that all objects inherit. */
export const INHERITED = ['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty'] as const;

/** The good document with members changed, removed or added, or something else altogether. */
export function mutated(
  names: readonly string[],
  values: fc.Arbitrary<unknown>,
): fc.Arbitrary<object | string> {
  const member = fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom(...names) },
    { weight: 1, arbitrary: fc.oneof(fc.string(), fc.constantFrom(...INHERITED)) },
  );
  const value = fc.oneof(
    { weight: 3, arbitrary: values },
    { weight: 1, arbitrary: fc.jsonValue({ maxDepth: 3 }) },
  );
  const changes = fc.array(fc.tuple(member, fc.option(value, { nil: undefined })), { maxLength: 3 });
  return fc.oneof(
    { weight: 8, arbitrary: changes.map((list) => Object.fromEntries(list)) },
    { weight: 1, arbitrary: fc.json({ maxDepth: 3 }) },
    { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 200 }) },
  );
}

/** Cuts, doubles or replaces one place of a text. */
export const damage = fc.record({
  at: fc.nat(5000),
  length: fc.nat(8),
  by: fc.oneof(
    fc.string({ maxLength: 4 }),
    fc.constantFrom('"', '{', '\\u0000', '\0', '\u202e', '1e999', 'null'),
  ),
});
type Damage = Readonly<{ at: number; length: number; by: string }>;

export function damaged(text: string, { at, length, by }: Damage): string {
  const from = at % (text.length + 1);
  return text.slice(0, from) + by + text.slice(from + length);
}

/**
 * Texts of a format.
 *
 * @param good documents that Holdfast reads
 * @param words words of the format's grammar
 * @param most maximum number of characters in a text
 */
export function hostileTexts(
  good: readonly string[],
  words: readonly string[],
  most: number,
): fc.Arbitrary<string> {
  const word = fc.oneof(
    { weight: 8, arbitrary: fc.constantFrom(...words) },
    { weight: 1, arbitrary: fc.constantFrom(...INHERITED, '\0', '\u202e', '\ufeff', '\r', '\u2028') },
    { weight: 1, arbitrary: fc.string({ maxLength: 6 }) },
  );
  const wordAt = fc.record({ at: fc.nat(5000), length: fc.nat(8), by: word });
  const changed = fc
    .tuple(fc.constantFrom(...good), fc.array(fc.oneof(wordAt, damage), { maxLength: 4 }))
    .map(([text, list]) => list.reduce(damaged, text));
  // A key or value with a name that all objects inherit.
  const renamed = fc
    .tuple(fc.constantFrom(...good), fc.nat(30), fc.constantFrom(...INHERITED))
    .map(([text, which, by]) => {
      const names = [...text.matchAll(/\w+/g)];
      const name = names[which % names.length];
      return name === undefined
        ? by
        : text.slice(0, name.index) + by + text.slice(name.index + name[0].length);
    });
  const short = fc.array(word, { maxLength: 6 }).map((list) => list.join(''));
  // Doubled again and again, up to the maximum.
  const long = fc
    .tuple(short, short, fc.nat(Math.ceil(Math.log2(most))), short)
    .map(([head, unit, doubled, tail]) => {
      const times = Math.min(2 ** doubled, Math.floor(most / (unit.length || 1)));
      return (head + unit.repeat(times) + tail).slice(0, most);
    });
  return fc.oneof(
    { weight: 9, arbitrary: changed },
    { weight: 2, arbitrary: renamed },
    { weight: 8, arbitrary: fc.array(word, { maxLength: 60 }).map((list) => list.join('')) },
    { weight: 2, arbitrary: fc.string({ unit: 'binary', maxLength: 200 }) },
    { weight: 1, arbitrary: long },
  );
}

/** Bytes of a binary format: good ones with bytes changed, removed or inserted, and random ones. */
export function hostileBytes(good: readonly Buffer[]): fc.Arbitrary<Buffer> {
  const change = fc.record({
    at: fc.nat(2000),
    length: fc.nat(4),
    by: fc.oneof(
      fc.uint8Array({ maxLength: 4 }),
      fc.constantFrom(Uint8Array.of(0), Uint8Array.of(255, 255, 255, 255), Uint8Array.of(255, 255, 255, 127)),
    ),
  });
  const changed = fc
    .tuple(fc.constantFrom(...good), fc.array(change, { maxLength: 5 }))
    .map(([bytes, list]) => list.reduce(changedBytes, bytes));
  return fc.oneof(
    { weight: 9, arbitrary: changed },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)) },
  );
}

function changedBytes(
  bytes: Buffer,
  { at, length, by }: { at: number; length: number; by: Uint8Array },
): Buffer {
  const from = at % (bytes.length + 1);
  return Buffer.concat([bytes.subarray(0, from), by, bytes.subarray(from + length)]);
}

/** Splits bytes into pieces, as a socket delivers them. */
export function pieces(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const places = cuts.map((at) => at % (bytes.length + 1)).toSorted((a, b) => a - b);
  return [0, ...places].map((from, index) => bytes.subarray(from, places[index] ?? bytes.length));
}
