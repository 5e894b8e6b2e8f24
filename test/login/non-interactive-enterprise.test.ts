import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { InvalidResponseError } from '../../src/errors.ts';
import type { GrantOptions, LoginOptions } from '../../src/login/types.ts';
import { Secret } from '../../src/secret.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { accepted, change, expire, stored, vaultAt } from '../support/homes/vault.ts';
import { JWT_BEARER, named, refusal, TOKEN_EXCHANGE, written } from '../support/homes/vouched-login.ts';
import { secretsSeen } from '../support/leaks.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { assertionServer, identityProvider } from '../support/servers/vouching-servers.ts';

/* Logins by an enterprise's identity provider; all three test servers verify what they receive. */

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

describe('enterprise-managed authorization', () => {
  const SECRETS = { elsewhere: 'secret-at-the-authorization-server', idp: 'secret-at-the-identity-provider' };

  /** Starts both servers and writes the ID token of a user to a file. */
  async function enterprise(
    options: { refreshTokens?: boolean; trusted?: boolean; lifeSeconds?: number } = {},
  ) {
    const idp = await identityProvider({ id: 'holdfast-at-idp', secret: SECRETS.idp }, 'holdfast-at-as');
    const as = await named(
      servers,
      await assertionServer(
        { id: 'holdfast-at-as', secret: SECRETS.elsewhere },
        {
          identityProvider: options.trusted === false ? undefined : idp,
          refreshTokens: options.refreshTokens,
        },
      ),
    );
    const home = await temporaryHome();
    const { lifeSeconds } = options;
    const idToken = await idp.idToken({
      audience: 'holdfast-at-idp',
      subject: 'alice@corp.example',
      lifeSeconds,
    });
    const file = await written(home, idToken);
    const grant: Extract<GrantOptions, { type: 'enterprise' }> = {
      type: 'enterprise',
      assertion: { file },
      identityProvider: { issuer: idp.issuer },
      identityClient: { id: 'holdfast-at-idp', secret: new Secret(SECRETS.idp) },
    };
    const login = {
      client: { id: 'holdfast-at-as', secret: new Secret(SECRETS.elsewhere) },
      grant,
    } satisfies LoginOptions;
    return { idp, as, home, vault: vaultAt(home).vault, idToken, file, login };
  }

  test('exchanges the ID token for an ID-JAG, and that for tokens, without a user', async () => {
    const { idp, as, home, vault, login } = await enterprise();
    await vault.login(servers.resource, login);
    expect(await accepted(servers.resource, (await vault.token(servers.resource)).token)).toBe(true);
    expect(idp.asked).toEqual([`${TOKEN_EXCHANGE} 200`]);
    expect(as.asked).toEqual([`${JWT_BEARER} 200`]);
    expect(as.others).toEqual([]);
    expect(as.taken).toMatchObject([
      {
        iss: idp.issuer,
        aud: as.issuer,
        sub: 'alice@corp.example',
        client_id: 'holdfast-at-as',
        resource: servers.resource,
        scope: 'tools:call',
      },
    ]);
    const { credential } = await stored(home, servers.resource);
    expect(credential).toMatchObject({
      server: { issuer: as.issuer },
      requestedScope: 'tools:call',
      grant: {
        type: 'enterprise',
        identityProvider: { issuer: idp.issuer, tokenEndpoint: idp.tokenEndpoint },
        identityClient: { clientId: 'holdfast-at-idp', authMethod: 'client_secret_basic' },
      },
    });
  });

  test('needs no metadata of the identity provider when its token endpoint is given', async () => {
    const { idp, vault, login } = await enterprise();
    // Such an issuer publishes no metadata.
    const issuer = 'https://idp.invalid';
    const grant = { ...login.grant, identityProvider: { issuer, tokenEndpoint: idp.tokenEndpoint } };
    await vault.login(servers.resource, { ...login, grant });
    expect(idp.asked).toEqual([`${TOKEN_EXCHANGE} 200`]);
  });

  test('refreshes by a new ID-JAG, once for twenty callers', async () => {
    const { idp, as, home, vault, login } = await enterprise();
    await vault.login(servers.resource, login);
    await expire(home, servers.resource);
    const answers = await Promise.all(Array.from({ length: 20 }, () => vault.token(servers.resource)));
    expect(answers.every(({ generation }) => generation === 2)).toBe(true);
    expect(idp.asked).toEqual([`${TOKEN_EXCHANGE} 200`, `${TOKEN_EXCHANGE} 200`]);
    expect(as.asked).toEqual([`${JWT_BEARER} 200`, `${JWT_BEARER} 200`]);
    expect(new Set(as.taken.map(({ jti }) => jti)).size).toBe(2);
  });

  test('refreshes by a refresh token if the server issued one, even after the ID token expired', async () => {
    const { idp, as, home, vault, login } = await enterprise({ refreshTokens: true });
    await vault.login(servers.resource, login);
    await written(home, await idp.idToken({ audience: 'holdfast-at-idp', lifeSeconds: -3600 }));
    for (const generation of [2, 3]) {
      await expire(home, servers.resource);
      // A new vault stands for another process: the same vault would not reread the store so soon.
      const access = await vaultAt(home).vault.token(servers.resource);
      expect(access.generation).toBe(generation);
      expect(await accepted(servers.resource, access.token)).toBe(true);
    }
    expect(idp.asked).toHaveLength(1);
    expect(as.asked).toEqual([`${JWT_BEARER} 200`, 'refresh_token 200', 'refresh_token 200']);
  });

  test.each([true, false])(
    'replaces a refused refresh token by a new ID-JAG (another one issued: %s)',
    async (refreshTokens) => {
      const { as, home, vault, login } = await enterprise({ refreshTokens });
      await vault.login(servers.resource, login);
      const ended = new Secret('a-refresh-token-that-the-server-has-ended');
      await change(home, servers.resource, ({ tokens }) => ({ tokens: { ...tokens, refreshToken: ended } }));
      await expire(home, servers.resource);
      const { generation, token } = await vault.token(servers.resource);
      expect(generation).toBe(2);
      expect(await accepted(servers.resource, token)).toBe(true);
      const { refreshToken } = (await stored(home, servers.resource)).credential.tokens;
      expect(refreshToken !== undefined).toBe(refreshTokens);
      expect(ended.equals(refreshToken)).toBe(false);
      expect(as.asked).toEqual([`${JWT_BEARER} 200`, 'refresh_token 400', `${JWT_BEARER} 200`]);
    },
  );

  test('keeps a login whose refresh token and ID token are refused, and refreshes it with a new ID token', async () => {
    const { idp, home, vault, login } = await enterprise();
    await vault.login(servers.resource, login);
    const ended = new Secret('a-refresh-token-that-the-server-has-ended');
    await change(home, servers.resource, ({ tokens }) => ({ tokens: { ...tokens, refreshToken: ended } }));
    await expire(home, servers.resource);
    await written(home, await idp.idToken({ audience: 'holdfast-at-idp', lifeSeconds: -3600 }));
    expect((await refusal(vault.token(servers.resource))).error).toBe('invalid_grant');
    expect((await stored(home, servers.resource)).credential.loginRequired).toBeUndefined();
    await written(home, await idp.idToken({ audience: 'holdfast-at-idp' }));
    expect(await vault.token(servers.resource)).toMatchObject({ generation: 2 });
  });

  test('stops when the identity provider refuses an expired ID token', async () => {
    const { as, vault, login, file, idToken } = await enterprise({ lifeSeconds: -3600 });
    const error = await refusal(vault.login(servers.resource, login));
    expect(error.error).toBe('invalid_grant');
    expect(error.hint).toContain(file);
    expect(secretsSeen(error, [idToken, ...Object.values(SECRETS)])).toBe(0);
    expect(as.asked).toEqual([]);
  });

  test('names the client that the identity provider does not know', async () => {
    const { as, vault, login } = await enterprise();
    const grant = { ...login.grant, identityClient: { id: 'holdfast-at-idp', secret: new Secret('wrong') } };
    const error = await refusal(vault.login(servers.resource, { ...login, grant }));
    expect(error.error).toBe('invalid_client');
    expect(error.hint).toContain('"holdfast-at-idp"');
    expect(as.asked).toEqual([]);
  });

  test('names an identity provider that the server does not trust, after one request', async () => {
    const { idp, as, vault, login } = await enterprise({ trusted: false });
    const error = await refusal(vault.login(servers.resource, login));
    expect(error.error).toBe('invalid_grant');
    expect(error.hint).toContain(`"${idp.issuer}"`);
    expect(as.asked).toEqual([`${JWT_BEARER} 400`]);
  });

  test('forwards no token that is not an ID-JAG', async () => {
    const { idp, as, vault, login, idToken } = await enterprise();
    idp.gives({
      access_token: idToken,
      issued_token_type: 'urn:ietf:params:oauth:token-type:id-jag',
      token_type: 'N_A',
    });
    await expect(vault.login(servers.resource, login)).rejects.toThrow(InvalidResponseError);
    expect(as.asked).toEqual([]);
  });

  test.each([
    [
      'an identity provider over plain http',
      { identityProvider: { issuer: 'http://idp.example' } },
      'unsafe-url',
    ],
    [
      'a token endpoint over plain http',
      { identityProvider: { issuer: 'https://idp.example', tokenEndpoint: 'http://idp.example/token' } },
      'unsafe-url',
    ],
    [
      'a client of another issuer',
      { identityClient: { id: 'x', issuer: 'https://another.example' } },
      'invalid-argument',
    ],
  ])('refuses %s before any request', async (_what, changes, code) => {
    const { idp, as, vault, login } = await enterprise();
    const before = await servers.resourceCounters();
    const grant = { ...login.grant, ...changes };
    await expect(vault.login(servers.resource, { ...login, grant })).rejects.toMatchObject({ code });
    expect(await servers.resourceCounters()).toEqual(before);
    expect([...idp.asked, ...as.asked]).toEqual([]);
  });
});
