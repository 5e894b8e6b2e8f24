import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { InvalidArgumentError, StorageUnsafeError } from '../../src/errors.ts';
import { serverSettings } from '../../src/login/server-settings.ts';
import { type Home, temporaryHome } from '../support/homes/home.ts';

const RESOURCE = 'https://mcp.example/mcp';

async function homeWith(config: unknown): Promise<Home> {
  const home = await temporaryHome();
  await mkdir(home.path, { mode: 0o700 });
  const text = typeof config === 'string' ? config : JSON.stringify(config);
  await writeFile(home.layout.config, text, { mode: 0o600 });
  return home;
}

function settingsIn(home: Home, variables: Record<string, string> = {}, resource = RESOURCE) {
  return serverSettings(resource, home.layout, { ...home.environment, variables });
}

describe('the settings of a server', () => {
  test('finds no settings when there is no file', async () => {
    expect(await settingsIn(await temporaryHome())).toMatchObject({ client: undefined, lenient: undefined });
  });

  test('finds the settings of a server by any spelling of its URL, and no other server’s', async () => {
    const home = await homeWith({ servers: { 'HTTPS://MCP.example:443/mcp': { scopes: ['read'] } } });
    expect((await settingsIn(home)).scopes).toEqual(['read']);
    expect((await settingsIn(home, {}, 'https://mcp.example/other')).scopes).toBeUndefined();
  });

  test('reads the client and the location of its secret', async () => {
    const home = await homeWith({});
    const file = join(home.path, 'key.pem');
    await writeFile(file, 'the key\n', { mode: 0o600 });
    await writeFile(
      home.layout.config,
      JSON.stringify({
        servers: {
          [RESOURCE]: {
            clientId: 'mine',
            clientSecret: { env: 'MY_SECRET' },
            clientKey: { file },
            clientKeyId: 'k1',
            clientAuth: 'private_key_jwt',
            clientIssuer: 'https://as.example',
            dpop: true,
            callbackPort: 4180,
            headers: { 'x-gateway': { env: 'GATEWAY' } },
            lenient: { pkceNotAdvertised: true, trustedIssuer: 'https://other.example' },
          },
        },
        clientMetadataUrl: 'https://app.example/client.json',
      }),
    );
    const settings = await settingsIn(home, { MY_SECRET: 'the secret', GATEWAY: 'let me in' });
    expect(settings).toMatchObject({
      client: { id: 'mine', keyId: 'k1', authMethod: 'private_key_jwt', issuer: 'https://as.example' },
      clientMetadataUrl: 'https://app.example/client.json',
      dpop: true,
      callbackPort: 4180,
      headers: { 'x-gateway': 'let me in' },
      lenient: { pkceNotAdvertised: true, trustedIssuer: 'https://other.example' },
    });
    expect(settings.client?.secret?.reveal()).toBe('the secret');
    expect(settings.client?.privateKey?.reveal()).toBe('the key');
  });

  test('prefers the client of the environment, with its own secret', async () => {
    const home = await homeWith({
      servers: {
        [RESOURCE]: {
          clientId: 'in the file',
          clientSecret: { env: 'ABSENT' },
          clientAuth: 'client_secret_post',
        },
      },
    });
    const file = join(home.path, 'secret');
    await writeFile(file, 'from a mounted file\n', { mode: 0o600 });
    const { client } = await settingsIn(home, {
      HOLDFAST_CLIENT_ID: 'in the environment',
      HOLDFAST_CLIENT_SECRET_FILE: file,
    });
    expect(client?.id).toBe('in the environment');
    expect(client).not.toHaveProperty('authMethod');
    expect(client?.secret?.reveal()).toBe('from a mounted file');
  });

  test('takes no secret from the environment for a client that it does not name', async () => {
    const home = await homeWith({ servers: { [RESOURCE]: { clientId: 'in the file' } } });
    const { client } = await settingsIn(home, { HOLDFAST_CLIENT_SECRET: 'of another client' });
    expect(client).toEqual({ id: 'in the file' });
  });

  test.each([
    ['a secret in the clear', { clientId: 'a', clientSecret: 'hunter2' }, 'clientSecret'],
    ['a word that is no setting', { clientID: 'a' }, 'clientID'],
    ['a leniency that does not exist', { lenient: { everything: true } }, 'lenient.everything'],
    [
      'a leniency that is neither on nor off',
      { lenient: { resourceOmitted: 'yes' } },
      'lenient.resourceOmitted',
    ],
    ['a port that is none', { callbackPort: 70_000 }, 'callbackPort'],
  ])('refuses %s, and names the setting, not the value', async (_what, server, place) => {
    const error = await settingsIn(await homeWith({ servers: { [RESOURCE]: server } })).catch(
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(InvalidArgumentError);
    expect(String(error)).toContain(place);
    expect(String(error)).not.toContain('hunter2');
  });

  test.each([[[]], ['text'], [{ 'not a url': {} }], [{ 'http://mcp.example': {} }]])(
    'refuses the `servers` value %j',
    async (servers) => {
      await expect(settingsIn(await homeWith({ servers }))).rejects.toBeInstanceOf(InvalidArgumentError);
    },
  );

  test.each([
    ['variable that is not set', { env: 'ABSENT' }],
    ['file that is not there', { file: '/nonexistent/secret' }],
  ])('refuses a secret in a %s', async (_what, clientSecret) => {
    const home = await homeWith({ servers: { [RESOURCE]: { clientId: 'a', clientSecret } } });
    await expect(settingsIn(home)).rejects.toBeInstanceOf(InvalidArgumentError);
  });

  test('refuses a file that others may write', async () => {
    const home = await homeWith({ servers: {} });
    await chmod(home.layout.config, 0o666);
    await expect(settingsIn(home)).rejects.toBeInstanceOf(StorageUnsafeError);
  });
});
