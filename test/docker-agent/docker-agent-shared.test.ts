import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { CredentialId } from '../../src/credential.ts';
import type { Environment } from '../../src/system/environment.ts';
import { openVault } from '../../src/vault/open.ts';
import { sampleCredential } from '../support/homes/credential.ts';
import { bundleAt, dockerAgentParts, fixtureAt, writeBundle } from '../support/homes/docker-agent.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { accepted, scripted } from '../support/homes/vault.ts';
import { holdfast, start, TYPESCRIPT } from '../support/processes/process.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';

/* docker-agent's store with several processes, and over several refreshes. */

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

async function place(): Promise<Place> {
  const { path, environment } = await temporaryHome();
  return { directory: join(path, '..', 'cagent'), environment, home: path };
}

function vaultOf({ directory, environment }: Place) {
  const vault = openVault({ environment, keyring: 'file', store: 'docker-agent', dockerAgentDir: directory });
  onTestFinished(() => vault.close());
  return vault;
}

/** A login at the test's server that docker-agent alone has made, without Holdfast's files. */
async function theirLogin(changes: Readonly<Record<string, unknown>> = {}): Promise<Place> {
  const at = await place();
  await vaultOf(at).login(servers.resource, { interaction: scripted });
  await rm(join(at.directory, 'holdfast'), { recursive: true });
  await changeEntry(at, changes);
  return at;
}

async function changeEntry(at: Place, changes: Readonly<Record<string, unknown>>): Promise<void> {
  const bundle = new Map(await bundleAt(at.directory, at.environment));
  bundle.set(servers.resource, { ...Object(bundle.get(servers.resource)), ...changes });
  await writeBundle(at.directory, at.environment, bundle);
}

describe('the endpoints of a login that docker-agent alone has made', () => {
  /** Counts requests to the MCP server without a token, which discovery makes. */
  const asked = async (step: () => Promise<unknown>) => {
    const before = (await servers.resourceCounters()).refused;
    await step();
    return (await servers.resourceCounters()).refused - before;
  };

  test('discovers the endpoints once, and keeps them for later processes', async () => {
    const at = await theirLogin();
    const refresh = async () => {
      const { generation } = await vaultOf(at).token(servers.resource);
      return vaultOf(at).token(servers.resource, { rejectedGeneration: generation });
    };
    expect(await asked(refresh)).toBeGreaterThan(0);
    let token = (await refresh()).token;
    expect(
      await asked(async () => {
        ({ token } = await refresh());
      }),
    ).toBe(0);
    expect(await accepted(servers.resource, token)).toBe(true);
  });

  test('forgets the endpoints when docker-agent has logged in at another authorization server', async () => {
    const at = await theirLogin();
    const { generation } = await vaultOf(at).token(servers.resource);
    await vaultOf(at).token(servers.resource, { rejectedGeneration: generation });
    await changeEntry(at, {
      access_token: 'of-another',
      refresh_token: 'of-another',
      auth_server: 'https://other.example',
    });
    const before = await servers.counters();
    const vault = vaultOf(at);
    const now = await vault.token(servers.resource);
    await expect(vault.token(servers.resource, { rejectedGeneration: now.generation })).rejects.toMatchObject(
      {
        code: 'issuer-mismatch',
      },
    );
    expect((await servers.counters()).tokenRequests).toBe(before.tokenRequests);
  });
});

test('five processes that need a refresh at once make one token request', async () => {
  const at = await theirLogin({ expires_at: '2020-01-01T00:00:00Z' });
  const before = await servers.counters();
  const ended = await Promise.all(
    Array.from({ length: 5 }, () => {
      const args = ['token', servers.resource, '--store', 'docker-agent', '--docker-agent-dir', at.directory];
      return holdfast([...args, '--keyring', 'file'], { HOLDFAST_HOME: at.home }).ended;
    }),
  );
  expect(ended.map(({ code, err }) => [code, err])).toEqual(Array.from({ length: 5 }, () => [0, '']));
  expect(new Set(ended.map(({ out }) => out)).size).toBe(1);
  expect((await servers.counters()).tokenRequests - before.tokenRequests).toBe(1);
  expect((await bundleAt(at.directory, at.environment)).get(servers.resource)).toMatchObject({
    access_token: ended[0]?.out.trim(),
  });
});

test('a write gives up on a lock that another process keeps, reports it, and changes nothing', async () => {
  const at = await place();
  await fixtureAt(at.directory);
  const file = join(at.directory, 'mcp-oauth-tokens.enc');
  const lock = `${file}.lock`;
  const script = join(import.meta.dirname, '../support/processes/lock-holder.ts');
  const holder = start(process.execPath, [...TYPESCRIPT, script, lock, 'flock']);
  await holder.says('locked');
  const before = await readFile(file, 'base64');
  const { credentialStore, keys } = dockerAgentParts(at.directory, at.environment, undefined, 50);
  const name = CredentialId.of('https://ours.example/mcp', undefined);
  const keeping = credentialStore.save(await keys.strongest(), name, (generation) =>
    sampleCredential(name.resource, { generation }),
  );
  await expect(keeping).rejects.toMatchObject({
    code: 'lock-timeout',
    message: expect.stringContaining(lock),
    hint: expect.stringContaining(`fuser -v ${lock}`),
  });
  expect(await readFile(file, 'base64')).toBe(before);
  expect(await readdir(join(at.directory, 'holdfast', 'tmp'))).toEqual([]);
  holder.kill('SIGKILL');
  await holder.ended;
});
