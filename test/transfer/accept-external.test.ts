import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Credential } from '../../src/credential.ts';
import { parseCredential, serializeCredential } from '../../src/credential-record.ts';
import { InvalidArgumentError } from '../../src/errors.ts';
import { Secret } from '../../src/secret.ts';
import { acceptExternalCredential } from '../../src/transfer/accept-external.ts';
import { sampleCredential } from '../support/homes/credential.ts';
import { HOSTILE_TEXTS, unprintableIn } from '../support/hostile-text.ts';
import '../support/fixed-seed.ts';

const RESOURCE = 'https://mcp.example/mcp';

class Refused extends InvalidArgumentError {}

function accepted(credential: Credential): Promise<Credential> {
  return acceptExternalCredential(credential, {
    reach: 'public',
    refuse: (why) => new Refused(`Refused: ${why}.`),
  });
}

/** All strings in a value, secrets included, by path. */
function stringsIn(value: unknown, path = ''): [path: string, text: string][] {
  if (value instanceof Secret) return [[path, value.reveal()]];
  if (typeof value === 'string') return [[path, value]];
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, inner]) => stringsIn(inner, `${path}.${name}`));
}

function numbersIn(value: unknown): number[] {
  if (typeof value === 'number') return [value];
  if (typeof value !== 'object' || value === null || value instanceof Secret) return [];
  return Object.values(value).flatMap(numbersIn);
}

/** The sample's JSON with another value at a path. */
function changed(path: readonly string[], value: unknown): Credential | undefined {
  const plain = JSON.parse(Buffer.from(serializeCredential(sampleCredential(RESOURCE))).toString()) as object;
  let at = plain as Record<string, unknown>;
  for (const name of path.slice(0, -1)) at = at[name] as Record<string, unknown>;
  at[path.at(-1) ?? ''] = value;
  try {
    return parseCredential(Buffer.from(JSON.stringify(plain)));
  } catch {
    return undefined;
  }
}

const TEXTS: readonly (readonly string[])[] = [
  ['resource'],
  ['account'],
  ['resourceParameter'],
  ['server', 'issuer'],
  ['server', 'tokenEndpoint'],
  ['server', 'revocationEndpoint'],
  ['server', 'reach'],
  ['server', 'signingAlgorithms'],
  ['client', 'clientId'],
  ['client', 'clientSecret'],
  ['client', 'privateKey'],
  ['client', 'keyId'],
  ['client', 'authMethod'],
  ['client', 'redirectUris'],
  ['client', 'source'],
  ['tokens', 'accessToken'],
  ['tokens', 'refreshToken'],
  ['tokens', 'tokenType'],
  ['tokens', 'obtainedBoot'],
  ['requestedScope'],
  ['grantedScope'],
  ['leniencies'],
  ['dpopKey'],
  ['imported'],
  ['received'],
  ['loginRequired'],
];
const TIMES: readonly (readonly string[])[] = [
  ['tokens', 'obtainedAt'],
  ['tokens', 'expiresAt'],
  ['client', 'clientSecretExpiresAt'],
  ['loggedInAt'],
  ['generation'],
  ['epoch'],
];

/** Checks that a credential is refused with a reason, or is clean. */
async function checkOutcome(credential: Credential | undefined): Promise<void> {
  if (credential === undefined) return;
  const result = await accepted(credential).catch((error: unknown) => error);
  if (result instanceof Error) {
    expect(result).toBeInstanceOf(Refused);
    expect(unprintableIn(result.message)).toEqual([]);
    return;
  }
  for (const [path, text] of stringsIn(result)) {
    expect([path, ...unprintableIn(text)]).toEqual([path]);
    expect([path, text.includes('\n')]).toEqual([path, false]);
  }
  for (const number of numbersIn(result)) expect(new Date(number).toISOString()).toMatch(/^\d{4}-/);
  expect(result).toMatchObject({ generation: 1, server: { reach: 'public' } });
  expect(Object.keys(result as object)).not.toContain('imported');
}

