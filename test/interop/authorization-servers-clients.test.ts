import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import type { ClientOptions } from '../../src/login/types.ts';
import { clientMetadataDocument } from '../../src/oauth/registration/client-metadata.ts';
import { Secret } from '../../src/secret.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { expire, loggedIn, scripted, stored, vaultAt } from '../support/homes/vault.ts';
import { type ServerOptions, type Servers, startServers } from '../support/servers/servers.ts';
import { toolCallBy } from '../support/tool-call.ts';

/* Clients of a real authorization server that do not register dynamically. */

async function serversWith(options: ServerOptions) {
  const servers = await startServers(options);
  onTestFinished(() => servers.stop());
  return servers;
}

const PERSON = {
  application_type: 'native',
  redirect_uris: ['http://127.0.0.1/callback'],
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'],
};
const NOBODY = { redirect_uris: [], grant_types: ['client_credentials'], response_types: [] };
const SECRET = 'between us: 50 % + a&b=c/~';
const KEY_ID = 'key-1';
const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const jwks = { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: KEY_ID, use: 'sig', alg: 'ES256' }] };

/** Every auth method of a client: the server's registration, and the options of Holdfast. */
const WAYS: readonly (readonly [
  way: string,
  server: Readonly<Record<string, unknown>>,
  ours: Omit<ClientOptions, 'id'>,
])[] = [
  [
    'client_secret_basic',
    { client_secret: SECRET, token_endpoint_auth_method: 'client_secret_basic' },
    { secret: new Secret(SECRET) },
  ],
  [
    'client_secret_post',
    { client_secret: SECRET, token_endpoint_auth_method: 'client_secret_post' },
    { secret: new Secret(SECRET), authMethod: 'client_secret_post' },
  ],
  [
    'private_key_jwt',
    { jwks, token_endpoint_auth_method: 'private_key_jwt', token_endpoint_auth_signing_alg: 'ES256' },
    { privateKey: pem(privateKey), keyId: KEY_ID },
  ],
];

function pem(key: KeyObject): Secret {
  return new Secret(key.export({ type: 'pkcs8', format: 'pem' }).toString());
}

describe('a pre-registered client', () => {
  let servers: Servers;
  beforeAll(async () => {
    servers = await startServers({
      clients: WAYS.flatMap(([way, known]) => [
        { client_id: `person-${way}`, ...PERSON, ...known },
        { client_id: `nobody-${way}`, ...NOBODY, ...known },
      ]),
      registration: false,
    });
  });
  afterAll(() => servers.stop());

  test.each(WAYS)('logs a user in, refreshes and logs out by %s', async (way, _known, ours) => {
    const home = await temporaryHome();
    const { vault } = vaultAt(home);
    const before = await servers.counters();
    await vault.login(servers.resource, { client: { id: `person-${way}`, ...ours }, interaction: scripted });
    expect((await toolCallBy(vault, servers.resource)).status).toBe(200);
    expect((await stored(home, servers.resource)).credential.client.authMethod).toBe(way);
    await expire(home, servers.resource);
    const other = vaultAt(home).vault;
    expect((await toolCallBy(other, servers.resource)).status).toBe(200);
    expect(await servers.counters()).toMatchObject({
      codeGrants: before.codeGrants + 1,
      refreshGrants: before.refreshGrants + 1,
    });
    expect(await other.logout(servers.resource)).toMatchObject({ revocation: 'revoked' });
  });

  test.each(WAYS)(
    'gets tokens for itself by %s, and new ones when they expire',
    async (way, _known, ours) => {
      const home = await temporaryHome();
      const { vault } = vaultAt(home);
      const before = await servers.counters();
      const client = { id: `nobody-${way}`, ...ours };
      await vault.login(servers.resource, { client, grant: { type: 'client_credentials' } });
      expect(await toolCallBy(vault, servers.resource)).toMatchObject({
        status: 200,
        text: expect.stringContaining(`You are nobody-${way}.`),
      });
      await expire(home, servers.resource);
      expect((await toolCallBy(vaultAt(home).vault, servers.resource)).status).toBe(200);
      expect((await servers.counters()).clientCredentialsGrants).toBe(before.clientCredentialsGrants + 2);
    },
  );

  test('says that the client secret is wrong', async () => {
    const { vault } = vaultAt(await temporaryHome());
    await expect(
      vault.login(servers.resource, {
        client: { id: 'nobody-client_secret_basic', secret: new Secret('another') },
        grant: { type: 'client_credentials' },
      }),
    ).rejects.toMatchObject({ error: 'invalid_client' });
  });

  test('does not use a client at another authorization server than its own', async () => {
    const home = await temporaryHome();
    const own = await serversWith({ clients: [{ client_id: 'ours', ...PERSON, ...WAYS[0]?.[1] }] });
    const client = { id: 'ours', ...WAYS[0]?.[2] };
    await vaultAt(home).vault.login(own.resource, { client, interaction: scripted });
    const second = await own.another();
    await own.name([second]);
    for (const options of [{}, { client }]) {
      await expect(
        vaultAt(home).vault.login(own.resource, { ...options, interaction: scripted }),
      ).rejects.toMatchObject({ code: 'issuer-mismatch' });
    }
    expect(await second.counters()).toMatchObject({ registrations: 0, tokenRequests: 0 });
  });
});

