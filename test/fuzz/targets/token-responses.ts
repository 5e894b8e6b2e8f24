import assert from 'node:assert/strict';
import fc from 'fast-check';
import { refreshTokens } from '../../../src/oauth/tokens/token.ts';
import { Secret } from '../../../src/secret.ts';
import { answering } from '../answering.ts';
import { ACCESS, damage, damaged, mutated, REFRESH } from '../inputs.ts';
import { checkFailure, feed, type Target } from '../target.ts';

/* Token and error responses (RFC 6749 sections 5.1 and 5.2), with `Retry-After` (RFC 9110 section 10.2.3). */

const GOOD = {
  access_token: '{access}',
  token_type: 'Bearer',
  expires_in: 3600,
  refresh_token: '{access}',
  scope: 'a',
};
// Sent secrets may come back in any member, and must not be shown.
const values = fc.oneof(
  fc.constantFrom(
    '{refresh}',
    '{refresh}\n',
    'No {refresh}é',
    '',
    null,
    true,
    'bearer',
    'mac',
    'DPoP',
    [],
    {},
    'invalid_grant',
    'access_denied',
    'slow_down',
  ),
  fc.oneof(fc.double(), fc.bigInt().map(String), fc.double().map(String)),
  fc.string({ unit: 'binary' }),
  fc.string(),
);
const members = [...Object.keys(GOOD), 'error', 'error_description', 'error_uri', 'id_token', '__proto__'];

const grant = { refreshToken: new Secret(REFRESH), resourceParameter: 'https://mcp.example/mcp' };
const client = { clientId: 'c', authMethod: 'none', redirectUris: [], source: 'dynamic' } as const;

/** Texts that Node lets a server send in a header. */
const headerText = fc.oneof(
  fc.nat().map(String),
  fc.bigInt().map(String),
  fc.date({ noInvalidDate: true }).map((date) => date.toUTCString()),
  fc
    .array(
      fc.constantFrom(
        'Mon,',
        ' ',
        '31',
        'Feb',
        '2099',
        '-1',
        '1e9',
        '25:61:61',
        'GMT',
        '+',
        '0x10',
        ',',
        ';',
        'é',
      ),
      { maxLength: 12 },
    )
    .map((words) => words.join(' ')),
  fc.constantFrom('9'.repeat(4000), `Mon, ${'1 '.repeat(4000)}GMT`),
);

export const TOKEN_RESPONSES: readonly Target[] = [
  {
    name: 'token-response',
    title: 'reads a valid token with a plausible lifetime from a token response, or fails without quoting it',
    runs: 500,
    async open() {
      const say = { status: 200, text: '' };
      const server = await answering((_request, response) => {
        response.writeHead(say.status, { 'content-type': 'application/json' }).end(say.text);
      });
      const as = { issuer: server.origin, tokenEndpoint: `${server.origin}/token` };
      const outcomes = { good: 0, bad: 0 };
      const answers = fc.record({
        change: mutated(members, values),
        harm: fc.option(damage),
        status: fc.constantFrom(200, 200, 200, 400, 401, 500),
      });
      return {
        property: feed(answers, async ({ change, harm, status }) => {
          const whole = typeof change === 'string' ? change : JSON.stringify({ ...GOOD, ...change });
          const text = harm === null ? whole : damaged(whole, harm);
          say.status = status;
          say.text = text.replaceAll('{access}', ACCESS).replaceAll('{refresh}', REFRESH);
          const before = Date.now();
          try {
            const { tokens, scope } = await refreshTokens(as, client, grant);
            outcomes.good += 1;
            assert.equal(status, 200);
            for (const token of [tokens.accessToken, tokens.refreshToken]) {
              assert.ok(/^[!-~]{1,65536}$/.test(token?.reveal() ?? 'absent'));
            }
            assert.equal(tokens.tokenType, 'Bearer');
            assert.ok(tokens.obtainedAt >= before);
            const life = (tokens.expiresAt ?? tokens.obtainedAt + 1) - tokens.obtainedAt;
            assert.ok(Number.isSafeInteger(life) && life >= 0 && life <= 315_360_000_000);
            assert.match(scope ?? '', /^([!#-[\]-~]+( [!#-[\]-~]+)*)?$/);
          } catch (error) {
            // A 401 without an OAuth error may come from a gateway.
            const isAway = status === 500 || status === 401;
            if (isAway) checkFailure(error, ['network', 'invalid-response', 'oauth-error']);
            else checkFailure(error, ['invalid-response', 'oauth-error']);
            outcomes.bad += 1;
          }
        }),
        reached: () => assert.ok(Math.min(outcomes.good, outcomes.bad) > 5),
        close: server.close,
      };
    },
  },
  {
    name: 'retry-after',
    title: 'Retry-After yields a wait between nothing and an hour, or none',
    async open() {
      const say = { status: 503, wait: '' };
      const server = await answering((_request, response) => {
        response.writeHead(say.status, { 'retry-after': say.wait }).end();
      });
      const as = { issuer: server.origin, tokenEndpoint: `${server.origin}/token` };
      return {
        property: feed(fc.tuple(headerText, fc.constantFrom(503, 429)), async ([wait, status]) => {
          Object.assign(say, { status, wait });
          const error: unknown = await refreshTokens(as, client, grant).then(
            () => assert.fail('a failure yielded tokens'),
            (reason: unknown) => reason,
          );
          checkFailure(error, ['network']);
          const { retryAfterMs = 0 } = error as { retryAfterMs?: number };
          assert.ok(Number.isFinite(retryAfterMs) && retryAfterMs >= 0 && retryAfterMs <= 3_600_000);
        }),
        close: server.close,
      };
    },
  },
];
