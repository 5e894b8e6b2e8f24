import assert from 'node:assert/strict';
import fc from 'fast-check';
import { bearerChallenge, type Challenge, parseChallenges } from '../../../src/oauth/discovery/challenge.ts';
import { answering } from '../answering.ts';
import { damage, damaged, hostileTexts } from '../inputs.ts';
import { feed, type Target } from '../target.ts';

/* `WWW-Authenticate` (RFC 9110 section 11.6.1, RFC 6750 section 3). */

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

/** Writes challenges by RFC 9110 section 11.6.1, with every value as a quoted string. */
function written(challenges: readonly Challenge[]): string {
  return challenges
    .map(({ scheme, parameters }) => {
      const list = Array.from(parameters, ([key, text]) => `${key}="${text.replace(/["\\]/g, '\\$&')}"`);
      return `${scheme} ${list.join(', ')}`.trim();
    })
    .join(', ');
}

const GOOD = [
  'Bearer resource_metadata="https://mcp.example/.well-known/oauth-protected-resource", scope="a b"',
  'DPoP algs="ES256", error="use_dpop_nonce", Bearer error="insufficient_scope", scope=read',
  'Basic realm="x", Negotiate YII==, Bearer',
];
const anything = fc.oneof(
  // The largest header that Node accepts.
  hostileTexts(GOOD, ['Bearer', ' ', '=', '"', '\\', ',', 'a', '\t', '==', 'é', 'scope="', 'error='], 16_384),
  fc.tuple(wellFormed, damage).map(([challenges, change]) => damaged(written(challenges), change)),
);

export const CHALLENGES: readonly Target[] = [
  {
    name: 'challenge',
    title: 'reads from a challenge only what its text contains, and reads its own output back unchanged',
    runs: 1500,
    open: () => ({
      property: feed(anything, (header) => {
        const found = parseChallenges(header);
        const sizes = found.flatMap(({ scheme, parameters }) => [
          scheme,
          ...parameters.keys(),
          ...parameters.values(),
        ]);
        assert.ok(sizes.reduce((sum, text) => sum + text.length, 0) <= header.length);
        // The written form may be longer than the input, and nothing beyond 16 KiB is parsed.
        const again = written(found);
        if (again.length <= 16_384) assert.deepEqual(parseChallenges(again), found);
        bearerChallenge(header);
      }),
    }),
  },
  {
    name: 'challenge-rubbish',
    title: 'keeps well-formed challenges when rubbish follows them',
    runs: 500,
    open: () => ({
      property: feed(fc.tuple(wellFormed, anything), ([challenges, rubbish]) => {
        const found = parseChallenges(`${written(challenges)}, ${rubbish}`);
        // Garbage may add parameters to the last challenge, but never changes an existing one.
        for (const [index, { scheme, parameters }] of challenges.entries()) {
          assert.equal(found[index]?.scheme, scheme);
          for (const [key, text] of parameters) assert.equal(found[index]?.parameters.get(key), text);
        }
      }),
    }),
  },
  {
    name: 'challenge-wire',
    title: 'reads a challenge that arrives in several headers as the server meant it',
    runs: 60,
    async open() {
      const headers: string[] = [];
      const server = await answering((_request, response) => {
        response.writeHead(401, { 'www-authenticate': headers }).end();
      });
      return {
        property: feed(wellFormed, async (challenges) => {
          headers.splice(0, headers.length, ...challenges.map((one) => written([one])));
          const answer = await fetch(server.origin);
          assert.deepEqual(parseChallenges(answer.headers.get('www-authenticate') ?? ''), challenges);
        }),
        close: server.close,
      };
    },
  },
];
