import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { ClientRegistration } from '../../../src/credential.ts';
import {
  CallbackRejectedError,
  InvalidArgumentError,
  InvalidResponseError,
  LoginDeniedError,
  OAuthError,
} from '../../../src/errors.ts';
import {
  type AuthorizationRequest,
  belongsTo,
  createAuthorizationRequest,
  readAuthorizationResponse,
} from '../../../src/oauth/authorization/authorization.ts';
import type { Discovery, ServerMetadata } from '../../../src/oauth/discovery/discovery.ts';
import { discoveryOf, metadataOf } from '../../support/servers/metadata.ts';
import '../../support/fixed-seed.ts';

const ISSUER = 'https://as.example';
const REDIRECT = 'http://127.0.0.1:4000/callback';
const CLIENT: ClientRegistration = {
  clientId: 'a client/1',
  authMethod: 'none',
  redirectUris: [REDIRECT],
  source: 'dynamic',
};

function discovered(
  changes: Partial<Omit<Discovery, 'server'>> = {},
  server: Partial<ServerMetadata> = {},
): Discovery {
  return discoveryOf(metadataOf(ISSUER, server), changes);
}

async function sent(discovery: Discovery, scopes?: readonly string[]): Promise<URLSearchParams> {
  const { url } = createAuthorizationRequest(discovery, CLIENT, REDIRECT, { scopes });
  return new URL(url).searchParams;
}

async function scopeSent(discovery: Discovery, scopes?: readonly string[]): Promise<string | null> {
  return (await sent(discovery, scopes)).get('scope');
}

describe('the authorization request', () => {
  test('names the client, the redirect URI and the code flow', async () => {
    const { url } = createAuthorizationRequest(discovered(), CLIENT, REDIRECT);
    expect(url.startsWith(`${ISSUER}/authorize?`)).toBe(true);
    expect(Object.fromEntries(new URL(url).searchParams)).toMatchObject({
      response_type: 'code',
      client_id: CLIENT.clientId,
      redirect_uri: REDIRECT,
    });
  });

  test('sends the SHA-256 hash of the verifier as the challenge, never the verifier', async () => {
    const request = createAuthorizationRequest(discovered(), CLIENT, REDIRECT);
    const { searchParams } = new URL(request.url);
    const hash = createHash('sha256').update(request.codeVerifier, 'ascii').digest('base64url');
    expect(searchParams.get('code_challenge')).toBe(hash);
    expect(searchParams.get('code_challenge_method')).toBe('S256');
    // RFC 7636 section 4.1.
    expect(/^[A-Za-z0-9._~-]{43,128}$/.test(request.codeVerifier)).toBe(true);
    expect(request.url.includes(request.codeVerifier)).toBe(false);
  });

  test('makes a new state and verifier of 256 bits for each request', async () => {
    const requests = Array.from({ length: 50 }, () =>
      createAuthorizationRequest(discovered(), CLIENT, REDIRECT),
    );
    expect(new Set(requests.map(({ state }) => state)).size).toBe(50);
    expect(new Set(requests.map(({ codeVerifier }) => codeVerifier)).size).toBe(50);
    for (const { state, url } of requests) {
      expect(Buffer.from(state, 'base64url')).toHaveLength(32);
      expect(new URL(url).searchParams.get('state')).toBe(state);
    }
  });

  test('records the issuer that its response must come from', async () => {
    const request = createAuthorizationRequest(
      discovered({}, { issuer: `${ISSUER}/Tenant/`, issParameterSupported: true }),
      CLIENT,
      REDIRECT,
    );
    expect(request).toMatchObject({ issuer: `${ISSUER}/Tenant/`, issParameterSupported: true });
  });

  test.each([
    'https://mcp.example',
    'https://mcp.example/',
    'https://MCP.example:443/mcp/',
    'https://mcp.example/%7euser?a=b&c=d+e%20f',
  ])('sends %s as the resource byte for byte', async (resourceParameter) => {
    expect((await sent(discovered({ resourceParameter }))).getAll('resource')).toEqual([resourceParameter]);
  });

  test('keeps the query of the authorization endpoint, in its order', async () => {
    const OURS = new Set([...(await sent(discovered({ resourceScopes: ['a'] }))).keys(), 'prompt']);
    const pair = fc.tuple(
      fc.string({ minLength: 1 }).filter((name) => !OURS.has(name)),
      fc.string(),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(pair, { maxLength: 6 }), async (pairs) => {
        const authorizationEndpoint = `${ISSUER}/authorize?${new URLSearchParams(pairs).toString()}`;
        const query = await sent(discovered({}, { authorizationEndpoint }));
        expect([...query].filter(([name]) => !OURS.has(name))).toEqual(pairs);
        expect(query.get('response_type')).toBe('code');
      }),
    );
  });

  test('overrides parameters of the endpoint that carry our names', async () => {
    const authorizationEndpoint = `${ISSUER}/authorize?state=x&state=y&code_challenge_method=plain&resource=z&redirect_uri=w`;
    const query = await sent(discovered({}, { authorizationEndpoint }));
    expect(query.getAll('code_challenge_method')).toEqual(['S256']);
    expect(query.getAll('resource')).toEqual(['https://mcp.example/mcp']);
    expect(query.getAll('redirect_uri')).toEqual([REDIRECT]);
    expect(query.getAll('state')).toHaveLength(1);
    expect(query.get('state')).not.toBe('x');
  });
});

