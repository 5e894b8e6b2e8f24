import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { expect } from 'vitest';
import { HoldfastError, type HoldfastErrorCode } from '../../../src/errors.ts';
import { secretsSeen } from '../../support/leaks.ts';

/*
 * What no table thinks of. Every property here is about a whole function, and what answers is a real server. fast-check prints
 * the seed and the smallest counterexample; tokens stand in documents by name only, so that it prints none.
 */

export const REFRESH = `refresh-${randomBytes(16).toString('hex')}`;
export const ACCESS = `access-${randomBytes(16).toString('hex')}`;

/** A failure is one of ours, of a kind that the caller knows, and can be shown as it is. */
export function checkFailure(error: unknown, codes: readonly HoldfastErrorCode[]): void {
  // What the property itself found wrong.
  if (!(error instanceof HoldfastError)) throw error;
  expect(codes).toContain(error.code);
  for (const shown of [error.message, error.hint ?? '']) {
    expect(shown).not.toMatch(/[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/u);
    expect(shown.length).toBeLessThan(3000);
  }
  expect(secretsSeen(error, [REFRESH, ACCESS])).toBe(0);
}

/** The good document with members changed, removed or added; or no such document at all. */
export function mutated(
  names: readonly string[],
  values: fc.Arbitrary<unknown>,
): fc.Arbitrary<object | string> {
  const member = fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom(...names) },
    { weight: 1, arbitrary: fc.string() },
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

/** One place of a text cut, doubled or replaced. */
export const damage = fc.record({
  at: fc.nat(5000),
  length: fc.nat(8),
  by: fc.oneof(
    fc.string({ maxLength: 4 }),
    fc.constantFrom('"', '{', '\\u0000', '\0', '\u202e', '1e999', 'null'),
  ),
});

export function damaged(
  text: string,
  { at, length, by }: { at: number; length: number; by: string },
): string {
  const from = at % (text.length + 1);
  return text.slice(0, from) + by + text.slice(from + length);
}
