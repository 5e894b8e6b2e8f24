import { mkdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { StorageUnwritableError } from '../../src/errors.ts';
import { findLogins, moveLogin, StillThere } from '../../src/import/move.ts';
import type { FoundLogin } from '../../src/import/source.ts';
import { SOURCES } from '../../src/import/sources.ts';
import { accepted, expire, stored, vaultAt } from '../support/homes/vault.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { type PeerHome, peerHome } from './peer-home.ts';

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

async function only({ source, context }: PeerHome): Promise<FoundLogin> {
  const { logins } = await findLogins(source, context);
  expect(logins).toHaveLength(1);
  return logins[0] as FoundLogin;
}

// docker-agent’s file is sealed: see docker-agent.test.ts.
describe.each(SOURCES.map(({ id }) => id).filter((id) => id !== 'docker-agent'))('a login of %s', (id) => {
  test('moves the login, refreshes it here, and keeps everything else in the file', async () => {
    const at = await peerHome(id, servers);
    const before = await at.files();
    const { vault } = vaultAt(at.home);
    const { result, outcome } = await moveLogin(await only(at), at, vault, { issuer: servers.issuer });
    expect(outcome).toBe('moved');
    expect(result.credential).toMatchObject({
      resource: servers.resource,
      canRefresh: true,
      issuer: servers.issuer,
      clientId: at.login.client.client_id,
      scopes: ['tools:call'],
    });
    const { credential } = await stored(at.home, servers.resource);
    expect(credential.tokens.refreshToken?.reveal()).toBe(at.login.tokens.refresh_token);

    const after = await at.files();
    const all = Object.values(after).join('\n');
    for (const secret of [at.login.tokens.access_token, at.login.tokens.refresh_token]) {
      expect(Object.values(before).join('\n')).toContain(secret);
      expect(all).not.toContain(secret);
    }
    for (const other of ['other-access', 'other-refresh']) expect(all).toContain(other);
    expect((await findLogins(at.source, at.context)).logins).toEqual([]);

    await expire(at.home, servers.resource);
    const { token, generation } = await vault.token(servers.resource);
    expect(generation).toBe(2);
    expect(await accepted(servers.resource, token)).toBe(true);
  });

  test('reads the expiry of the login in any unit', async () => {
    const expiresAt = Date.now() + 1_234_000;
    const { login } = await only(await peerHome(id, servers, { expiresAt }));
    // The Inspector does not store when it wrote its tokens, so they count as expired.
    const expected = id === 'inspector' ? Date.now() : expiresAt;
    expect(Math.abs((login.expiresAt ?? 0) - expected)).toBeLessThan(5_000);
  });

  test('keeps a login that was not asked for, and changes nothing by looking', async () => {
    const at = await peerHome(id, servers);
    const before = await at.files();
    const { logins } = await findLogins(at.source, {
      ...at.context,
      urls: ['https://elsewhere.example/mcp'],
    });
    expect(logins).toEqual([]);
    expect(await at.files()).toEqual(before);
  });

  test('keeps the mode of the file', async () => {
    const at = await peerHome(id, servers);
    const found = await only(at);
    await moveLogin(found, at, vaultAt(at.home).vault, { issuer: servers.issuer });
    const left = await stat(found.file).catch(() => undefined);
    if (left !== undefined) expect(left.mode & 0o777).toBe(0o600);
    else expect(id).toBe('mcp-remote');
  });
});

describe('the rest of the file', () => {
  test('keeps the rest of the file byte for byte, with the product’s own login (Claude Code)', async () => {
    const at = await peerHome('claude-code', servers);
    const [text = ''] = Object.values(await at.files());
    await moveLogin(await only(at), at, vaultAt(at.home).vault, { issuer: servers.issuer });
    const [left = ''] = Object.values(await at.files());
    expect(left).toContain('the-product-refresh');
    const entry = text.slice(text.indexOf('"notion|'), text.indexOf('"registered|'));
    expect(left).toBe(text.replace(entry, ''));
  });

  test('keeps secrets that are no logins to MCP servers (goose)', async () => {
    const at = await peerHome('goose', servers);
    const text = (await at.files())['.config/goose/secrets.yaml'] ?? '';
    await moveLogin(await only(at), at, vaultAt(at.home).vault, { issuer: servers.issuer });
    const entry = text.slice(text.indexOf('oauth_creds_notion'), text.indexOf('oauth_creds_other'));
    expect((await at.files())['.config/goose/secrets.yaml']).toBe(text.replace(entry, ''));
  });
});

describe('a Gemini CLI file encrypted on another machine', () => {
  test('skips and reports a Gemini CLI file encrypted elsewhere, and still finds the other logins', async () => {
    const at = await peerHome('gemini', servers);
    const sealed = [12, 16, 40].map((length) => 'ab'.repeat(length)).join(':');
    await writeFile(join(at.directory, '.gemini', 'gemini-credentials.json'), sealed);
    const { logins, skipped } = await findLogins(at.source, at.context);
    expect(logins).toHaveLength(1);
    expect(skipped).toMatchObject([{ name: 'gemini-credentials.json' }]);
  });
});

describe('the Inspector’s encrypted file', () => {
  test('skips and reports the Inspector’s encrypted file', async () => {
    const at = await peerHome('inspector', servers);
    const sealed = { version: 1, encryption: 'aes-256-gcm', secrets: {} };
    await writeFile(join(at.directory, '.mcp-inspector', 'secrets.json'), JSON.stringify(sealed));
    const { logins, skipped } = await findLogins(at.source, at.context);
    expect(logins).toEqual([]);
    expect(skipped).toMatchObject([{ name: 'secrets.json', reason: expect.stringContaining('encrypted') }]);
  });
});

describe('logins that mcp-remote stores under a hash', () => {
  test('finds no hashed login without its URL', async () => {
    const at = await peerHome('mcp-remote', servers, { urls: [] });
    const { logins, skipped } = await findLogins(at.source, at.context);
    expect(logins).toEqual([]);
    expect(skipped).toHaveLength(2);
    expect(skipped[0]?.reason).toContain('--url URL');
  });

  test('finds a hashed login by the URL in a client’s configuration', async () => {
    const at = await peerHome('mcp-remote', servers, { urls: [] });
    const entry = { command: 'npx', args: ['-y', 'mcp-remote', servers.resource] };
    await writeFile(join(at.directory, '.claude.json'), JSON.stringify({ mcpServers: { notion: entry } }));
    expect((await only(at)).login.resource).toBe(servers.resource);
  });

  test('computes the expiry from the file’s time for a release that stored none', async () => {
    const at = await peerHome('mcp-remote', servers);
    const { file } = await only(at);
    const { expires_at: _, issuer: __, ...tokens } = JSON.parse(await readFile(file, 'utf8'));
    await rm(dirname(file), { recursive: true });
    const older = file.replace('mcp-remote-v1', 'mcp-remote-0.1.18');
    await mkdir(dirname(older));
    await writeFile(older, JSON.stringify(tokens));
    const writtenAt = Date.now() - 600_000;
    await utimes(older, writtenAt / 1000, writtenAt / 1000);
    const { login } = await only(at);
    expect(Math.abs((login.expiresAt ?? 0) - writtenAt - 3_600_000)).toBeLessThan(2_000);
    expect(login.client).toBeUndefined();
    await expect(
      moveLogin(await only(at), at, vaultAt(at.home).vault, { issuer: servers.issuer }),
    ).rejects.toMatchObject({
      code: 'invalid-argument',
      hint: expect.stringContaining('--access-token-only'),
    });
  });

  test('waits until a refresh of mcp-remote is over before it removes the login', async () => {
    const at = await peerHome('mcp-remote', servers);
    const found = await only(at);
    const lease = found.file.replace('_tokens.json', '_refresh_in_progress.json');
    await writeFile(lease, JSON.stringify({ pid: process.pid, nonce: 'x', at: Date.now() - 29_000 }));
    expect(await found.take()).toBe('taken');
    expect(Object.keys(await at.files()).filter((name) => name.includes('in_progress'))).toEqual([]);
  });
});

describe('the database of a newer opencode', () => {
  const put = async (name: string) => {
    const at = await peerHome('opencode', servers);
    const directory = join(at.directory, '.local', 'share', 'opencode');
    await writeFile(join(directory, name), 'SQLite format 3');
    return { at, file: join(directory, 'mcp-auth.json') };
  };

  test.each(['opencode.db', 'opencode-dev.db'])('reports %s when the login file is missing', async (name) => {
    const { at, file } = await put(name);
    await rm(file);
    const { logins, skipped } = await findLogins(at.source, at.context);
    expect(logins).toEqual([]);
    expect(skipped).toMatchObject([{ name, reason: expect.stringContaining('log in here instead') }]);
  });

  test('does not report the database when the file has a login', async () => {
    const { at } = await put('opencode.db');
    const { logins, skipped } = await findLogins(at.source, at.context);
    expect(logins.length).toBeGreaterThan(0);
    expect(skipped.map(({ name }) => name)).not.toContain('opencode.db');
  });
});

describe('an import', () => {
  test('finishes an import that was interrupted halfway', async () => {
    const at = await peerHome('codex', servers);
    const found = await only(at);
    const { vault } = vaultAt(at.home);
    await vault.transfer.import(found.login, { issuer: servers.issuer });
    await expire(at.home, servers.resource);
    const { generation } = await vault.token(servers.resource);
    expect(await moveLogin(await only(at), at, vault, { issuer: servers.issuer })).toMatchObject({
      outcome: 'finished',
    });
    expect((await findLogins(at.source, at.context)).logins).toEqual([]);
    expect((await vault.token(servers.resource)).generation).toBe(generation);
  });

  test('says that two programs have the login when the removal fails, and finishes later', async () => {
    const at = await peerHome('cline', servers);
    const found = await only(at);
    const { vault } = vaultAt(at.home);
    const cause = new StorageUnwritableError('The disk is read-only.');
    const failing: FoundLogin = { ...found, take: () => Promise.reject(cause) };
    const refused = await moveLogin(failing, at, vault, { issuer: servers.issuer }).catch(
      (error: unknown) => error,
    );
    expect(refused).toBeInstanceOf(StillThere);
    expect(refused).toMatchObject({ cause, file: found.file });
    expect((await vault.list()).credentials).toHaveLength(1);
    expect(await moveLogin(await only(at), at, vault, { issuer: servers.issuer })).toMatchObject({
      outcome: 'finished',
    });
  });

  test('keeps both logins unless told to replace one', async () => {
    const at = await peerHome('codex', servers);
    const { vault } = vaultAt(at.home);
    await moveLogin(await only(at), at, vault, { issuer: servers.issuer });
    const second = await peerHome('opencode', servers);
    const before = await second.files();
    await expect(
      moveLogin(await only(second), second, vault, { issuer: servers.issuer }),
    ).rejects.toMatchObject({
      code: 'invalid-argument',
      hint: expect.stringContaining('--replace'),
    });
    expect(await second.files()).toEqual(before);
    await moveLogin(await only(second), second, vault, { issuer: servers.issuer, replace: true });
    expect((await stored(at.home, servers.resource)).credential.imported).toMatchObject({ from: 'opencode' });
    await moveLogin(await only(await peerHome('cline', servers)), at, vault, { account: 'work' });
    expect((await vault.list()).credentials.map(({ account }) => account)).toEqual(['default', 'work']);
  });

  test('takes the newer tokens when the program refreshes during the import', async () => {
    const at = await peerHome('codex', servers);
    const found = await only(at);
    const newer = await peerHome('codex', servers);
    const { vault } = vaultAt(at.home);
    const interrupted: FoundLogin = {
      ...found,
      take: async () => {
        const [text = ''] = Object.values(await newer.files());
        await writeFile(found.file, text);
        return found.take();
      },
    };
    expect(await moveLogin(interrupted, at, vault, { issuer: servers.issuer })).toMatchObject({
      outcome: 'moved',
    });
    const { credential } = await stored(at.home, servers.resource);
    expect(credential.tokens.refreshToken?.reveal()).toBe(newer.login.tokens.refresh_token);
    expect((await findLogins(at.source, at.context)).logins).toEqual([]);
  });

  test('keeps the login there, and cannot refresh here, when it takes only the access token', async () => {
    const at = await peerHome('mcporter', servers);
    const before = await at.files();
    const { vault } = vaultAt(at.home);
    const { result, outcome } = await moveLogin(await only(at), at, vault, { accessTokenOnly: true });
    expect(outcome).toBe('access-token');
    expect(result.credential.canRefresh).toBe(false);
    expect(await at.files()).toEqual(before);
    expect(await accepted(servers.resource, (await vault.token(servers.resource)).token)).toBe(true);
    await expire(at.home, servers.resource);
    await expect(vaultAt(at.home).vault.token(servers.resource)).rejects.toMatchObject({
      code: 'login-required',
      message: expect.stringContaining('that mcporter had'),
    });
  });

  test('refuses to import when the server now has another authorization server', async () => {
    const at = await peerHome('mcp-remote', servers);
    const before = await at.files();
    const found = await only(at);
    const { vault } = vaultAt(at.home);
    const elsewhere = { ...found, login: { ...found.login, issuer: 'https://as.elsewhere.example' } };
    await expect(moveLogin(elsewhere, at, vault, {})).rejects.toMatchObject({ code: 'issuer-mismatch' });
    expect(await at.files()).toEqual(before);
    expect((await vault.list()).credentials).toEqual([]);
  });

  test('reports a damaged file and changes nothing', async () => {
    const at = await peerHome('opencode', servers);
    const [path = ''] = Object.keys(await at.files());
    const file = join(at.directory, path);
    await writeFile(file, '{"notion": {"tokens": {"accessToken": "cut-secret');
    const refused = await findLogins(at.source, at.context).catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: 'invalid-argument' });
    expect(String(refused)).not.toContain('cut-secret');
    expect(Object.values(await at.files())).toEqual(['{"notion": {"tokens": {"accessToken": "cut-secret']);
  });
});
