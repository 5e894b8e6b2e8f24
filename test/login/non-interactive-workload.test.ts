import { rm, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { decodeJwt } from 'jose';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { InvalidArgumentError } from '../../src/errors.ts';
import type { LoginOptions } from '../../src/login/types.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { accepted, expire, stored, vaultAt } from '../support/homes/vault.ts';
import { JWT_BEARER, named, refusal, written } from '../support/homes/vouched-login.ts';
import { secretsSeen } from '../support/leaks.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { assertionServer, platform } from '../support/servers/vouching-servers.ts';

/* Logins by a token of the workload's platform; the test server verifies that token. */

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

describe('workload identity', () => {
  const workload = (assertion: { file?: string; variable?: string }): LoginOptions => ({
    client: { id: 'workload' },
    grant: { type: 'workload-identity', assertion },
  });

  /** Logs in with the platform's token in a file. */
  async function loggedIn() {
    const issuer = await platform();
    const as = await named(
      servers,
      await assertionServer({ id: 'workload' }, { platform: issuer, refreshTokens: true }),
    );
    const home = await temporaryHome();
    const { vault } = vaultAt(home);
    const token = await issuer.token({ audience: as.issuer, subject: 'pod-7' });
    const file = await written(home, token);
    await vault.login(servers.resource, workload({ file }));
    return { issuer, as, home, vault, file, token };
  }

  test('sends the platform’s token, and stores its location, not the token', async () => {
    const { as, home, vault, file, token } = await loggedIn();
    const access = await vault.token(servers.resource);
    expect(await accepted(servers.resource, access.token)).toBe(true);
    const { credential } = await stored(home, servers.resource);
    expect(credential).toMatchObject({
      server: { issuer: as.issuer },
      client: { clientId: 'workload', authMethod: 'none' },
      grant: { type: 'workload-identity', assertion: { file } },
    });
    expect(credential.tokens.refreshToken).toBeUndefined();
    expect(JSON.stringify(credential).includes(token)).toBe(false);
    expect(as.asked).toEqual([`${JWT_BEARER} 200`]);
    expect(as.taken).toMatchObject([{ sub: 'pod-7', aud: as.issuer }]);
    expect(as.others).toEqual([]);
  });

  test('reads the token file again for each refresh, since the platform renews it', async () => {
    const { issuer, as, home, vault } = await loggedIn();
    const next = await issuer.token({ audience: as.issuer, subject: 'pod-7' });
    await written(home, next);
    await expire(home, servers.resource);
    const answers = await Promise.all(Array.from({ length: 20 }, () => vault.token(servers.resource)));
    expect(answers.every(({ generation }) => generation === 2)).toBe(true);
    expect(as.taken.map(({ jti }) => jti).slice(1)).toEqual([decodeJwt(next).jti]);
    expect(as.asked).toEqual([`${JWT_BEARER} 200`, `${JWT_BEARER} 200`]);
  });

  test('reads the token from a variable too', async () => {
    const issuer = await platform();
    const as = await named(servers, await assertionServer({ id: 'workload' }, { platform: issuer }));
    const home = await temporaryHome();
    const variables = {
      ...home.environment.variables,
      POD_TOKEN: await issuer.token({ audience: as.issuer }),
    };
    const { vault } = vaultAt(home, { environment: { ...home.environment, variables } });
    await vault.login(servers.resource, workload({ variable: 'POD_TOKEN' }));
    expect(await accepted(servers.resource, (await vault.token(servers.resource)).token)).toBe(true);
  });

  test('stores the absolute path of the file, since other processes run elsewhere', async () => {
    const issuer = await platform();
    const as = await named(servers, await assertionServer({ id: 'workload' }, { platform: issuer }));
    const home = await temporaryHome();
    const file = await written(home, await issuer.token({ audience: as.issuer }));
    const { vault } = vaultAt(home);
    await vault.login(servers.resource, workload({ file: relative(process.cwd(), file) }));
    expect((await stored(home, servers.resource)).credential.grant).toMatchObject({ assertion: { file } });
  });

  test('passes a refusal on after one request, with a hint from the token’s claims', async () => {
    const issuer = await platform();
    const as = await named(servers, await assertionServer({ id: 'workload' }, { platform: issuer }));
    const home = await temporaryHome();
    const token = await issuer.token({ audience: 'https://another.example' });
    const file = await written(home, token);
    const { vault } = vaultAt(home);
    const error = await refusal(vault.login(servers.resource, workload({ file })));
    expect(error.error).toBe('invalid_grant');
    expect(error.hint).toContain(file);
    expect(error.hint).toContain('"https://platform.example"');
    expect(error.hint).toContain('"https://another.example"');
    expect(secretsSeen(error, [token, token.split('.')[1]!])).toBe(0);
    expect(as.asked).toEqual([`${JWT_BEARER} 400`]);
    expect((await vault.list()).credentials).toEqual([]);
  });

  test('keeps a login whose platform token has expired, and refreshes it with a new one', async () => {
    const { issuer, as, home, vault, file } = await loggedIn();
    await written(home, await issuer.token({ audience: as.issuer, lifeSeconds: -3600 }));
    await expire(home, servers.resource);
    const error = await refusal(vault.token(servers.resource));
    expect(error.error).toBe('invalid_grant');
    expect(error.hint).toMatch(/until \d{4}-\d\d-\d\dT/);
    expect(as.asked.slice(1)).toEqual([`${JWT_BEARER} 400`]);
    await rm(file);
    await expect(vault.token(servers.resource)).rejects.toThrow(InvalidArgumentError);
    expect((await stored(home, servers.resource)).credential.loginRequired).toBeUndefined();
    await written(home, await issuer.token({ audience: as.issuer }));
    expect(await vault.token(servers.resource)).toMatchObject({ generation: 2 });
  });

  test.each([
    ['that is not there', undefined],
    ['that is empty', ''],
    ['with something else', 'not a token'],
    ['with a token in JSON', '{"token":"a.b.c"}'],
    ['with three words that are no JWT', 'aaaa.bbbb.cccc'],
  ])('refuses a file %s before any request', async (_what, content) => {
    const as = await named(
      servers,
      await assertionServer({ id: 'workload' }, { platform: await platform() }),
    );
    const home = await temporaryHome();
    const file = join(home.path, '..', 'token.jwt');
    if (content !== undefined) await writeFile(file, content, { mode: 0o600 });
    const before = await servers.resourceCounters();
    const error: unknown = await vaultAt(home)
      .vault.login(servers.resource, workload({ file }))
      .catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(InvalidArgumentError);
    expect(secretsSeen(error, [content || 'nothing at all'])).toBe(0);
    expect(await servers.resourceCounters()).toEqual(before);
    expect(as.asked).toEqual([]);
  });

  test.each([
    ['no place', {}],
    ['two places', { file: '/run/token', variable: 'TOKEN' }],
  ])('refuses %s for the token', async (_what, assertion) => {
    const { vault } = vaultAt(await temporaryHome());
    await expect(vault.login(servers.resource, workload(assertion))).rejects.toThrow(/name one/);
  });
});
