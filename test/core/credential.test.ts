import { inspect } from 'node:util';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { accountLabel, type Credential, canonicalResource, recordId } from '../../src/credential.ts';
import { parseCredential, serializeCredential } from '../../src/credential-record.ts';
import { InvalidArgumentError, RecordDamagedError, RecordNewerError } from '../../src/errors.ts';
import { quote } from '../../src/quote.ts';
import { Secret } from '../../src/secret.ts';
import '../support/fixed-seed.ts';

const credential: Credential = {
  resource: 'https://mcp.notion.com/sse',
  account: 'default',
  resourceParameter: 'https://mcp.notion.com/',
  generation: 3,
  server: {
    issuer: 'https://mcp.notion.com',
    tokenEndpoint: 'https://mcp.notion.com/token',
    revocationEndpoint: 'https://mcp.notion.com/revoke',
  },
  client: {
    clientId: 'a client',
    clientSecret: new Secret('client-secret'),
    clientSecretExpiresAt: 1_900_000_000_000,
    authMethod: 'client_secret_basic',
    redirectUris: ['http://127.0.0.1:4321/callback'],
    source: 'dynamic',
  },
  tokens: {
    accessToken: new Secret('access-token'),
    tokenType: 'Bearer',
    refreshToken: new Secret('refresh-token'),
    obtainedAt: 1_800_000_000_000,
    expiresAt: 1_800_000_003_600,
  },
  requestedScope: 'read write',
  grantedScope: 'read',
  loggedInAt: 1_800_000_000_000,
};

describe('a credential', () => {
  test('survives being stored and loaded with all its fields', () => {
    const loaded = parseCredential(serializeCredential(credential));
    expect(loaded.client.clientSecret?.reveal()).toBe('client-secret');
    expect(loaded.tokens.accessToken.reveal()).toBe('access-token');
    expect(loaded.tokens.refreshToken?.reveal()).toBe('refresh-token');
    expect(JSON.parse(JSON.stringify(loaded))).toEqual(JSON.parse(JSON.stringify(credential)));
  });

  test('shows no secret when it is printed, inspected or turned into JSON', () => {
    const shown = `${inspect(credential, { depth: 9 })} ${JSON.stringify(credential)} ${String(credential.tokens.accessToken)}`;
    expect(shown).not.toMatch(/client-secret|access-token|refresh-token/);
  });

  test('keeps members of a newer version when its tokens change, and hides them when printed', () => {
    const plain = JSON.parse(Buffer.from(serializeCredential(credential)).toString()) as Record<
      string,
      object
    >;
    const newer = {
      ...plain,
      later: { a: [1] },
      ['__proto__x']: 1,
      server: { ...plain['server'], laterEndpoint: 'https://x.example' },
      tokens: { ...plain['tokens'], laterToken: 'a later secret' },
      loginRequired: { reason: 'x', since: 1, laterReason: 'y' },
    };
    const loaded = parseCredential(Buffer.from(JSON.stringify(newer)));
    expect(inspect(loaded, { depth: 9 }) + JSON.stringify(loaded)).not.toContain('a later secret');
    const written = (of: Credential) => JSON.parse(Buffer.from(serializeCredential(of)).toString()) as object;
    expect(written(loaded)).toEqual(newer);
    const tokens = { ...credential.tokens, accessToken: new Secret('next') };
    const { loginRequired: _ended, ...after } = newer;
    expect(written({ ...loaded, tokens, loginRequired: undefined })).toEqual({
      ...after,
      tokens: { ...newer.tokens, accessToken: 'next' },
    });
    expect(parseCredential(serializeCredential(loaded))).toEqual(loaded);
  });

  test.each([
    ['an unknown client authentication', { client: { authMethod: 'tls_client_auth' } }],
    ['an unknown grant', { grant: { type: 'a later grant' } }],
    ['an unknown way that it came here', { received: { mode: 'a later way', at: 1 } }],
  ])('treats a credential with %s as newer, not as damaged', (_what, change) => {
    const plain = JSON.parse(Buffer.from(serializeCredential(credential)).toString()) as Record<
      string,
      object
    >;
    for (const [name, value] of Object.entries(change)) plain[name] = { ...plain[name], ...value };
    expect(() => parseCredential(Buffer.from(JSON.stringify(plain)))).toThrow(RecordNewerError);
  });

  test('treats a credential of a newer schema as newer, not as damaged', () => {
    expect(() => parseCredential(Buffer.from('{"v":2}'))).toThrow(RecordNewerError);
  });

  test('treats authentic bytes that are no credential as damaged, and quotes nothing of them', () => {
    for (const text of ['', 'access-token', '[]', 'null', '{"v":1,"tokens":"access-token"}']) {
      let caught: unknown;
      try {
        parseCredential(Buffer.from(text));
      } catch (error) {
        caught = error;
      }
      expect(caught).toBeInstanceOf(RecordDamagedError);
      expect(inspect(caught)).not.toContain('access-token');
    }
  });
});

