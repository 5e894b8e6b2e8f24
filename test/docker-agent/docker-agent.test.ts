import { chmod, mkdir, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { CredentialId } from '../../src/credential.ts';
import { OutboxFiles } from '../../src/credentials/outbox/outbox-files.ts';
import {
  KeyringBrokenError,
  KeyUnavailableError,
  LoginRequiredError,
  StorageUnreadableError,
  StorageUnsafeError,
} from '../../src/errors.ts';
import { FileKeyring } from '../../src/keyring/file/file.ts';
import type { Environment } from '../../src/system/environment.ts';
import { openVault } from '../../src/vault/open.ts';
import type { VaultOptions } from '../../src/vault/vault.ts';
import { sampleCredential } from '../support/homes/credential.ts';
import {
  bundleAt,
  dockerAgentParts,
  fixtureAt,
  theirNames,
  writeBundle,
} from '../support/homes/docker-agent.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { accepted, scripted } from '../support/homes/vault.ts';
import { holdfast, start, TYPESCRIPT } from '../support/processes/process.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';

const NOTION = 'https://mcp.notion.com/sse';
const LINEAR = 'https://mcp.linear.app/mcp';
const LOCAL = 'http://localhost:8080/mcp?tenant=a%2Fb';

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

interface Place {
  readonly directory: string;
  readonly environment: Environment;
  readonly home: string;
}

/** A directory for docker-agent's files, which does not exist yet. */
async function place(): Promise<Place> {
  const { path, environment } = await temporaryHome();
  return { directory: join(path, '..', 'cagent'), environment, home: path };
}

async function fixture(): Promise<Place> {
  const made = await place();
  await fixtureAt(made.directory);
  return made;
}

function vaultOf({ directory, environment }: Place, options: VaultOptions = {}) {
  const vault = openVault({
    environment,
    keyring: 'file',
    store: 'docker-agent',
    dockerAgentDir: directory,
    ...options,
  });
  onTestFinished(() => vault.close());
  return vault;
}

/** The bytes of docker-agent's tokens and of their key. */
async function theirBytes({ directory }: Place): Promise<string> {
  const names = ['mcp-oauth-tokens.enc', 'mcp-oauth-keyring/oauth:encryption-key'];
  return (await Promise.all(names.map((name) => readFile(join(directory, name), 'base64')))).join();
}

describe('a store that docker-agent wrote', () => {
  test('lists the logins of docker-agent, and serves their tokens', async () => {
    const at = await fixture();
    const vault = vaultOf(at);
    const { credentials, undecryptable } = await vault.list();
    expect(undecryptable).toEqual([]);
    expect(
      credentials.map(({ resource, state, expiresAt, canRefresh, clientId, issuer, scopes }) => ({
        resource,
        state,
        expiresAt,
        canRefresh,
        clientId,
        issuer,
        scopes,
      })),
    ).toEqual([
      {
        resource: LOCAL,
        state: 'login-required',
        expiresAt: Date.UTC(2019, 11, 31, 22, 0, 0, 123),
        canRefresh: false,
        clientId: '',
        issuer: '',
        scopes: [],
      },
      {
        resource: LINEAR,
        state: 'fresh',
        expiresAt: undefined,
        canRefresh: false,
        clientId: 'client-linear',
        issuer: '',
        scopes: [],
      },
      {
        resource: NOTION,
        // A clock that was ahead dated it in 2031. It has at most an hour left, and is refreshed at its next use.
        state: 'stale',
        expiresAt: expect.any(Number) as number,
        canRefresh: true,
        clientId: 'client-notion',
        issuer: 'https://mcp.notion.com',
        scopes: ['read', 'write'],
      },
    ]);
    expect((await vault.token(NOTION)).token.reveal()).toBe('ntn-access-0001');
    expect((await vault.token(LINEAR)).token.reveal()).toBe('lin-access-0001');
    await expect(vault.token(LOCAL)).rejects.toThrow(LoginRequiredError);
  });

  test('reading docker-agent’s store does not change it', async () => {
    const at = await fixture();
    const before = await theirBytes(at);
    const vault = vaultOf(at);
    await vault.list();
    await vault.token(NOTION);
    expect(await theirBytes(at)).toBe(before);
    expect(await theirNames(at.directory)).toEqual(['mcp-oauth-keyring', 'mcp-oauth-tokens.enc']);
  });

  test('a change of one entry keeps the others, and every unknown field', async () => {
    const at = await fixture();
    const bundle = new Map(await bundleAt(at.directory, at.environment));
    const odd = { access_token: 'odd', expires_at: '0001-01-01T00:00:00Z', later: { field: [1, null] } };
    bundle
      .set('not a URL at all', odd)
      .set('__proto__', odd)
      .set(NOTION, { ...Object(bundle.get(NOTION)), later: 7 });
    await writeBundle(at.directory, at.environment, bundle);
    const { credentialStore } = dockerAgentParts(at.directory, at.environment);
    const found = await credentialStore.find(CredentialId.of(NOTION, undefined));
    if (found === undefined) throw new Error('It is not there.');
    const next = sampleCredential(NOTION, { generation: 2 });
    const held = await credentialStore.replace(found.held, next);
    expect(held?.credential).toEqual(next);
    const after = await bundleAt(at.directory, at.environment);
    expect([...after.keys()].sort()).toEqual([...bundle.keys()].sort());
    for (const [url, entry] of bundle) if (url !== NOTION) expect(after.get(url)).toEqual(entry);
    expect(after.get(NOTION)).toMatchObject({
      access_token: next.tokens.accessToken.reveal(),
      expires_in: 3600,
      expires_at: new Date(next.tokens.expiresAt ?? 0).toISOString(),
      later: 7,
    });
  });

  test('removes one entry at a time, and keeps the others', async () => {
    const at = await fixture();
    const before = new Map(await bundleAt(at.directory, at.environment));
    const gone = 'https://gone.example/mcp';
    await writeBundle(at.directory, at.environment, new Map([...before, [gone, { access_token: 'x' }]]));
    expect(await vaultOf(at).logout(gone)).toMatchObject({ removed: 1 });
    expect(await bundleAt(at.directory, at.environment)).toEqual(before);
    await expect(vaultOf(at).token(gone)).rejects.toThrow(LoginRequiredError);
  });
});

describe('a login in docker-agent’s store', () => {
  /** Writes an expired token, as docker-agent would find it. */
  async function lapse(at: Place, changes: Readonly<Record<string, unknown>> = {}): Promise<void> {
    const bundle = new Map(await bundleAt(at.directory, at.environment));
    const entry = {
      ...Object(bundle.get(servers.resource)),
      access_token: 'lapsed',
      expires_in: 60,
      ...changes,
    };
    bundle.set(servers.resource, { ...entry, expires_at: '2026-01-02T03:04:05.123456789+02:00' });
    await writeBundle(at.directory, at.environment, bundle);
  }

  test('shares a login with docker-agent, and keeps beside it what docker-agent’s format cannot hold', async () => {
    const at = await place();
    const vault = vaultOf(at);
    await vault.login(servers.resource, { interaction: scripted });
    await vault.login(servers.resource, { interaction: scripted, account: 'work' });
    const { token } = await vault.token(servers.resource);
    const bundle = await bundleAt(at.directory, at.environment);
    expect([...bundle.keys()]).toEqual([servers.resource]);
    expect(bundle.get(servers.resource)).toMatchObject({
      access_token: token.reveal(),
      token_type: 'Bearer',
      refresh_token: expect.any(String),
      client_id: expect.any(String),
      auth_server: servers.issuer,
    });
    const again = vaultOf(at);
    expect((await again.token(servers.resource)).token.equals(token)).toBe(true);
    expect((await again.list()).credentials.map(({ account, generation }) => [account, generation])).toEqual([
      ['default', 1],
      ['work', 1],
    ]);
    expect(await theirNames(at.directory)).toEqual([
      'mcp-oauth-keyring',
      'mcp-oauth-tokens.enc',
      'mcp-oauth-tokens.enc.lock',
    ]);
    expect(await again.logout(servers.resource)).toMatchObject({ removed: 1, revocation: 'revoked' });
    expect([...(await bundleAt(at.directory, at.environment)).keys()]).toEqual([]);
    expect((await again.list()).credentials.map(({ account }) => account)).toEqual(['work']);
  });

  test('two vaults refresh a login of docker-agent once, and change its entry only', async () => {
    const at = await fixture();
    await vaultOf(at).login(servers.resource, { interaction: scripted });
    await lapse(at);
    const before = await servers.counters();
    const [a, b] = await Promise.all([
      vaultOf(at).token(servers.resource),
      vaultOf(at).token(servers.resource),
    ]);
    expect((await servers.counters()).refreshGrants - before.refreshGrants).toBe(1);
    expect(a.token.equals(b.token)).toBe(true);
    expect(await accepted(servers.resource, a.token)).toBe(true);
    const bundle = await bundleAt(at.directory, at.environment);
    expect(bundle.get(servers.resource)).toMatchObject({ access_token: a.token.reveal() });
    expect(bundle.get(NOTION)).toMatchObject({ refresh_token: 'ntn-refresh-0001' });
  });

  test('discovers the server’s endpoints to refresh and revoke a login that docker-agent alone made', async () => {
    const at = await place();
    await vaultOf(at).login(servers.resource, { interaction: scripted });
    await lapse(at);
    await rm(join(at.directory, 'holdfast'), { recursive: true });
    const { token } = await vaultOf(at).token(servers.resource);
    expect(await accepted(servers.resource, token)).toBe(true);
    await rm(join(at.directory, 'holdfast'), { recursive: true });
    expect(await vaultOf(at).logout(servers.resource)).toMatchObject({ removed: 1, revocation: 'revoked' });
  });

  test('does not refresh a login at another authorization server than docker-agent’s', async () => {
    const at = await place();
    await vaultOf(at).login(servers.resource, { interaction: scripted });
    await lapse(at, { auth_server: 'https://other.example' });
    const before = await servers.counters();
    await expect(vaultOf(at).token(servers.resource)).rejects.toMatchObject({ code: 'issuer-mismatch' });
    expect(await servers.counters()).toEqual(before);
  });

  test('takes over tokens that docker-agent got in the meantime', async () => {
    const at = await place();
    const vault = vaultOf(at);
    await vault.login(servers.resource, { interaction: scripted });
    const before = await vault.token(servers.resource);
    const bundle = new Map(await bundleAt(at.directory, at.environment));
    const entry = { ...Object(bundle.get(servers.resource)), access_token: 'a-newer-one' };
    await writeBundle(at.directory, at.environment, bundle.set(servers.resource, entry));
    const after = await vaultOf(at).token(servers.resource);
    expect(after.token.reveal()).toBe('a-newer-one');
    expect(after).toMatchObject({ generation: before.generation + 1, issuer: servers.issuer });
  });

  test('the command line makes, shows and ends a login', async () => {
    const at = await place();
    const options = ['--store', 'docker-agent', '--docker-agent-dir', at.directory, '--keyring', 'file'];
    const run = async (...args: string[]) => {
      const variables = { HOLDFAST_HOME: at.home, BROWSER: browserPath() };
      return holdfast([...args, ...options], variables).ended;
    };
    expect(await run('login', servers.resource)).toMatchObject({ code: 0 });
    const { out } = await run('token', servers.resource);
    const bundle = await bundleAt(at.directory, at.environment);
    expect(bundle.get(servers.resource)).toMatchObject({ access_token: out.trim() });
    expect((await run('list')).out).toContain(servers.resource);
    expect(await run('logout', servers.resource)).toMatchObject({ code: 0 });
    expect((await bundleAt(at.directory, at.environment)).size).toBe(0);
  });

  function browserPath(): string {
    return join(import.meta.dirname, '../support/browser/scripted-browser.mjs');
  }
});

describe('a store that does not open', () => {
  /** Checks that all operations fail and change none of docker-agent's files. */
  async function refused(at: Place, error: new (...args: never[]) => Error): Promise<void> {
    const before = await theirBytes(at);
    const vault = vaultOf(at);
    await expect(vault.list()).rejects.toThrow(error);
    await expect(vault.token(NOTION)).rejects.toThrow(error);
    await expect(vault.logout(NOTION)).rejects.toThrow(error);
    const asked: string[] = [];
    const interaction = { authorize: async (url: string) => void asked.push(url) };
    await expect(vault.login(servers.resource, { interaction })).rejects.toThrow(error);
    expect(asked).toEqual([]);
    expect(await theirBytes(at)).toBe(before);
  }

  test('reports a bundle under another key, and leaves it in place', async () => {
    const at = await fixture();
    const other = await place();
    await dockerAgentParts(other.directory, other.environment).keys.strongest();
    for (const name of ['passphrase', 'oauth:encryption-key']) {
      const bytes = await readFile(join(other.directory, 'mcp-oauth-keyring', name));
      await writeFile(join(at.directory, 'mcp-oauth-keyring', name), bytes);
    }
    await refused(at, KeyUnavailableError);
  });

  test.each([
    [12, StorageUnreadableError],
    [200, KeyUnavailableError],
    [0, StorageUnreadableError],
  ])('leaves a bundle in place that was cut to %d bytes', async (length, error) => {
    const at = await fixture();
    await truncate(join(at.directory, 'mcp-oauth-tokens.enc'), length);
    await refused(at, error);
  });

  test('reports an empty passphrase file, and creates nothing in its place', async () => {
    const at = await fixture();
    await truncate(join(at.directory, 'mcp-oauth-keyring', 'passphrase'), 0);
    await refused(at, KeyringBrokenError);
    expect(await readFile(join(at.directory, 'mcp-oauth-keyring', 'passphrase'), 'utf8')).toBe('');
  });

  test('creates no new key when the key for sealed tokens is missing', async () => {
    const at = await fixture();
    const key = join(at.directory, 'mcp-oauth-keyring', 'oauth:encryption-key');
    const before = await readFile(join(at.directory, 'mcp-oauth-tokens.enc'));
    await rm(key);
    await expect(vaultOf(at).token(NOTION)).rejects.toThrow(KeyUnavailableError);
    const login = vaultOf(at).login(servers.resource, { interaction: scripted });
    await expect(login).rejects.toThrow(KeyUnavailableError);
    await expect(dockerAgentParts(at.directory, at.environment).keys.strongest()).rejects.toThrow(
      KeyringBrokenError,
    );
    await expect(readFile(key)).rejects.toThrow('ENOENT');
    expect(await readFile(join(at.directory, 'mcp-oauth-tokens.enc'))).toEqual(before);
  });

  test('refuses a directory that others can read, and names the command that fixes it', async () => {
    const at = await fixture();
    await chmod(at.directory, 0o755);
    const failure: unknown = await vaultOf(at)
      .list()
      .catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(StorageUnsafeError);
    expect(failure).toMatchObject({ hint: expect.stringContaining('chmod 700') });
  });

  test('a new login quarantines an entry that is not docker-agent’s, and keeps the others', async () => {
    const at = await fixture();
    const bundle = new Map(await bundleAt(at.directory, at.environment));
    await writeBundle(at.directory, at.environment, bundle.set(LINEAR, { token: 'of another shape' }));
    const { credentialStore, keys } = dockerAgentParts(at.directory, at.environment);
    const { held, undecryptable } = await credentialStore.list();
    expect([held.length, undecryptable.length]).toEqual([2, 1]);
    const { quarantined } = await credentialStore.save(
      await keys.strongest(),
      CredentialId.of(LINEAR, undefined),
      (generation) => sampleCredential(LINEAR, { generation }),
    );
    expect(quarantined).toContain(join(at.directory, 'holdfast', 'quarantine'));
    const after = await bundleAt(at.directory, at.environment);
    expect(after.size).toBe(3);
    expect(after.get(LINEAR)).toMatchObject({ client_id: 'a client' });
  });
});

describe('the layouts before the token file', () => {
  const token = (text: string) => ({ access_token: text, token_type: 'Bearer', later: 1 });
  const OLD = {
    'oauth:_index': ['https://one.example/mcp', 'https://two.example/mcp'],
    'oauth:https://one.example/mcp': token('one'),
    'oauth:https://two.example/mcp': token('two'),
    'oauth:tokens': { 'https://two.example/mcp': token('newer'), 'https://three.example/': token('three') },
  };

  async function old() {
    const at = await place();
    const { files } = dockerAgentParts(at.directory, at.environment);
    const keyring = new FileKeyring(files.layout, at.environment);
    for (const [item, json] of Object.entries(OLD))
      await keyring.set(item, Buffer.from(JSON.stringify(json)));
    const items = () => readdir(join(at.directory, 'mcp-oauth-keyring'));
    return { at, files, items };
  }

  test('moves older layouts into the token file, the bundle before single items, and then removes them', async () => {
    const { at, items } = await old();
    const { credentials } = await vaultOf(at).list();
    expect(credentials.map(({ resource }) => resource)).toEqual([
      'https://one.example/mcp',
      'https://three.example',
      'https://two.example/mcp',
    ]);
    expect((await vaultOf(at).token('https://three.example')).token.reveal()).toBe('three');
    expect(await bundleAt(at.directory, at.environment)).toEqual(
      new Map([
        ['https://one.example/mcp', token('one')],
        ['https://two.example/mcp', token('newer')],
        ['https://three.example/', token('three')],
      ]),
    );
    expect(await items()).toEqual(['oauth:encryption-key', 'passphrase']);
  });

  test('keeps older layouts when the token file cannot be written', async () => {
    const { at, files, items } = await old();
    await dockerAgentParts(at.directory, at.environment).keys.strongest();
    const before = await items();
    await rm(files.lock);
    await mkdir(files.lock);
    await expect(vaultOf(at).list()).rejects.toMatchObject({ code: 'storage-unwritable' });
    expect(before).toContain('oauth:tokens');
    expect(await items()).toEqual(before);
  });
});

test('refuses to replace keys in docker-agent’s store', async () => {
  const at = await fixture();
  const before = await theirBytes(at);
  for (const options of [{}, { to: 'file' }]) {
    await expect(vaultOf(at).admin.rekey(options)).rejects.toMatchObject({ code: 'invalid-argument' });
  }
  expect(await theirBytes(at)).toBe(before);
});

test('reads while another process holds the lock, and a write waits for the lock', async () => {
  const at = await fixture();
  const lock = join(at.directory, 'mcp-oauth-tokens.enc.lock');
  const script = join(import.meta.dirname, '../support/processes/lock-holder.ts');
  const holder = start(process.execPath, [...TYPESCRIPT, script, lock, 'flock']);
  await holder.says('locked');
  expect((await vaultOf(at).token(NOTION)).token.reveal()).toBe('ntn-access-0001');
  const { credentialStore, keys } = dockerAgentParts(at.directory, at.environment);
  const key = await keys.strongest();
  let kept = false;
  const keeping = credentialStore
    .save(key, CredentialId.of('https://ours.example/mcp', undefined), (generation) =>
      sampleCredential('https://ours.example/mcp', { generation }),
    )
    .then(() => {
      kept = true;
    });
  const bundle = new Map(await bundleAt(at.directory, at.environment));
  bundle.set('https://theirs.example/', { access_token: 'theirs' });
  await writeBundle(at.directory, at.environment, bundle);
  expect(kept).toBe(false);
  holder.kill('SIGKILL');
  await keeping;
  const after = await bundleAt(at.directory, at.environment);
  expect(after.has('https://theirs.example/')).toBe(true);
  expect(after.has('https://ours.example/mcp')).toBe(true);
  await holder.ended;
});

test('reads, lists and changes a bundle of 10 MB with 5,000 entries', async () => {
  const at = await fixture();
  const bundle = new Map(await bundleAt(at.directory, at.environment));
  const resource = (index: number) => `https://server-${index}.example/mcp`;
  for (let index = 0; index < 5_000; index += 1) {
    bundle.set(resource(index), { access_token: `${index}-${'x'.repeat(2_000)}`, token_type: 'Bearer' });
  }
  await writeBundle(at.directory, at.environment, bundle);
  const vault = vaultOf(at);
  expect((await vault.list()).credentials).toHaveLength(5_003);
  expect((await vault.token(resource(4_999))).token.reveal()).toMatch(/^4999-x{2000}$/);
  expect(await vault.logout(resource(17))).toMatchObject({ removed: 1 });
  expect((await bundleAt(at.directory, at.environment)).size).toBe(5_002);
});

describe('a crash in the middle of a write', () => {
  const RESOURCE = 'https://ours.example/mcp';
  // The record, Holdfast's own file and the bundle are staged in this order. The last two then get their names.
  test.each([
    ['file-staged', 1],
    ['file-staged', 2],
    ['file-placed', 1],
    ['file-staged', 3],
    ['file-placed', 2],
  ])('a crash after %s, time %d, loses neither the login nor its new tokens', async (step, count) => {
    const at = await fixture();
    const { credentialStore, keys } = dockerAgentParts(at.directory, at.environment);
    const name = CredentialId.of(RESOURCE, undefined);
    const first = sampleCredential(RESOURCE);
    await credentialStore.save(await keys.strongest(), name, () => first);
    const script = join(import.meta.dirname, '../support/processes/docker-agent-process.ts');
    const args = [...TYPESCRIPT, script, at.directory, 'refresh', RESOURCE, step, String(count)];
    expect((await start(process.execPath, args).ended).code).toBe(null);
    const vault = vaultOf(at);
    expect((await vault.list()).undecryptable).toEqual([]);
    const { files } = dockerAgentParts(at.directory, at.environment);
    const outbox = new OutboxFiles(files.layout, at.environment);
    const again = dockerAgentParts(at.directory, at.environment, outbox);
    const found = await again.credentialStore.find(name);
    if (found === undefined) throw new Error('The login is gone.');
    const { credential } = found.held;
    expect(credential.loggedInAt).toBe(first.loggedInAt);
    const next = sampleCredential(`${RESOURCE}, the next`).tokens.accessToken;
    const lease = again.credentialStore.lease(found.held);
    const home = await lease.begin({ waitMs: 10_000 });
    await lease.release();
    expect(home?.credential.tokens.accessToken.equals(next)).toBe(true);
    expect(home?.credential.generation).toBe(2);
    // The login is whole: the old tokens or the new ones, with their own fields.
    expect(
      credential.tokens.accessToken.equals(credential.generation === 2 ? next : first.tokens.accessToken),
    ).toBe(true);
  });
});

test('refuses a store with an unknown name, and takes docker-agent’s from HOLDFAST_STORE', async () => {
  const at = await fixture();
  const environment = (store: string) => ({
    ...at.environment,
    variables: { ...at.environment.variables, HOLDFAST_STORE: store },
  });
  expect(() => openVault({ environment: environment('vault') })).toThrow(
    expect.objectContaining({ code: 'invalid-argument' }),
  );
  const vault = openVault({
    environment: environment('docker-agent'),
    keyring: 'file',
    dockerAgentDir: at.directory,
  });
  onTestFinished(() => vault.close());
  expect((await vault.list()).credentials).toHaveLength(3);
});
