import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { KeyringBrokenError, KeyringLockedError } from '../../src/errors.ts';
import { findLogins, moveLogin } from '../../src/import/move.ts';
import type { FoundLogin } from '../../src/import/source.ts';
import { acquireLock } from '../../src/system/locks/lock.ts';
import { loadKernelKeyring, RING } from '../../src/system/os/kernel-keyring.ts';
import { temporaryDirectory } from '../support/homes/home.ts';
import { accepted, expire, stored, vaultAt } from '../support/homes/vault.ts';
import { NO_KEYCTL } from '../support/keyrings/keyctl.ts';
import { type Bus, NO_SECRET_SERVICE, privateBus } from '../support/keyrings/secret-service.ts';
import { requirement } from '../support/requirement.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { watchedTimers } from '../support/waits.ts';
import { type PeerHome, peerHome } from './peer-home.ts';

/** Optional, so its import is resolved only when the test runs. */
const LIBRARY: string = '@napi-rs/keyring';

const NO_LIBRARY = requirement(
  '@napi-rs/keyring is not installed',
  await import(LIBRARY).then(
    () => true,
    () => false,
  ),
);

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

/** The fixture's files of the tokens that these tests move into the keyring. */
const TOKEN_FILES: Readonly<Record<string, string>> = {
  codex: '.codex/.credentials.json',
  gemini: '.gemini',
  goose: '.config/goose/secrets.yaml',
  inspector: '.mcp-inspector/secrets.json',
};
/** The attribute in which the program's library stores the account: the keyring crate, or keytar (libsecret). */
const ATTRIBUTE: Readonly<Record<string, string>> = { gemini: 'account' };

/** Time limit of a wait for a lock of Codex or goose, in milliseconds. */
const LOCK_LIMIT = { fromMs: 60_000, toMs: 60_000 };

interface Item {
  readonly service: string;
  readonly account: string;
  readonly text: string;
}

/** Makes a home of a program whose tokens are only in the keyring of that bus. */
async function inKeyring(id: string, bus: Bus): Promise<{ at: PeerHome; items: readonly Item[] }> {
  const at = await peerHome(id, servers);
  await rm(join(at.directory, TOKEN_FILES[id] ?? ''), { recursive: true });
  const items = itemsOf(id, at);
  for (const item of items) keep(bus, item, ATTRIBUTE[id]);
  return { at: onBus(at, bus), items };
}

function onBus(at: PeerHome, bus: Bus): PeerHome {
  const environment = { ...at.context.environment, variables: bus.variables };
  return { ...at, context: { ...at.context, environment } };
}

function keep(bus: Bus, { service, account, text }: Item, attribute = 'username'): void {
  const attributes = ['service', service, attribute, account];
  execFileSync('secret-tool', ['store', '--label', `keyring:${account}@${service}`, ...attributes], {
    env: bus.variables,
    input: text,
  });
}

