import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { refreshTokens } from '../../../src/oauth/token.ts';
import { Secret } from '../../../src/secret.ts';
import { hostileServer } from '../../support/hostile-server.ts';
import { ACCESS, checkFailure, damage, damaged, mutated, REFRESH } from './mutation.ts';

describe('the reader of token responses', () => {
  const good = {
    access_token: '{access}',
    token_type: 'Bearer',
    expires_in: 3600,
    refresh_token: '{access}',
    scope: 'a',
  };
  // What was sent may come back in any member, and must not be shown.
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
    ),
    fc.oneof(fc.double(), fc.bigInt().map(String), fc.double().map(String)),
    fc.string({ unit: 'binary' }),
    fc.string(),
  );
  const member = [...Object.keys(good), 'error', 'error_description', 'id_token', '__proto__'];

  test('yields a valid token with a sane life, or an error that shows nothing of it', async () => {
    const say = { status: 200, text: '' };
    const server = await hostileServer({
      '*': (_request, response) =>
        void response.writeHead(say.status, { 'content-type': 'application/json' }).end(say.text),
    });
    const as = { issuer: server.origin, tokenEndpoint: `${server.origin}/token` };
    const client = { clientId: 'c', authMethod: 'none', redirectUris: [], source: 'dynamic' } as const;
    const grant = { refreshToken: new Secret(REFRESH), resourceParameter: 'https://mcp.example/mcp' };
    const outcomes = { good: 0, bad: 0 };
    await fc.assert(
      fc.asyncProperty(
        mutated(member, values),
        fc.option(damage),
        fc.constantFrom(200, 200, 200, 400, 401, 500),
        async (change, harm, status) => {
          const whole = typeof change === 'string' ? change : JSON.stringify({ ...good, ...change });
          const text = harm === null ? whole : damaged(whole, harm);
          Object.assign(say, {
            status,
            text: text.replaceAll('{access}', ACCESS).replaceAll('{refresh}', REFRESH),
          });
          const before = Date.now();
          try {
            const { tokens, scope } = await refreshTokens(as, client, grant);
            outcomes.good += 1;
            expect(status).toBe(200);
            for (const token of [tokens.accessToken, tokens.refreshToken]) {
              expect(/^[!-~]{1,65536}$/.test(token?.reveal() ?? 'absent')).toBe(true);
            }
            expect(tokens.tokenType).toBe('Bearer');
            expect(tokens.obtainedAt).toBeGreaterThanOrEqual(before);
            const life = (tokens.expiresAt ?? tokens.obtainedAt + 1) - tokens.obtainedAt;
            expect(Number.isSafeInteger(life) && life >= 0 && life <= 315_360_000_000).toBe(true);
            expect(scope ?? '').toMatch(/^([!#-[\]-~]+( [!#-[\]-~]+)*)?$/);
          } catch (error) {
            checkFailure(error, status === 500 ? ['network'] : ['invalid-response', 'oauth-error']);
            outcomes.bad += 1;
          }
        },
      ),
      { numRuns: 500 },
    );
    expect(Math.min(outcomes.good, outcomes.bad)).toBeGreaterThan(5);
  });
});