describe('the scopes asked for', () => {
  test('asks for the scopes of the challenge', async () => {
    const discovery = discovered({ challengedScope: 'files:read files:write', resourceScopes: ['all'] });
    expect(await scopeSent(discovery)).toBe('files:read files:write');
    expect(createAuthorizationRequest(discovery, CLIENT, REDIRECT).requestedScope).toBe(
      'files:read files:write',
    );
  });

  test('asks for all scopes that the resource publishes when the challenge names none', async () => {
    const discovery = discovered({ resourceScopes: ['one', 'two', 'one'] }, { scopesSupported: ['other'] });
    expect(await scopeSent(discovery)).toBe('one two');
  });

  test('asks for no scopes when neither challenge nor resource names any', async () => {
    const discovery = discovered({}, { scopesSupported: ['admin', 'everything'] });
    expect(await scopeSent(discovery)).toBeNull();
    expect(createAuthorizationRequest(discovery, CLIENT, REDIRECT).requestedScope).toBeUndefined();
  });

  test('asks for the scopes that the caller chose, before all others', async () => {
    const discovery = discovered({ challengedScope: 'files:write', resourceScopes: ['all'] });
    expect(await scopeSent(discovery, ['files:read'])).toBe('files:read');
    expect(await scopeSent(discovery, [])).toBeNull();
  });

  test.each(['two words', '', 'quote"', 'back\\slash', 'ünicode', 'new\nline', 'x'.repeat(257)])(
    'never asks for the scope %j: an error from the caller, left out from a server',
    async (hostile) => {
      await expect(sent(discovered(), ['good', hostile])).rejects.toThrow(InvalidArgumentError);
      expect(await scopeSent(discovered({ resourceScopes: ['good', hostile, 'fine'] }))).toBe('good fine');
    },
  );

  test('sends only valid RFC 6749 scopes from any hostile list', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.string({ unit: 'binary' })), fc.boolean(), async (list, challenged) => {
        const found = await scopeSent(
          discovered(challenged ? { challengedScope: list.join(' ') } : { resourceScopes: list }),
        );
        expect(found === null || /^[\x21\x23-\x5b\x5d-\x7e]+( [\x21\x23-\x5b\x5d-\x7e]+)*$/.test(found)).toBe(
          true,
        );
      }),
    );
  });

  test('refuses a server’s list of scopes that fits no URL, unless the caller chooses from it', async () => {
    const resourceScopes = Array.from({ length: 1000 }, (_, index) => `scope-${index}-${'x'.repeat(200)}`);
    await expect(sent(discovered({ resourceScopes }))).rejects.toThrow(InvalidResponseError);
    expect(await scopeSent(discovered({ resourceScopes }), ['scope-1'])).toBe('scope-1');
  });
});

describe('offline access', () => {
  const LISTED = { scopesSupported: ['openid', 'offline_access'] };

  test('asks for offline_access with consent when the authorization server lists it', async () => {
    for (const [changes, chosen, scope] of [
      [{}, undefined, 'offline_access'],
      [{ challengedScope: 'read' }, undefined, 'read offline_access'],
      [{ resourceScopes: ['offline_access', 'read'] }, undefined, 'offline_access read'],
      [{ resourceScopes: ['read'] }, ['write'], 'write offline_access'],
    ] as const) {
      const query = await sent(discovered(changes, LISTED), chosen);
      expect(query.get('scope')).toBe(scope);
      expect(query.get('prompt')).toBe('consent');
    }
  });

  test('does not ask for offline_access when the authorization server lists only other scopes', async () => {
    const server = { scopesSupported: ['openid', 'read'] };
    for (const changes of [
      { resourceScopes: ['read', 'offline_access'] },
      { challengedScope: 'read offline_access' },
    ]) {
      const query = await sent(discovered(changes, server));
      expect(query.get('scope')).toBe('read');
      expect(query.has('prompt')).toBe(false);
    }
  });

  test('does not add offline_access when the authorization server lists no scopes', async () => {
    const query = await sent(discovered({ resourceScopes: ['read'] }));
    expect(query.get('scope')).toBe('read');
    expect(query.has('prompt')).toBe(false);
  });

  test('asks for offline_access when the caller chose it', async () => {
    const query = await sent(discovered({}, { scopesSupported: ['read'] }), ['offline_access']);
    expect(query.get('scope')).toBe('offline_access');
    expect(query.get('prompt')).toBe('consent');
  });
});

