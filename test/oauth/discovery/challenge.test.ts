import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bearerChallenge, type Challenge, parseChallenges } from '../../../src/oauth/discovery/challenge.ts';
import '../../support/fixed-seed.ts';

/** The challenges as plain data, in order. */
function parsed(header: string) {
  return parseChallenges(header).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);
}

function bearer(...values: string[]) {
  const headers = new Headers();
  for (const value of values) headers.append('www-authenticate', value);
  return bearerChallenge(headers.get('www-authenticate'));
}

/** The token characters of RFC 9110 section 5.6.2. */
const TOKEN_CHARACTERS = Array.from(
  "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
);
const token = fc.string({ unit: fc.constantFrom(...TOKEN_CHARACTERS), minLength: 1, maxLength: 12 });
const token68 = fc
  .tuple(fc.base64String({ minLength: 4, maxLength: 24 }), fc.constantFrom('', '=', '=='))
  .map(([text, padding]) => `${text.replace(/=+$/, '')}${padding}`);
/** Characters that a quoted string may hold: tab, space, visible ASCII, and the bytes above. */
const quotable = fc.string({
  unit: fc.oneof(
    fc.constantFrom('"', '\\', ',', '=', ' ', '\t'),
    fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code)),
    fc.integer({ min: 0x80, max: 0xff }).map((code) => String.fromCharCode(code)),
  ),
  maxLength: 20,
});

interface Written {
  readonly text: string;
  readonly challenge: { scheme: string; parameters: [string, string][] };
}

const parameter = fc
  .record({
    name: token,
    value: fc.oneof(
      token.map((value) => ({ value, text: value })),
      quotable.map((value) => ({ value, text: `"${value.replace(/["\\]/g, '\\$&')}"` })),
    ),
    around: fc.constantFrom('', ' ', '\t'),
  })
  .map(({ name, value, around }) => ({
    name: name.toLowerCase(),
    value: value.value,
    text: `${name}${around}=${around}${value.text}`,
  }));

const challenge: fc.Arbitrary<Written> = fc.oneof(
  token.map((scheme) => ({
    text: scheme,
    challenge: { scheme: scheme.toLowerCase(), parameters: [] },
  })),
  fc.tuple(token, token68).map(([scheme, opaque]) => ({
    text: `${scheme} ${opaque}`,
    challenge: { scheme: scheme.toLowerCase(), parameters: [] },
  })),
  fc
    .tuple(token, fc.uniqueArray(parameter, { selector: ({ name }) => name, minLength: 1, maxLength: 5 }))
    .map(([scheme, parameters]) => ({
      text: `${scheme} ${parameters.map(({ text }) => text).join(', ')}`,
      challenge: {
        scheme: scheme.toLowerCase(),
        parameters: parameters.map(({ name, value }): [string, string] => [name, value]),
      },
    })),
);

function plain({ scheme, parameters }: Challenge) {
  return { scheme, parameters: [...parameters] };
}

