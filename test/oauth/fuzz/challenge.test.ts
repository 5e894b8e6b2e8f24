import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Challenge, parseChallenges } from '../../../src/oauth/challenge.ts';
import { hostileServer } from '../../support/hostile-server.ts';
import { damage, damaged } from './mutation.ts';

describe('the parser of challenges', () => {
  const TOKEN = Array.from("!#$%&'*+-.^_`|~019azAZ");
  const name = fc.string({ unit: fc.constantFrom(...TOKEN), minLength: 1, maxLength: 8 });
  const value = fc.string({
    unit: fc.oneof(
      fc.constantFrom('"', '\\', ',', '=', ' ', '\t'),
      fc.integer({ min: 0x20, max: 0xff }).map((code) => (code === 0x7f ? 'x' : String.fromCharCode(code))),
    ),
    maxLength: 16,
  });
  const wellFormed = fc
    .array(
      fc.record({
        scheme: name,
        parameters: fc.uniqueArray(fc.tuple(name, value), {
          selector: ([key]) => key.toLowerCase(),
          minLength: 1,
          maxLength: 4,
        }),
      }),
      { minLength: 1, maxLength: 4 },
    )
    .map((list) =>
      list.map(({ scheme, parameters }) => ({
        scheme: scheme.toLowerCase(),
        parameters: new Map(parameters.map(([key, text]) => [key.toLowerCase(), text])),
      })),
    );

  /** RFC 9110 section 11.6.1, every value as a quoted string. */
  function written(challenges: readonly Challenge[]): string {
    return challenges
      .map(({ scheme, parameters }) => {
        const list = Array.from(parameters, ([key, text]) => `${key}="${text.replace(/["\\]/g, '\\$&')}"`);
        return `${scheme} ${list.join(', ')}`.trim();
      })
      .join(', ');
  }

  const anything = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 400 }),
    fc
      .array(fc.constantFrom('Bearer', ' ', '=', '"', '\\', ',', 'a', '\t', '==', 'é', '\0'), {
        maxLength: 60,
      })
      .map((pieces) => pieces.join('')),
    fc.tuple(wellFormed, damage).map(([challenges, change]) => damaged(written(challenges), change)),
  );

  test('yields of any text no more than the text holds, and reads what it understood back as the same', () => {
    fc.assert(
      fc.property(anything, (header) => {
        const found = parseChallenges(header);
        const sizes = found.flatMap(({ scheme, parameters }) => [
          scheme,
          ...parameters.keys(),
          ...parameters.values(),
        ]);
        expect(sizes.reduce((sum, text) => sum + text.length, 0)).toBeLessThanOrEqual(header.length);
        expect(parseChallenges(written(found))).toEqual(found);
      }),
      { numRuns: 1500 },
    );
  });

  test('keeps the well-formed challenges that stand before whatever rubbish', () => {
    fc.assert(
      fc.property(wellFormed, anything, (challenges, rubbish) => {
        const found = parseChallenges(`${written(challenges)}, ${rubbish}`);
        // Rubbish may add parameters to the last challenge, and never change one that is there.
        for (const [index, { scheme, parameters }] of challenges.entries()) {
          expect(found[index]?.scheme).toBe(scheme);
          for (const [key, text] of parameters) expect(found[index]?.parameters.get(key)).toBe(text);
        }
      }),
      { numRuns: 500 },
    );
  });

  test('reads a challenge that came over the wire in several headers as it was meant', async () => {
    const headers: string[] = [];
    const server = await hostileServer({
      '*': (_request, response) => void response.writeHead(401, { 'www-authenticate': headers }).end(),
    });
    await fc.assert(
      fc.asyncProperty(wellFormed, async (challenges) => {
        headers.splice(0, headers.length, ...challenges.map((one) => written([one])));
        const answer = await fetch(server.origin);
        expect(parseChallenges(answer.headers.get('www-authenticate') ?? '')).toEqual(challenges);
      }),
      { numRuns: 60 },
    );
  });
});
