import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { Credential } from '../../src/credential.ts';
import { InvalidArgumentError, IssuerMismatchError } from '../../src/errors.ts';
import { clientFor, givenClient, openServerFor, planClient } from '../../src/login/client.ts';
import type { LoginOptions } from '../../src/login/types.ts';
import { openCallbackServer } from '../../src/oauth/authorization/callback-server.ts';
import { clientMetadataDocument } from '../../src/oauth/registration/client-metadata.ts';
import { Secret } from '../../src/secret.ts';
import { processEnvironment } from '../../src/system/environment.ts';
import { sampleCredential } from '../support/homes/credential.ts';
import { hostileServer, json } from '../support/servers/hostile-server.ts';
import { discoveryOf, metadataOf } from '../support/servers/metadata.ts';

const ISSUER = 'https://as.example';
const DOCUMENT = 'https://app.example/client.json';
const environment = processEnvironment();
const REDIRECT = 'http://127.0.0.1:43210/callback';

/** A stored credential of that client at that issuer. */
function former(client: Partial<Credential['client']>, issuer = ISSUER): Credential {
  const credential = sampleCredential('https://mcp.example/mcp');
  return {
    ...credential,
    server: { ...credential.server, issuer },
    client: { ...credential.client, redirectUris: [REDIRECT], ...client },
  };
}

function plan(
  options: Pick<LoginOptions, 'client' | 'clientMetadataUrl'>,
  before?: Credential,
  documents = true,
) {
  const server = metadataOf(ISSUER, { clientIdMetadataDocumentSupported: documents });
  return planClient({ server }, before, options);
}

describe('the client of a login', () => {
  test('prefers the given client to all others', () => {
    expect(plan({ client: { id: 'mine' }, clientMetadataUrl: DOCUMENT }, former({}))).toMatchObject({
      by: 'known',
      client: { clientId: 'mine', source: 'pre-registered', authMethod: 'none' },
    });
  });

  test('uses the client that was given for an earlier login at that issuer', () => {
    const before = former({ clientId: 'by-hand', source: 'pre-registered' });
    expect(plan({ clientMetadataUrl: DOCUMENT }, before)).toMatchObject({ client: { clientId: 'by-hand' } });
  });

  test('prefers our metadata document, if the server accepts one, to a registration', () => {
    const before = former({ source: 'dynamic' });
    expect(plan({ clientMetadataUrl: DOCUMENT }, before)).toEqual({ by: 'document', url: DOCUMENT });
    expect(plan({ clientMetadataUrl: DOCUMENT }, before, false)).toMatchObject({ by: 'known' });
  });

  test('uses the same metadata document at another issuer', () => {
    const before = former({ clientId: DOCUMENT, source: 'metadata-document' }, 'https://old.example');
    expect(plan({}, before)).toEqual({ by: 'document', url: DOCUMENT });
  });

  test('reuses a registration at its issuer, and registers again at another', () => {
    expect(plan({}, former({ source: 'dynamic' }))).toMatchObject({ by: 'known' });
    expect(plan({}, former({ source: 'dynamic' }, 'https://old.example'))).toEqual({ by: 'registration' });
    expect(plan({})).toEqual({ by: 'registration' });
  });

  test.each([
    ['of the earlier login', {}],
    ['that was given again', { client: { id: 'by-hand' } }],
    ['that was given with its issuer', { client: { id: 'by-hand', issuer: 'https://old.example' } }],
  ])('refuses the client %s at an issuer that it was not registered with', (_what, options) => {
    const before = former({ clientId: 'by-hand', source: 'pre-registered' }, 'https://old.example');
    expect(() => plan(options, before)).toThrow(IssuerMismatchError);
  });

  test('uses a client that was given with the new issuer there', () => {
    const before = former({ clientId: 'by-hand', source: 'pre-registered' }, 'https://old.example');
    expect(plan({ client: { id: 'by-hand', issuer: ISSUER } }, before)).toMatchObject({
      client: { clientId: 'by-hand' },
    });
  });

  test.each([
    ['its server has forgotten it', { loginRequired: { reason: 'gone', error: 'invalid_client', since: 0 } }],
    ['its secret has lapsed', { client: { ...former({}).client, clientSecretExpiresAt: 1 } }],
  ])('registers again when %s', (_when, changes) => {
    expect(plan({}, { ...former({ source: 'dynamic' }), ...changes })).toEqual({
      by: 'registration',
    });
  });

  test.each([
    'http://app.example/c.json',
    'https://app.example/',
    'https://a:b@app.example/c',
    'app',
    'https://app.example/a/../c',
  ])('refuses the client metadata URL %s', (url) => {
    expect(() => plan({ clientMetadataUrl: url })).toThrow(InvalidArgumentError);
  });
});

