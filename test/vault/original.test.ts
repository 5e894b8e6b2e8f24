/*
 * The behaviours of the system that Holdfast grew from, in Holdfast's form, with the numbers of that system's test
 * list:
 *
 * | number | shown in |
 * | --- | --- |
 * | 1-4, 8, 10, 11, 16-19, 23, 29 | this file |
 * | 5, 6, 7, 9, 20, 21, 22, 24-28 | test/keyring/resolution.test.ts |
 * | 12-15 | with the import of older layouts, which does not exist yet |
 */
import { chmod, lstat, mkdir, readdir, readFile, rename, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CredentialId, recordId } from '../../src/credential.ts';
import { RecordDamagedError } from '../../src/errors.ts';
import { sampleCredential } from '../support/homes/credential.ts';
import { type Home, temporaryHome } from '../support/homes/home.ts';
import { partsAt, scripted, stored, vaultAt } from '../support/homes/vault.ts';
import { runScript } from '../support/processes/process.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';

const NOTION = 'https://mcp.notion.com/sse';

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

/** Seals and stores a credential for that resource with the vault's own parts. */
async function keep(home: Home, resource: string, account?: string): Promise<void> {
  const { credentialStore, keys } = partsAt(home);
  const name = CredentialId.of(resource, account);
  await credentialStore.save(await keys.strongest(), name, (generation) =>
    sampleCredential(resource, { generation, account: name.account }),
  );
}

async function recordPath(home: Home, resource: string): Promise<string> {
  const [kid = ''] = await readdir(home.layout.credentials);
  return join(home.layout.credentials, kid, `${recordId(resource, 'default')}.jwe`);
}

describe('one credential', () => {
  test('1, 2: a credential survives store and load with all its fields, through JSON too', async () => {
    const home = await temporaryHome();
    await keep(home, NOTION);
    const { credential } = await stored(home, NOTION);
    const expected = sampleCredential(NOTION, {
      loggedInAt: credential.loggedInAt,
      client: {
        ...sampleCredential(NOTION).client,
        clientSecretExpiresAt: credential.client.clientSecretExpiresAt,
      },
      tokens: { ...sampleCredential(NOTION).tokens, ...times(credential.tokens) },
    });
    expect(JSON.parse(JSON.stringify(credential))).toEqual(JSON.parse(JSON.stringify(expected)));
    expect(credential.tokens.accessToken.equals(expected.tokens.accessToken)).toBe(true);
    expect(credential.tokens.refreshToken?.equals(expected.tokens.refreshToken)).toBe(true);
    expect(credential.client.clientSecret?.equals(expected.client.clientSecret)).toBe(true);
    expect(credential.tokens.expiresAt).toBeGreaterThan(credential.tokens.obtainedAt);
  });

  test('3: removing a missing login is no error, and creates nothing', async () => {
    const home = await temporaryHome();
    const { vault } = vaultAt(home);
    expect(await vault.logout(NOTION)).toEqual({ removed: 0, revocation: 'nothing', undecryptable: [] });
    await expect(lstat(home.path)).rejects.toThrow('ENOENT');
  });

  test('4, 17: a stored login and a removed one stay so after a reload', async () => {
    const home = await temporaryHome();
    await vaultAt(home).vault.login(servers.resource, { interaction: scripted });
    expect(await vaultAt(home).vault.token(servers.resource)).toMatchObject({ generation: 1 });
    expect(await vaultAt(home).vault.logout(servers.resource)).toMatchObject({ removed: 1 });
    await expect(vaultAt(home).vault.token(servers.resource)).rejects.toMatchObject({
      code: 'login-required',
    });
    expect((await vaultAt(home).vault.list()).credentials).toEqual([]);
  });

  test('10, 11: the record is no plain text, its mode is 0600, and that of its directories 0700', async () => {
    const home = await temporaryHome();
    await keep(home, NOTION);
    const path = await recordPath(home, NOTION);
    const text = await readFile(path, 'latin1');
    expect(/token|secret|notion|read|client/.test(text)).toBe(false);
    const decoded = text.split('.').map((part) => Buffer.from(part, 'base64url').toString('latin1'));
    expect(decoded.some((part) => /token|secret|notion|read|client/.test(part))).toBe(false);
    expect((await lstat(path)).mode & 0o7777).toBe(0o600);
    for (const directory of [home.path, home.layout.credentials, join(path, '..')]) {
      expect((await lstat(directory)).mode & 0o7777).toBe(0o700);
    }
  });

  test('23: a credential survives the file keyring for the server of the original', async () => {
    const home = await temporaryHome();
    await keep(home, NOTION);
    const { vault } = vaultAt(home);
    const { token, tokenType } = await vault.token(NOTION);
    expect(token.equals(sampleCredential(NOTION).tokens.accessToken)).toBe(true);
    expect(tokenType).toBe('Bearer');
    expect(vault.admin.tiers().find(({ id }) => id === 'file')).toMatchObject({ outcome: 'usable' });
    for (const name of await readdir(home.layout.keyring)) {
      const bytes = await readFile(join(home.layout.keyring, name), 'latin1');
      expect(bytes.includes('token')).toBe(false);
    }
  });
});