function kept(
  bus: Bus,
  { service, account }: Omit<Item, 'text'>,
  attribute = 'username',
): string | undefined {
  try {
    return execFileSync('secret-tool', ['lookup', 'service', service, attribute, account], {
      env: bus.variables,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
  } catch {
    return undefined;
  }
}

/** Returns the login first, then the items that must stay. */
function itemsOf(id: string, { login }: PeerHome): readonly [Item, ...Item[]] {
  const { access_token, refresh_token } = login.tokens;
  const wire = { access_token, token_type: 'bearer', expires_in: 3600, refresh_token, scope: 'tools:call' };
  const client_id = login.client.client_id;
  const other = { access_token: 'other-access', token_type: 'bearer', refresh_token: 'other-refresh' };
  const resource = servers.resource;
  switch (id) {
    case 'codex': {
      const service = 'Codex MCP Credentials';
      const one = { server_name: 'notion', url: resource, client_id, token_response: wire };
      const two = {
        server_name: 'other',
        url: 'https://other.example/mcp',
        client_id,
        token_response: other,
      };
      return [
        item(service, 'notion|0123456789abcdef', { ...one, expires_at: Date.now() + 3_600_000 }),
        item(service, 'other|fedcba9876543210', { ...two, expires_at: 4_102_444_800_000 }),
        item('Codex Auth', 'cli|0123456789abcdef', { OPENAI_API_KEY: 'sk-not-an-mcp-login' }),
      ];
    }
    case 'goose': {
      const token_received_at = Math.floor(Date.now() / 1000);
      return [
        item('goose', 'secrets', {
          OPENAI_API_KEY: 'sk-not-an-mcp-login',
          oauth_creds_notion: { client_id, token_response: wire, granted_scopes: [], token_received_at },
          oauth_creds_other: { client_id, token_response: other, granted_scopes: [], token_received_at },
        }),
      ];
    }
    case 'gemini': {
      const service = 'gemini-cli-oauth';
      const token = { tokenType: 'Bearer', scope: 'tools:call', expiresAt: Date.now() + 3_600_000 };
      const own = { accessToken: 'own-access', tokenType: 'Bearer' };
      return [
        item(service, 'notion', {
          serverName: 'notion',
          token: { accessToken: access_token, refreshToken: refresh_token, ...token },
          clientId: client_id,
          tokenUrl: login.tokenEndpoint,
          mcpServerUrl: resource,
        }),
        item(service, 'main-account', { serverName: 'main-account', token: own, mcpServerUrl: resource }),
        item(service, '__secret__api-key', 'a secret of another kind'),
      ];
    }
    default: {
      const service = 'mcp-inspector';
      const prefix = 'oauth+ffab3d56-c197-4198-84cc-81ffee350e3d+';
      return [
        item(service, `${prefix}${encodeURIComponent(resource)}:tokens:${login.issuer}`, wire),
        item(
          service,
          `${prefix}${encodeURIComponent('https://other.example/mcp')}:tokens:https://as.x`,
          other,
        ),
      ];
    }
  }
}

function item(service: string, account: string, value: unknown): Item {
  return { service, account, text: JSON.stringify(value) };
}

async function only({ source, context }: PeerHome): Promise<FoundLogin> {
  const { logins } = await findLogins(source, context);
  expect(logins).toHaveLength(1);
  return logins[0] as FoundLogin;
}

async function unlockedBus(): Promise<Bus> {
  const bus = await privateBus();
  await bus.keyring({ unlock: true });
  return bus;
}

describe.skipIf(NO_SECRET_SERVICE)('logins in the Secret Service', () => {
  test.each(['codex', 'goose', 'gemini', 'inspector'])(
    'moves a login of %s, refreshes it here, and keeps everything else there',
    async (id) => {
      const bus = await unlockedBus();
      const { at, items } = await inKeyring(id, bus);
      const found = await only(at);
      expect(found.file).toBe(`Secret Service: ${items[0]?.service}`);
      const { vault } = vaultAt(at.home);
      const { outcome, result } = await moveLogin(found, at, vault, { issuer: servers.issuer });
      expect(outcome).toBe('moved');
      expect(result.credential).toMatchObject({ canRefresh: true, clientId: at.login.client.client_id });
      const { credential } = await stored(at.home, servers.resource);
      expect(credential.tokens.refreshToken?.reveal() === at.login.tokens.refresh_token).toBe(true);

      const [moved, ...rest] = items as [Item, ...Item[]];
      for (const one of rest) expect(kept(bus, one, ATTRIBUTE[id])).toBe(one.text);
      const left = kept(bus, moved, ATTRIBUTE[id]);
      if (id === 'goose') {
        const { oauth_creds_notion: _, ...others } = JSON.parse(moved.text) as Record<string, unknown>;
        expect(left).toBe(JSON.stringify(others));
      } else expect(left).toBeUndefined();
      expect((await findLogins(at.source, at.context)).logins).toEqual([]);

      await expire(at.home, servers.resource);
      const { token } = await vault.token(servers.resource);
      expect(await accepted(servers.resource, token)).toBe(true);
    },
  );

  test.skipIf(NO_LIBRARY)('finds an item that @napi-rs/keyring wrote as the Inspector does', async () => {
    const bus = await unlockedBus();
    const at = await peerHome('inspector', servers);
    await rm(join(at.directory, '.mcp-inspector/secrets.json'));
    const { service, account, text } = itemsOf('inspector', at)[0];
    const write = `import { AsyncEntry } from '@napi-rs/keyring';
      await new AsyncEntry(process.env.SERVICE, process.env.ACCOUNT).setPassword(process.env.TEXT);`;
    execFileSync(process.execPath, ['--input-type=module', '-e', write], {
      env: { ...bus.variables, SERVICE: service, ACCOUNT: account, TEXT: text },
    });
    const found = await only(onBus(at, bus));
    expect(await found.take()).toBe('taken');
    expect(kept(bus, { service, account })).toBeUndefined();
  });

  test('finds the logins of Codex in its file and its keyring, and removes each from its own place', async () => {
    const bus = await unlockedBus();
    const at = await peerHome('codex', servers);
    const [one] = itemsOf('codex', at);
    keep(bus, { ...one, account: 'renamed|0123456789abcdef' });
    const { logins } = await findLogins(at.source, onBus(at, bus).context);
    expect(logins.map(({ file }) => file)).toEqual([
      join(at.directory, '.codex/.credentials.json'),
      'Secret Service: Codex MCP Credentials',
    ]);
    expect(await logins[1]?.take()).toBe('taken');
    const left = (await at.files())['.codex/.credentials.json'] ?? '';
    expect(left.includes(at.login.tokens.refresh_token)).toBe(true);
  });

  test('keeps an item that the program has refreshed meanwhile', async () => {
    const bus = await unlockedBus();
    const { at, items } = await inKeyring('codex', bus);
    const [one] = items as [Item];
    const found = await only(at);
    const newer = one.text.replace(at.login.tokens.refresh_token, 'a-newer-refresh-token');
    keep(bus, { ...one, text: newer });
    expect(await found.take()).toBe('changed');
    expect(kept(bus, one)).toBe(newer);
  });

  test('reports an item that the program has removed meanwhile as gone', async () => {
    const bus = await unlockedBus();
    const { at, items } = await inKeyring('codex', bus);
    const [one] = items as [Item];
    const found = await only(at);
    execFileSync('secret-tool', ['clear', 'service', one.service, 'username', one.account], {
      env: bus.variables,
    });
    expect(await found.take()).toBe('gone');
  });

  test('reports and keeps an item that holds no login', async () => {
    const bus = await unlockedBus();
    const at = await peerHome('codex', servers);
    await rm(join(at.directory, '.codex/.credentials.json'));
    for (const text of ['no JSON', '[]', 'CODEX_CHUNKED:2:{"server_name"']) {
      keep(bus, { service: 'Codex MCP Credentials', account: `${text.slice(0, 3)}|0`, text });
    }
    const { logins, skipped } = await findLogins(at.source, onBus(at, bus).context);
    expect(logins).toEqual([]);
    expect(skipped.map(({ reason }) => reason).toSorted()).toEqual([
      expect.stringContaining('cut it into several items'),
      'it is no login to an MCP server',
      'it is no login to an MCP server',
    ]);
  });

  test('reports and keeps a damaged item of goose', async () => {
    const bus = await unlockedBus();
    const { at } = await inKeyring('goose', bus);
    const damaged = { service: 'goose', account: 'secrets', text: '{"OPENAI_API_KEY":' };
    keep(bus, damaged);
    const { logins, skipped } = await findLogins(at.source, at.context);
    expect(logins).toEqual([]);
    expect(skipped).toMatchObject([{ reason: expect.stringContaining('not what that program writes') }]);
    expect(kept(bus, damaged)).toBe(damaged.text);
  });

  test('reports a locked keyring, not a missing login', async () => {
    const home = await temporaryDirectory();
    const first = await privateBus({ home });
    await first.keyring({ unlock: true });
    const { at } = await inKeyring('codex', first);
    const later = await privateBus({ home });
    await later.keyring({ unlock: false });
    const locked = findLogins(at.source, onBus(at, later).context);
    await expect(locked).rejects.toThrow(KeyringLockedError);
    await expect(locked).rejects.toMatchObject({ hint: expect.stringContaining('Unlock it') });

    const inFile = await peerHome('codex', servers);
    const { logins, skipped } = await findLogins(inFile.source, onBus(inFile, later).context);
    expect(logins).toHaveLength(1);
    expect(skipped).toMatchObject([
      { file: 'Secret Service: Codex MCP Credentials', reason: expect.stringContaining('locked') },
    ]);
  });

  test('fails in time when the keyring does not answer', async () => {
    const bus = await privateBus();
    const daemon = await bus.keyring({ unlock: true });
    const { at } = await inKeyring('goose', bus);
    daemon.kill('SIGSTOP');
    await expect(findLogins(at.source, at.context)).rejects.toThrow(KeyringBrokenError);
    daemon.kill('SIGCONT');
  });

  test.skipIf(NO_KEYCTL)('removes the copy in the kernel’s keyring with the login of Codex', async () => {
    const bus = await unlockedBus();
    const { at, items } = await inKeyring('codex', bus);
    const [one] = items as [Item];
    const kernel = await loadKernelKeyring();
    const name = `keyring-rs:${one.account}@${one.service}`;
    const key = kernel.add('user', name, Buffer.from(one.text), RING.user);
    expect(await (await only(at)).take()).toBe('taken');
    expect(() => kernel.read(key)).toThrow();
  });

  test('waits for the lock that Codex holds during a refresh', async () => {
    const bus = await unlockedBus();
    const { at, items } = await inKeyring('codex', bus);
    const [one] = items as [Item];
    const locks = join(at.directory, '.codex/mcp-oauth-locks');
    await mkdir(locks, { recursive: true });
    const found = await only(at);
    const name = createHash('sha256').update(one.account).digest('hex');
    const held = await acquireLock(join(locks, `${name}.lock`), { waitMs: 0 });
    const timers = watchedTimers();
    const taken = found.take();
    await timers.seeWaiting(taken, LOCK_LIMIT);
    const refreshed = one.text.replace(at.login.tokens.refresh_token, 'a-newer-refresh-token');
    keep(bus, { ...one, text: refreshed });
    await held.release();
    expect(await taken).toBe('changed');
    expect(kept(bus, one)).toBe(refreshed);
  });

  test('waits for the lock that goose holds while it changes a secret', async () => {
    const bus = await unlockedBus();
    const { at } = await inKeyring('goose', bus);
    const found = await only(at);
    const held = await acquireLock(join(at.directory, '.config/goose/secrets.yaml.lock'), { waitMs: 0 });
    const timers = watchedTimers();
    const taken = found.take();
    await timers.seeWaiting(taken, LOCK_LIMIT);
    await held.release();
    expect(await taken).toBe('taken');
  });

  test('looks only at the file that the user names', async () => {
    const bus = await unlockedBus();
    const { at } = await inKeyring('codex', bus);
    const file = join(at.directory, 'another.json');
    const { logins, searched } = await findLogins(at.source, { ...at.context, file });
    expect(logins).toEqual([]);
    expect(searched).toEqual([file]);
  });
});

test('skips the keyring and says so when there is no session bus', async () => {
  const at = await peerHome('goose', servers);
  const environment = { ...at.context.environment, platform: 'linux' as const, variables: {} };
  const { logins, skipped, searched } = await findLogins(at.source, { ...at.context, environment });
  expect(logins).toHaveLength(1);
  expect(skipped).toEqual([]);
  expect(searched.at(-1)).toBe('Secret Service: goose (there is no Secret Service here)');
});