describe('canonicalResource', () => {
  test.each([
    ['https://MCP.Example.com', 'https://mcp.example.com'],
    ['https://mcp.example.com/', 'https://mcp.example.com'],
    ['HTTPS://mcp.example.com:443/mcp', 'https://mcp.example.com/mcp'],
    ['https://mcp.example.com/mcp/', 'https://mcp.example.com/mcp/'],
    ['https://mcp.example.com/Mcp?team=A', 'https://mcp.example.com/Mcp?team=A'],
    ['http://127.0.0.1:8080/mcp', 'http://127.0.0.1:8080/mcp'],
    ['http://[::1]:8080/', 'http://[::1]:8080'],
    ['http://localhost/mcp', 'http://localhost/mcp'],
  ])('turns %s into %s', (input, canonical) => {
    expect(canonicalResource(input)).toBe(canonical);
  });

  test.each([
    'notion',
    '',
    'ftp://mcp.example.com',
    'javascript:alert(1)',
    'https://user:hunter2@mcp.example.com',
    'https://mcp.example.com/#part',
    'https://mcp.example.com/#',
    'http://mcp.example.com/mcp',
    'http://127.0.0.1.example.com/',
  ])('refuses %j, with a hint and without a password', (input) => {
    let caught: unknown;
    try {
      canonicalResource(input);
    } catch (error) {
      caught = error;
    }
    expect(caught).toBeInstanceOf(InvalidArgumentError);
    expect((caught as InvalidArgumentError).hint).toBeTruthy();
    expect((caught as InvalidArgumentError).message).not.toContain('hunter2');
  });

  test('leaves a canonical resource unchanged', () => {
    fc.assert(
      fc.property(fc.webUrl({ withQueryParameters: true }), (url) => {
        fc.pre(url.startsWith('https:'));
        const once = canonicalResource(url);
        expect(canonicalResource(once)).toBe(once);
      }),
    );
  });
});

describe('the record id', () => {
  test('computes the record id as base64url(SHA-256(resource, 0x00, account))', () => {
    // printf 'https://mcp.notion.com/sse\0default' | openssl dgst -sha256 -binary | basenc --base64url
    expect(recordId('https://mcp.notion.com/sse', 'default')).toBe(
      'XmBPi8wUTRc-Fh-NwnQn5z8N-qH26fjwHzmwQGfo8bs',
    );
  });

  test('gives different record ids to different accounts and resources', () => {
    expect(recordId('https://a.example', 'b')).not.toBe(recordId('https://a.example', 'c'));
    expect(recordId('https://a.example', 'b')).not.toBe(recordId('https://b.example', 'b'));
  });
});

describe('an account label', () => {
  test('names the account "default" unless given', () => {
    expect(accountLabel(undefined)).toBe('default');
    expect(accountLabel('work')).toBe('work');
  });

  test.each(['', 'a\nb', 'x'.repeat(129)])('refuses the account label %j', (label) => {
    expect(() => accountLabel(label)).toThrow(InvalidArgumentError);
  });
});

describe('quoted foreign text', () => {
  test('removes control and formatting characters from quoted text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(quote(text)).not.toMatch(/[\p{Cc}\p{Cf}]/u);
      }),
    );
  });

  test('limits the length of quoted text', () => {
    expect(quote('a'.repeat(10_000)).length).toBeLessThan(210);
  });
});