describe('many credentials', () => {
  test('8: processes that each store a different login, some in a new directory, all keep theirs', async () => {
    const home = await temporaryHome();
    const resources = Array.from({ length: 6 }, (_, index) => `https://mcp-${index}.example/mcp`);
    await Promise.all(
      resources.map((resource) => runScript('keep-process.ts', [resource], { HOLDFAST_HOME: home.path })),
    );
    const { vault } = vaultAt(home);
    for (const resource of resources) {
      const { token } = await vault.token(resource);
      expect(token.equals(sampleCredential(resource).tokens.accessToken)).toBe(true);
    }
    expect(await readdir(home.layout.credentials)).toHaveLength(1);
  });

  test('19: a list shows every login', async () => {
    const home = await temporaryHome();
    await keep(home, NOTION);
    await keep(home, NOTION, 'work');
    await keep(home, 'https://mcp.linear.app/mcp');
    const { credentials, undecryptable } = await vaultAt(home).vault.list();
    expect(credentials.map(({ resource, account }) => [resource, account])).toEqual([
      ['https://mcp.linear.app/mcp', 'default'],
      [NOTION, 'default'],
      [NOTION, 'work'],
    ]);
    expect(undecryptable).toEqual([]);
  });

  test('29: concurrent readers and writers in one process stay consistent', async () => {
    const home = await temporaryHome();
    const { credentialStore, keys } = partsAt(home);
    const key = await keys.strongest();
    const names = ['a', 'b', 'c'].map((host) => CredentialId.of(`https://${host}.example`, undefined));
    const write = async (round: number) => {
      const name = names[round % names.length] ?? CredentialId.of(NOTION, undefined);
      await credentialStore.save(key, name, (generation) => sampleCredential(name.resource, { generation }));
    };
    const whole = async () => {
      for (const name of names) {
        const found = await credentialStore.find(name);
        // A reader finds nothing yet, or one whole credential with the right name.
        if (found === undefined) continue;
        const { resource, tokens } = found.held.credential;
        expect(resource).toBe(name.resource);
        expect(tokens.accessToken.equals(sampleCredential(name.resource).tokens.accessToken)).toBe(true);
      }
    };
    await Promise.all(Array.from({ length: 60 }, (_, round) => (round % 2 ? whole() : write(round / 2))));
    const generations = await Promise.all(
      names.map(async (name) => (await credentialStore.find(name))?.held.credential.generation),
    );
    expect(generations).toEqual([10, 10, 10]);
  });
});

describe('records that do not open', () => {
  test.each([
    ['cut short', (text: string) => text.slice(0, -7)],
    ['altered in one byte', (text: string) => text.replace(/.$/, (last) => (last === 'A' ? 'B' : 'A'))],
    ['empty', () => ''],
    ['of something else', () => '{"access_token":"x"}'],
  ])(
    '18: a record that is %s does not stop a new login, and is quarantined byte for byte',
    async (_what, damage) => {
      const home = await temporaryHome();
      await vaultAt(home).vault.login(servers.resource, { interaction: scripted });
      const path = await recordPath(home, servers.resource);
      const damaged = damage(await readFile(path, 'latin1'));
      await writeFile(path, damaged);
      await expect(vaultAt(home).vault.token(servers.resource)).rejects.toThrow(RecordDamagedError);
      expect((await readFile(path, 'latin1')) === damaged).toBe(true);

      const { vault, events } = vaultAt(home);
      await vault.login(servers.resource, { interaction: scripted });
      expect(await vaultAt(home).vault.token(servers.resource)).toMatchObject({ generation: 1 });
      const [aside, ...more] = await readdir(home.layout.quarantine);
      expect(more).toEqual([]);
      const kept = await readFile(join(home.layout.quarantine, aside ?? ''), 'latin1');
      expect(kept === damaged).toBe(true);
      expect(events).toMatchObject([{ type: 'quarantined', message: expect.stringContaining(aside ?? '-') }]);
    },
  );

  test.each([
    ['open to others', (path: string) => chmod(path, 0o644)],
    [
      'behind a symbolic link',
      async (path: string) => {
        await rename(path, `${path}.real`);
        await symlink(`${path}.real`, path);
      },
    ],
    [
      'a directory',
      async (path: string) => {
        await rename(path, `${path}.real`);
        await mkdir(path, { mode: 0o700 });
      },
    ],
  ])('16: a record that is %s is not overwritten, and nobody is asked to log in', async (_what, spoil) => {
    const home = await temporaryHome();
    await vaultAt(home).vault.login(servers.resource, { interaction: scripted });
    const path = await recordPath(home, servers.resource);
    const before = await readFile(path, 'latin1');
    await spoil(path);
    let asked = false;
    await expect(
      vaultAt(home).vault.login(servers.resource, {
        interaction: { authorize: async () => void (asked = true) },
      }),
    ).rejects.toMatchObject({ code: 'storage-unsafe' });
    expect(asked).toBe(false);
    const after = await readFile(`${path}.real`, 'latin1').catch(() => readFile(path, 'latin1'));
    expect(after === before).toBe(true);
    expect(await readdir(home.layout.quarantine).catch(() => [])).toEqual([]);
  });
});

function times({ obtainedAt, expiresAt }: { obtainedAt: number; expiresAt?: number | undefined }) {
  return { obtainedAt, expiresAt };
}