describe('a given client', () => {
  const secret = new Secret('s');
  const { privateKey: key } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const privateKey = new Secret(key.export({ type: 'pkcs8', format: 'pem' }).toString());

  test.each([
    [{}, undefined, 'none'],
    [{ secret }, undefined, 'client_secret_basic'],
    [{ secret }, ['client_secret_post'], 'client_secret_post'],
    [{ secret }, ['client_secret_post', 'client_secret_basic'], 'client_secret_basic'],
    [{ privateKey }, ['client_secret_basic'], 'private_key_jwt'],
    [{ secret, authMethod: 'client_secret_post' as const }, undefined, 'client_secret_post'],
  ])(
    'chooses the auth method from the client’s credentials and the server’s list',
    (given, listed, method) => {
      expect(givenClient({ id: 'a', ...given }, listed).authMethod).toBe(method);
    },
  );

  test.each([
    { id: 'a', authMethod: 'client_secret_basic' as const },
    { id: 'a', authMethod: 'private_key_jwt' as const },
    { id: 'a', privateKey: new Secret('no key') },
    { id: '' },
    { id: 'a\nb' },
  ])('refuses a client that cannot be used: %j', (given) => {
    expect(() => givenClient(given, undefined)).toThrow(InvalidArgumentError);
  });

  test('keeps no secret that its auth method does not need', () => {
    expect(givenClient({ id: 'a', secret, authMethod: 'none' }, undefined).clientSecret).toBeUndefined();
  });
});

describe('the redirect URI', () => {
  test('listens on a port that the metadata document names', async () => {
    const server = await openServerFor(
      { by: 'document', url: DOCUMENT },
      openCallbackServer,
      {},
      {
        belongs: () => true,
      },
    );
    try {
      expect(clientMetadataDocument(DOCUMENT)['redirect_uris']).toContain(server.redirectUri);
    } finally {
      await server.close();
    }
  });

  test('registers localhost when the server refuses the loopback address', async () => {
    const at = await hostileServer({
      '/register': (request, response) => {
        const { redirect_uris: uris } = JSON.parse(request.body) as { redirect_uris: string[] };
        const named = uris[0]?.startsWith('http://localhost:') === true;
        return named
          ? json({ client_id: 'c', redirect_uris: uris, token_endpoint_auth_method: 'none' }, 201)(
              request,
              response,
            )
          : json({ error: 'invalid_redirect_uri' }, 400)(request, response);
      },
    });
    const server = metadataOf(at.origin, {
      registrationEndpoint: `${at.origin}/register`,
      tokenEndpointAuthMethods: ['none'],
    });
    const discovery = discoveryOf(server, { reach: 'anywhere' });
    const first = await clientFor({ by: 'registration' }, REDIRECT, discovery, { environment });
    expect(first.redirectUri).toBe('http://localhost:43210/callback');
    // The next login uses the same redirect URI again.
    const again = await clientFor({ by: 'known', client: first.client }, REDIRECT, discovery, {
      environment,
    });
    expect(again).toEqual(first);
    expect(at.requests).toHaveLength(2);
  });
});
