import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import type { Credential } from '../../src/credential.ts';
import { CredentialId } from '../../src/credential.ts';
import { MemoryKeyring } from '../../src/keyring/memory.ts';
import { sampleCredential } from '../support/homes/credential.ts';
import { type Home, temporaryHome } from '../support/homes/home.ts';
import { partsAt, vaultAt } from '../support/homes/vault.ts';
import { DesktopKeyring, opener } from '../support/keyrings/keyring.ts';

const RESOURCE = 'https://mcp.example.com/mcp';
const YEAR_MS = 365 * 24 * 3_600_000;

async function keep(home: Home, changes: Partial<Credential> = {}, resource = RESOURCE): Promise<string> {
  const { credentialStore, keys } = partsAt(home);
  const key = await keys.strongest();
  await credentialStore.save(key, CredentialId.of(resource, changes.account), (generation) =>
    sampleCredential(resource, { generation, ...changes }),
  );
  return key.kid;
}

function tokens(changes: Partial<Credential['tokens']>): Credential['tokens'] {
  return { ...sampleCredential(RESOURCE).tokens, ...changes };
}

describe('the list', () => {
  test('a list without logins is empty, and touches no keyring and no disk', async () => {
    const home = await temporaryHome();
    const keyring = new DesktopKeyring();
    const { vault } = vaultAt(home, { openers: [opener(keyring), opener(new MemoryKeyring())] });
    expect(await vault.list()).toEqual({ credentials: [], undecryptable: [], unseenLeases: [] });
    expect(keyring.calls).toEqual([]);
    await expect(readdir(home.path)).rejects.toThrow('ENOENT');
  });

  test('the list shows that a login is being refreshed, and takes the lease from nobody', async () => {
    const home = await temporaryHome();
    await keep(home);
    const { credentialStore, store } = partsAt(home);
    const held = (await credentialStore.find(CredentialId.of(RESOURCE, undefined)))?.held;
    if (held === undefined) throw new Error('Nothing was kept.');
    const lease = await store.lock(held.address.id, { waitMs: 0 });
    const { vault } = vaultAt(home);
    expect((await vault.list()).credentials).toMatchObject([{ state: 'refreshing' }]);
    await expect(store.lock(held.address.id, { waitMs: 0 })).rejects.toMatchObject({ code: 'lock-timeout' });
    await lease.release();
    expect((await vault.list()).credentials).toMatchObject([{ state: 'fresh' }]);
  });

  test('the list shows everything about a credential that is not secret', async () => {
    const home = await temporaryHome();
    const kid = await keep(home);
    const listing = await vaultAt(home).vault.list();
    const [{ expiresAt, loggedInAt, ...rest } = { expiresAt: 0, loggedInAt: 0 }, ...more] =
      listing.credentials;
    expect(more).toEqual([]);
    expect(rest).toEqual({
      resource: RESOURCE,
      account: 'default',
      state: 'fresh',
      reason: undefined,
      since: undefined,
      canRefresh: true,
      scopes: ['read'],
      issuer: 'https://as.example',
      clientId: 'a client',
      clientSource: 'dynamic',
      grant: 'authorization_code',
      tokenType: 'Bearer',
      leniencies: [],
      generation: 1,
      keyring: 'file',
      tier: 'file',
      kid,
    });
    expect(expiresAt).toBe(loggedInAt + 3_600_000);
    const shown = inspect(listing, { depth: 9 }) + JSON.stringify(listing);
    expect(/access-token|refresh-token|client-secret/.test(shown)).toBe(false);
  });

  test.each<[string, Partial<Credential>, object]>([
    ['one with life left', {}, { state: 'fresh', canRefresh: true }],
    [
      'one that lapsed and can be refreshed',
      { tokens: tokens({ obtainedAt: 1, expiresAt: 1000 }) },
      { state: 'stale', canRefresh: true },
    ],
    [
      'one that lapsed and cannot be refreshed',
      { tokens: tokens({ obtainedAt: 1, expiresAt: 1000, refreshToken: undefined }) },
      { state: 'login-required', canRefresh: false },
    ],
    [
      'one that a clock dated a year ahead, and that can be refreshed',
      { tokens: tokens({ obtainedAt: Date.now() + YEAR_MS, expiresAt: Date.now() + YEAR_MS + 4000 }) },
      { state: 'stale', canRefresh: true },
    ],
    [
      'one without an expiry',
      { tokens: tokens({ expiresAt: undefined }) },
      { state: 'fresh', expiresAt: undefined },
    ],
    [
      'one that its server refused',
      { loginRequired: { reason: 'It said invalid_grant.', since: 1_800_000_000_000 } },
      { state: 'login-required', reason: 'It said invalid_grant.', since: 1_800_000_000_000 },
    ],
    ['one whose scopes are not known', { grantedScope: undefined }, { scopes: [] }],
    ['one with several scopes', { grantedScope: 'read  write' }, { scopes: ['read', 'write'] }],
  ])('the list shows the state and scopes of a login: %s', async (_what, changes, expected) => {
    const home = await temporaryHome();
    await keep(home, changes);
    expect((await vaultAt(home).vault.list()).credentials).toMatchObject([expected]);
  });

  test('a list asks no server and changes nothing', async () => {
    const home = await temporaryHome();
    const kid = await keep(home, { tokens: tokens({ obtainedAt: 1, expiresAt: 1000 }) });
    const directory = join(home.layout.credentials, kid);
    const [file = ''] = await readdir(directory);
    const before = await readFile(join(directory, file), 'latin1');
    await vaultAt(home).vault.list();
    expect((await readFile(join(directory, file), 'latin1')) === before).toBe(true);
  });

  test('the list shows records that do not open beside those that do, each with its reason', async () => {
    const home = await temporaryHome();
    const kid = await keep(home);
    await keep(home, {}, 'https://damaged.example/mcp');
    const directory = join(home.layout.credentials, kid);
    const { credentialStore } = partsAt(home);
    const found = await credentialStore.find(CredentialId.of('https://damaged.example/mcp', undefined));
    const id = found?.held.address.id ?? '';
    await writeFile(join(directory, `${id}.jwe`), 'not a record');
    const { credentials, undecryptable } = await vaultAt(home).vault.list();
    expect(credentials.map(({ resource }) => resource)).toEqual([RESOURCE]);
    expect(undecryptable).toMatchObject([{ id, kid, code: 'record-damaged' }]);
    expect(undecryptable[0]?.reason).toContain('five parts');
  });
});