describe('a WWW-Authenticate header', () => {
  test('reads back any number of challenges of any kind as they were written', () => {
    fc.assert(
      fc.property(
        fc.array(challenge, { minLength: 1, maxLength: 5 }),
        fc.constantFrom(', ', ',', ' , ', ',,'),
        (written, separator) => {
          const header = written.map(({ text }) => text).join(separator);
          expect(parseChallenges(header).map(plain)).toEqual(written.map(({ challenge }) => challenge));
        },
      ),
      { numRuns: 500 },
    );
  });

  test('reads several schemes, each with its own parameters', () => {
    expect(
      parsed(
        'Basic realm="simple", Negotiate YIIB+/==, DPoP algs="ES256 RS256", Bearer realm="a, b", scope=tools',
      ),
    ).toEqual([
      ['basic', { realm: 'simple' }],
      ['negotiate', {}],
      ['dpop', { algs: 'ES256 RS256' }],
      ['bearer', { realm: 'a, b', scope: 'tools' }],
    ]);
  });

  test.each([
    ['Bearer', [['bearer', {}]]],
    ['bEaReR ReALm="X"', [['bearer', { realm: 'X' }]]],
    [String.raw`Bearer realm="a \"b\" \\ c\d"`, [['bearer', { realm: String.raw`a "b" \ cd` }]]],
    ['Bearer realm="", scope=""', [['bearer', { realm: '', scope: '' }]]],
    ['Bearer scope = "a" ,realm\t=\tb', [['bearer', { scope: 'a', realm: 'b' }]]],
    ['Bearer scope="first", scope="second"', [['bearer', { scope: 'first' }]]],
    [', ,Bearer scope="a",, ,', [['bearer', { scope: 'a' }]]],
  ])('reads %j as %j', (header, expected) => {
    expect(parsed(header)).toEqual(expected);
  });

  test.each([
    ['', []],
    [', ,\t,', []],
    ['="x"', []],
    ['realm="no scheme", Bearer scope="a"', [['bearer', { scope: 'a' }]]],
    ['Bearer error=, scope="a"', [['bearer', { scope: 'a' }]]],
    [
      'Bearer resource_metadata=https://mcp.example/m?a=b, scope="a"',
      [['bearer', { resource_metadata: 'https://mcp.example/m?a=b', scope: 'a' }]],
    ],
    [
      'Basic realm="x" Bearer scope="a"',
      [
        ['basic', { realm: 'x' }],
        ['bearer', { scope: 'a' }],
      ],
    ],
    [
      'Bearer scope="a", realm="never closed, error="b"',
      [['bearer', { scope: 'a', realm: 'never closed, error=' }]],
    ],
    ['Bearer scope="a", realm="never closed', [['bearer', { scope: 'a' }]]],
    [String.raw`Bearer scope="a", realm="ends in a backslash\"`, [['bearer', { scope: 'a' }]]],
    ['<html>, Bearer scope="a"', [['bearer', { scope: 'a' }]]],
  ])('reads %j, losing only the damaged part', (header, expected) => {
    expect(parsed(header).filter(([scheme]) => scheme !== 'b')).toEqual(expected);
  });

  test('never throws on any bytes, and yields only tokens as schemes and names', () => {
    const isToken = (text: string) =>
      Array.from(text).every((character) => TOKEN_CHARACTERS.includes(character));
    const pieces = fc.constantFrom(
      'Bearer ',
      'scope',
      '=',
      '"',
      '\\',
      ',',
      ' ',
      '==',
      'a',
      '\0',
      '\u{1f511}',
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ unit: 'binary' }),
          fc.array(pieces, { maxLength: 60 }).map((list) => list.join('')),
        ),
        (header) => {
          for (const { scheme, parameters } of parseChallenges(header)) {
            expect(isToken(scheme) && scheme !== '').toBe(true);
            for (const name of parameters.keys()) expect(isToken(name) && name !== '').toBe(true);
          }
        },
      ),
      { numRuns: 2000 },
    );
  });

  test('never throws on a header with one byte cut or changed', () => {
    fc.assert(
      fc.property(
        fc.array(challenge, { minLength: 1, maxLength: 3 }),
        fc.nat(),
        fc.string({ maxLength: 1 }),
        (written, at, replacement) => {
          const header = written.map(({ text }) => text).join(', ');
          const index = at % header.length;
          parseChallenges(header.slice(0, index));
          parseChallenges(`${header.slice(0, index)}${replacement}${header.slice(index + 1)}`);
        },
      ),
    );
  });

  // Without the limit, or with a pattern that backtracks, these cases would never end.
  test.each([
    '"',
    '\\"',
    'a',
    'a ',
    'a=',
    'a="',
    '=',
    ' ',
    ',',
    'Bearer ',
    'a="b\\',
    'a=b, ',
    '\t=',
    'a a= ',
  ])('parses ten million bytes of %j, of which it reads 16 KiB', (piece) => {
    const header = piece.repeat(10_000_000 / piece.length);
    expect(parseChallenges(header)).toEqual(parseChallenges(header.slice(0, 16 * 1024)));
  });
});

describe('the Bearer challenge', () => {
  test('finds the Bearer challenge among other schemes, in one header or in several', () => {
    const expected = { resourceMetadata: 'https://mcp.example/meta', scope: 'a b', error: 'invalid_token' };
    const text = 'Bearer error="invalid_token", scope="a b", resource_metadata="https://mcp.example/meta"';
    expect(bearer(`Basic realm="x", ${text}, DPoP algs="ES256"`)).toEqual(expected);
    expect(bearer('Basic realm="x"', text, 'DPoP algs="ES256"')).toEqual(expected);
  });

  test('prefers the Bearer challenge that names the metadata', () => {
    expect(bearer('Bearer scope="a", Bearer resource_metadata="https://mcp.example/meta"')).toEqual({
      resourceMetadata: 'https://mcp.example/meta',
      scope: undefined,
      error: undefined,
    });
  });

  test('does not take the parameters of another scheme', () => {
    expect(bearer('Bearer scope="a", Basic resource_metadata="https://evil.example"')).toEqual({
      resourceMetadata: undefined,
      scope: 'a',
      error: undefined,
    });
  });

  test('finds no Bearer challenge without a header or the scheme', () => {
    expect(bearerChallenge(null)).toBeUndefined();
    expect(bearer('Basic realm="Bearer scope=a"')).toBeUndefined();
  });
});
