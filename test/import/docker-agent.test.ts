import { mkdir, readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { peerLogin } from '../../bench/storm/peer-login.ts';
import { findLogins, moveLogin } from '../../src/import/move.ts';
import type { FoundLogin, SourceContext } from '../../src/import/source.ts';
import { sourceNamed } from '../../src/import/sources.ts';
import { FileKeyring } from '../../src/keyring/file/file.ts';
import { openVault } from '../../src/vault/open.ts';
import { bundleAt, dockerAgentParts, writeBundle } from '../support/homes/docker-agent.ts';
import { temporaryDirectory, temporaryHome } from '../support/homes/home.ts';
import { accepted, expire, stored, vaultAt } from '../support/homes/vault.ts';
import { holdfast, start, TYPESCRIPT } from '../support/processes/process.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { peerHome } from './peer-home.ts';

const OTHER = 'https://other.example/mcp';
const OTHER_ENTRY = {
  access_token: 'other-access',
  token_type: 'Bearer',
  expires_at: '2031-01-02T03:04:05.123456789+01:30',
  a_later_field: { of: ['another', 'version'] },
};
const source = sourceNamed('docker-agent');

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

/** Makes a user's home in which docker-agent has two logins, one of them at the test's server. */
async function dockerAgentHome(layout: 'file' | 'old' = 'file') {
  const login = await peerLogin(servers);
  const directory = await temporaryDirectory();
  const cagent = join(directory, '.config', 'cagent');
  await mkdir(dirname(cagent));
  const home = await temporaryHome();
  const environment = { ...home.environment, homeDirectory: directory };
  const entry = {
    access_token: login.tokens.access_token,
    token_type: 'Bearer',
    expires_in: 3600,
    refresh_token: login.tokens.refresh_token,
    scope: 'tools:call',
    expires_at: new Date(Date.now() + 3_600_000).toISOString(),
    client_id: login.client.client_id,
    auth_server: login.issuer,
  };
  const bundle = new Map<string, unknown>([
    [OTHER, OTHER_ENTRY],
    [servers.resource, entry],
  ]);
  if (layout === 'file') await writeBundle(cagent, environment, bundle);
  else {
    const { files } = dockerAgentParts(cagent, environment);
    const keyring = new FileKeyring(files.layout, environment);
    await keyring.set('oauth:tokens', Buffer.from(JSON.stringify(Object.fromEntries(bundle))));
  }
  const context: SourceContext = {
    environment,
    file: undefined,
    urls: [servers.resource],
    configured: async () => [],
  };
  return { login, cagent, environment, home, context, entry, bundle: () => bundleAt(cagent, environment) };
}

async function only(context: SourceContext): Promise<FoundLogin> {
  const { logins } = await findLogins(source, context);
  expect(logins).toHaveLength(1);
  return logins[0] as FoundLogin;
}

describe('a login of docker-agent', () => {
  test.each(['file', 'old'] as const)(
    'moves a login out of the layout %s: refreshes it here, and keeps the other entry with all its fields',
    async (layout) => {
      const at = await dockerAgentHome(layout);
      const { vault } = vaultAt(at.home);
      const { outcome, result } = await moveLogin(
        await only(at.context),
        { source, context: at.context },
        vault,
        {},
      );
      expect(outcome).toBe('moved');
      expect(result.credential).toMatchObject({
        resource: servers.resource,
        canRefresh: true,
        issuer: servers.issuer,
        clientId: at.login.client.client_id,
        scopes: ['tools:call'],
      });
      expect(await at.bundle()).toEqual(new Map([[OTHER, OTHER_ENTRY]]));
      expect((await findLogins(source, at.context)).logins).toEqual([]);
      await expire(at.home, servers.resource);
      const { token, generation } = await vault.token(servers.resource);
      expect(generation).toBe(2);
      expect(await accepted(servers.resource, token)).toBe(true);
    },
  );

  test('reads the older layout without changing it when nothing is moved', async () => {
    const at = await dockerAgentHome('old');
    const { files } = dockerAgentParts(at.cagent, at.environment);
    const item = join(at.cagent, 'mcp-oauth-keyring', 'oauth:tokens');
    const before = await readFile(item, 'utf8');
    expect((await findLogins(source, { ...at.context, urls: [] })).logins.map(({ name }) => name)).toEqual([
      OTHER,
      servers.resource,
    ]);
    expect(await readFile(item, 'utf8')).toBe(before);
    await expect(readFile(files.bundle)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('moves the newer tokens when docker-agent has refreshed meanwhile', async () => {
    const at = await dockerAgentHome();
    const found = await only(at.context);
    const next = { ...at.entry, ...(await peerLogin(servers)).tokens };
    await writeBundle(at.cagent, at.environment, new Map([[servers.resource, next]]));
    const { vault } = vaultAt(at.home);
    expect(await moveLogin(found, { source, context: at.context }, vault, {})).toMatchObject({
      outcome: 'moved',
    });
    const { credential } = await stored(at.home, servers.resource);
    expect(credential.tokens.refreshToken?.reveal()).toBe(next.refresh_token);
    expect((await at.bundle()).size).toBe(0);
  });

  test('waits for another process that holds docker-agent’s lock, then moves the login', async () => {
    const at = await dockerAgentHome();
    const found = await only(at.context);
    const script = join(import.meta.dirname, '../support/processes/lock-holder.ts');
    const holder = start(process.execPath, [
      ...TYPESCRIPT,
      script,
      join(at.cagent, 'mcp-oauth-tokens.enc.lock'),
      'flock',
    ]);
    await holder.says('locked');
    let taken = false;
    const taking = found.take().then((outcome) => {
      taken = true;
      return outcome;
    });
    const bundle = new Map([...(await at.bundle()), ['https://theirs.example/', { access_token: 'theirs' }]]);
    await writeBundle(at.cagent, at.environment, bundle);
    expect(taken).toBe(false);
    holder.kill('SIGKILL');
    expect(await taking).toBe('taken');
    expect([...(await at.bundle()).keys()]).toEqual([OTHER, 'https://theirs.example/']);
    await holder.ended;
  });

  test('skips a damaged entry and says so, and refuses a file under another key', async () => {
    const at = await dockerAgentHome();
    await writeBundle(
      at.cagent,
      at.environment,
      new Map<string, unknown>([
        [OTHER, { access_token: 7, refresh_token: 'a secret' }],
        ['no URL', { access_token: 'another' }],
        [servers.resource, at.entry],
      ]),
    );
    const { logins, skipped } = await findLogins(source, { ...at.context, urls: [] });
    expect(logins.map(({ name }) => name)).toEqual([servers.resource]);
    expect(skipped.map(({ name }) => name).toSorted()).toEqual([OTHER, 'no URL']);
    expect(JSON.stringify(skipped)).not.toContain('a secret');

    await rm(join(at.cagent, 'mcp-oauth-keyring'), { recursive: true });
    const file = join(at.cagent, 'mcp-oauth-tokens.enc');
    const before = await readFile(file, 'base64');
    await expect(findLogins(source, at.context)).rejects.toMatchObject({ code: 'key-unavailable' });
    expect(await readFile(file, 'base64')).toBe(before);
  });

  test('imports a login into our store, and refuses the store that already has it', async () => {
    const at = await dockerAgentHome();
    const before = await readFile(join(at.cagent, 'mcp-oauth-tokens.enc'), 'base64');
    const run = (args: readonly string[], variables = {}) =>
      holdfast(['import', 'docker-agent', '--file', at.cagent, '--yes', ...args], {
        HOME: at.environment.homeDirectory,
        HOLDFAST_HOME: at.home.path,
        ...variables,
      }).ended;
    for (const refused of [
      await run(['--store', 'docker-agent', '--docker-agent-dir', at.cagent]),
      await run([], { HOLDFAST_STORE: 'docker-agent' }),
    ]) {
      expect([refused.code, refused.out]).toEqual([2, '']);
      expect(refused.err).toContain('--store directory');
    }
    expect(await readFile(join(at.cagent, 'mcp-oauth-tokens.enc'), 'base64')).toBe(before);
    const { code, err } = await run(['--url', servers.resource]);
    expect([code, err]).toEqual([0, expect.stringContaining('Moved')]);
    expect(err).not.toContain(at.login.tokens.access_token);
    expect([...(await at.bundle()).keys()]).toEqual([OTHER]);
  });
});

describe('importing with --store docker-agent', () => {
  test('moves a login of another program into docker-agent’s file, and refreshes it there', async () => {
    const at = await peerHome('codex', servers);
    const dockerAgentDir = join(at.directory, '.config', 'cagent');
    await mkdir(dirname(dockerAgentDir), { recursive: true });
    const { environment } = at.context;
    const { vault } = vaultAt(at.home, { environment, store: 'docker-agent', dockerAgentDir });
    for (const found of (await findLogins(at.source, at.context)).logins) {
      const moved = await moveLogin(found, at, vault, { issuer: servers.issuer });
      expect(moved).toMatchObject({ outcome: 'moved' });
    }
    const [[url, entry] = []] = [...(await bundleAt(dockerAgentDir, environment))];
    expect(url).toBe(servers.resource);
    expect(entry).toMatchObject({
      refresh_token: at.login.tokens.refresh_token,
      auth_server: servers.issuer,
    });
    expect((await vault.token(servers.resource, { rejectedGeneration: 1 })).generation).toBe(2);
    expect(JSON.stringify(await at.files())).not.toContain(at.login.tokens.refresh_token);
  });

  // The import writes the self-test, the sidecar and the bundle in this order, then the other program's file.
  test.each([
    ['file-placed', 2, 'moved'],
    ['file-placed', 3, 'finished'],
    ['directory-synced', 3, 'finished'],
  ])('killed after %s, time %d, the import is then %s', async (step, count, expected) => {
    const at = await peerHome('codex', servers);
    const dockerAgentDir = join(at.directory, '.config', 'cagent');
    await mkdir(dirname(dockerAgentDir), { recursive: true });
    const { environment } = at.context;
    await dockerAgentParts(dockerAgentDir, environment).keys.strongest();
    const script = join(import.meta.dirname, '../support/processes/import-process.ts');
    const args = [at.directory, dockerAgentDir, 'codex', servers.resource, servers.issuer, step, `${count}`];
    const killed = await start(process.execPath, [...TYPESCRIPT, script, ...args], {
      HOLDFAST_HOME: at.home.path,
    }).ended;
    expect([killed.code, killed.err]).toEqual([null, '']);
    const [found] = (await findLogins(at.source, at.context)).logins;
    if (found === undefined) throw new Error('It was taken out before it was killed.');
    const bundle = await readFile(join(dockerAgentDir, 'mcp-oauth-tokens.enc')).catch(() => undefined);
    expect(bundle !== undefined).toBe(expected === 'finished');
    const vault = openVault({ environment, keyring: 'file', store: 'docker-agent', dockerAgentDir });
    const again = await moveLogin(found, at, vault, { issuer: servers.issuer });
    expect(again).toMatchObject({ outcome: expected });
    expect((await findLogins(at.source, at.context)).logins).toEqual([]);
    expect((await vault.token(servers.resource, { rejectedGeneration: 1 })).generation).toBe(2);
    await vault.close();
  });
});