describe('a credential from elsewhere', () => {
  test('accepts a credential unchanged if a server could have issued it', async () => {
    const { server, ...sent } = sampleCredential(RESOURCE, {
      imported: { from: 'x', mode: 'move', at: 1, origin: 'o' },
      epoch: 12,
      generation: 40,
    });
    const credential = await accepted({ ...sent, server: { ...server, reach: 'anywhere' } });
    expect(credential).toMatchObject({
      resource: RESOURCE,
      client: sent.client,
      tokens: sent.tokens,
      grantedScope: 'read',
      generation: 1,
      server: { ...server, reach: 'public' },
    });
    expect([credential.epoch, credential.imported]).toEqual([undefined, undefined]);
  });

  test.each(
    TEXTS.flatMap((path) => HOSTILE_TEXTS.map(([name, text]) => [path.join('.'), name, text] as const)),
  )('refuses or cleans a credential with %s that holds %s', async (path, _name, text) => {
    for (const value of [text, `https://as.example/${text}`, [text], [`https://as.example/${text}`]])
      await checkOutcome(changed(path.split('.'), value));
  });

  test('refuses or cleans a credential whatever its fields hold', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...TEXTS, ...TIMES),
        fc.oneof(
          fc.string({ unit: 'binary' }),
          fc.webUrl({ withQueryParameters: true, withFragments: true }),
          fc.jsonValue(),
          fc.maxSafeInteger(),
          fc.array(fc.string({ unit: 'binary' })),
        ),
        (path, value) => checkOutcome(changed(path, value)),
      ),
      { numRuns: 1500 },
    );
  });

  test.each<[what: string, changes: Partial<Credential>, why: string]>([
    [
      'a token that holds a second header',
      { tokens: { ...sampleCredential(RESOURCE).tokens, accessToken: new Secret('AT\r\nX-Injected: yes') } },
      'its access token can be no token',
    ],
    [
      'a refresh token with a blank',
      { tokens: { ...sampleCredential(RESOURCE).tokens, refreshToken: new Secret('a b') } },
      'its refresh token can be no token',
    ],
    [
      'a token type that nobody knows',
      { tokens: { ...sampleCredential(RESOURCE).tokens, tokenType: 'mac' } },
      'its token is of type "mac"',
    ],
    [
      'tokens that are bound to a key that is missing',
      { tokens: { ...sampleCredential(RESOURCE).tokens, tokenType: 'DPoP' } },
      'its tokens are bound to a key that is not in it',
    ],
    ['a key that is none', { dpopKey: new Secret('a key') }, 'cannot be used'],
    [
      'a resource parameter of another server',
      { resourceParameter: 'https://other.example' },
      'of another server',
    ],
    [
      'a token endpoint on this machine',
      { server: { issuer: 'https://as.example', tokenEndpoint: 'http://127.0.0.1:9/token' } },
      'is on your own machine',
    ],
    ['a grant', { grant: { type: 'client_credentials' } }, 'a grant that never leaves its machine'],
    ['an end', { loginRequired: { reason: 'x', since: 1 } }, 'that login has ended'],
  ])('refuses a credential with %s', async (_what, changes, why) => {
    await expect(accepted(sampleCredential(RESOURCE, changes))).rejects.toThrow(why);
  });

  test('a credential cannot grant itself an unknown leniency or a life of more than ten years', async () => {
    const { tokens } = sampleCredential(RESOURCE);
    const credential = await accepted(
      sampleCredential(RESOURCE, {
        leniencies: ['private-addresses', 'everything'],
        grantedScope: 'read "quoted" write',
        tokens: { ...tokens, obtainedAt: Date.now() + 1e9, expiresAt: Number.MAX_SAFE_INTEGER },
      }),
    );
    expect(credential.leniencies).toEqual(['private-addresses']);
    expect(credential.grantedScope).toBe('read write');
    expect(credential.tokens.obtainedAt).toBeLessThanOrEqual(Date.now());
    expect(credential.tokens.expiresAt).toBeLessThanOrEqual(Date.now() + 315_360_000_000);
  });
});