describe('the authorization response', () => {
  const REQUEST: AuthorizationRequest = {
    url: `${ISSUER}/authorize`,
    state: 'the-state',
    codeVerifier: 'v'.repeat(43),
    issuer: ISSUER,
    issParameterSupported: false,
    requestedScope: undefined,
  };
  const ADVERTISED = { ...REQUEST, issParameterSupported: true };
  const read = (parameters: string | Record<string, string>, request = REQUEST) =>
    readAuthorizationResponse(request, new URLSearchParams(parameters));
  const rejection = (parameters: string | Record<string, string>, request = REQUEST): Error => {
    try {
      read(parameters, request);
    } catch (error) {
      if (error instanceof CallbackRejectedError) return error;
      throw error;
    }
    throw new Error('It was accepted.');
  };

  test('yields the code when the state matches', () => {
    expect(read({ code: 'the code/+', state: 'the-state' })).toBe('the code/+');
    expect(belongsTo(REQUEST, new URLSearchParams({ state: 'the-state' }))).toBe(true);
  });

  test.each(['', 'state=', 'state=other', 'state=the-state%20', 'state=The-state', 'state=the-stat'])(
    'rejects a response with %j in place of the state',
    (state) => {
      rejection(`code=x&${state}`);
      expect(belongsTo(REQUEST, new URLSearchParams(state))).toBe(false);
    },
  );

  test('matches a response to the request with exactly its state', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (state) => {
        expect(belongsTo(REQUEST, new URLSearchParams({ state }))).toBe(state === REQUEST.state);
      }),
    );
  });

  test('accepts a response with or without the issuer when the server does not promise it', () => {
    expect(read({ code: 'x', state: 'the-state' })).toBe('x');
    expect(read({ code: 'x', state: 'the-state', iss: ISSUER })).toBe('x');
    expect(read({ code: 'x', state: 'the-state', iss: ISSUER }, ADVERTISED)).toBe('x');
  });

  test('rejects a response without the issuer when the server promises it', () => {
    expect(rejection({ code: 'x', state: 'the-state' }, ADVERTISED).message).toContain('lacks the issuer');
  });

  test.each([
    'https://evil.example',
    '',
    'https://AS.example',
    'HTTPS://as.example',
    'https://as.example/',
    'https://as.example:443',
    'https://as.example%2f',
    'https://as.%65xample',
    ' https://as.example',
  ])('rejects a response from %j, whether or not the issuer was promised', (iss) => {
    for (const request of [REQUEST, ADVERTISED]) {
      expect(rejection({ code: 'x', state: 'the-state', iss }, request).message).toContain('another issuer');
    }
  });

  test('reports that access was denied', () => {
    const denied = () =>
      read({ error: 'access_denied', error_description: 'No,\u001b[31m thanks', state: 'the-state' });
    expect(denied).toThrow(LoginDeniedError);
    expect(denied).toThrow('"No,\\u{1b}[31m thanks"');
  });

  test('reports any other error with the code that a program can act on', () => {
    const failed = () =>
      read({ error: 'invalid_scope', error_description: 'x'.repeat(5000), state: 'the-state' });
    expect(failed).toThrow(OAuthError);
    try {
      failed();
    } catch (error) {
      expect(error).toMatchObject({ error: 'invalid_scope' });
      expect((error as Error).message.length).toBeLessThan(400);
    }
  });

  test.each(['', 'bad\ncode', 'x'.repeat(65), '"'])(
    'replaces the error code %j by unknown_error',
    (error) => {
      try {
        read({ error, state: 'the-state' });
        expect.unreachable();
      } catch (thrown) {
        expect(thrown).toBeInstanceOf(OAuthError);
        expect(thrown).toMatchObject({ error: 'unknown_error' });
      }
    },
  );

  test('shows and obeys no error before state and issuer are checked', () => {
    const said = { error: 'access_denied', error_description: 'call 555-MARKER' };
    for (const { message } of [
      rejection({ ...said, state: 'other' }),
      rejection(said),
      rejection({ ...said, state: 'the-state' }, ADVERTISED),
      rejection({ ...said, state: 'the-state', iss: 'https://evil.example' }),
    ]) {
      expect(message).not.toMatch(/MARKER|access_denied/);
    }
  });

  test('treats a response as an error even when it also holds a code', () => {
    expect(() => read({ code: 'x', error: 'access_denied', state: 'the-state' })).toThrow(LoginDeniedError);
  });

  test.each(['state', 'code', 'iss', 'error', 'error_description'])(
    'rejects a response with %s twice',
    (name) => {
      const parameters = { state: 'the-state', code: 'x', iss: ISSUER };
      const once = new URLSearchParams({ [name]: 'x', ...parameters }).toString();
      expect(rejection(`${once}&${name}=again`).message).toContain('twice');
      expect(rejection(`${name}=first&${once}`).message).toContain('twice');
    },
  );

  test.each(['', '&code='])('rejects a response with neither a code nor an error (%j)', (code) => {
    expect(rejection(`state=the-state${code}`).message).toContain('neither');
  });

  test('ignores unknown parameters in a response', () => {
    expect(read('code=x&state=the-state&session_state=1&session_state=2')).toBe('x');
  });
});