describe('a client metadata document', () => {
  const url = 'https://client.example/holdfast/client-metadata.json';

  test('logs in and refreshes by metadata document, without a registration', async () => {
    const servers = await serversWith({ clientIdMetadataDocuments: { [url]: clientMetadataDocument(url) } });
    const home = await temporaryHome();
    const { vault } = vaultAt(home);
    await vault.login(servers.resource, { clientMetadataUrl: url, interaction: scripted });
    expect((await stored(home, servers.resource)).credential.client).toMatchObject({
      clientId: url,
      source: 'metadata-document',
      authMethod: 'none',
    });
    await expire(home, servers.resource);
    expect((await toolCallBy(vault, servers.resource)).status).toBe(200);
    expect(await servers.counters()).toMatchObject({ registrations: 0, codeGrants: 1, refreshGrants: 1 });
  });

  test('registers when the server accepts no metadata document', async () => {
    const servers = await serversWith({});
    const home = await temporaryHome();
    const { vault } = vaultAt(home);
    await vault.login(servers.resource, { clientMetadataUrl: url, interaction: scripted });
    expect((await stored(home, servers.resource)).credential.client.source).toBe('dynamic');
    expect(await servers.counters()).toMatchObject({ registrations: 1 });
  });

  test('stays the same client at the authorization server that replaces the first', async () => {
    const documents = { clientIdMetadataDocuments: { [url]: clientMetadataDocument(url) } };
    const servers = await serversWith(documents);
    const home = await temporaryHome();
    const { vault } = vaultAt(home);
    await vault.login(servers.resource, { clientMetadataUrl: url, interaction: scripted });
    const second = await servers.another(documents);
    await servers.name([second]);
    await vault.login(servers.resource, { interaction: scripted });
    const { credential } = await stored(home, servers.resource);
    expect(credential.server.issuer).toBe(second.issuer);
    expect(credential.client.clientId).toBe(url);
    expect(await second.counters()).toMatchObject({ registrations: 0, codeGrants: 1 });
  });
});

describe('offline access', () => {
  test('asks for offline access when the server lists it, and gets a refresh token', async () => {
    const servers = await serversWith({ refreshTokens: 'offline_access' });
    const { first } = await loggedIn(await temporaryHome(), servers.resource);
    expect(first.requestedScope?.split(' ')).toContain('offline_access');
    expect(first.tokens.refreshToken).toBeDefined();
  });

  test('does not ask for offline access when it is not listed; the login ends with its token', async () => {
    const servers = await serversWith({
      refreshTokens: 'offline_access',
      publishes: { scopes_supported: ['openid', 'tools:call'] },
    });
    const { home, first } = await loggedIn(await temporaryHome(), servers.resource);
    expect(first.requestedScope?.split(' ')).not.toContain('offline_access');
    expect(first.tokens.refreshToken).toBeUndefined();
    await expire(home, servers.resource);
    await expect(vaultAt(home).vault.token(servers.resource)).rejects.toMatchObject({
      code: 'login-required',
    });
  });
});
