import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { findLogins, moveLogin } from '../../src/import/move.ts';
import { sourceNamed } from '../../src/import/sources.ts';
import {
  BUILD_MS,
  buildWitness,
  bundleAt,
  NO_WITNESS,
  witness,
  writeBundle,
} from '../support/homes/docker-agent.ts';
import { temporaryDirectory, temporaryHome } from '../support/homes/home.ts';
import { accepted, loggedIn, stored, vaultAt } from '../support/homes/vault.ts';
import { holdfast } from '../support/processes/process.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

/** Makes a Holdfast home with a login, and a user's home for the files of other programs. */
async function context() {
  const { home, first } = await loggedIn(await temporaryHome(), servers.resource);
  const directory = await temporaryDirectory();
  const environment = { ...home.environment, homeDirectory: directory };
  const run = (args: readonly string[]) =>
    holdfast(['export', servers.resource, '--reveal', '--yes', '--keyring', 'file', ...args], {
      HOME: directory,
      HOLDFAST_HOME: home.path,
    }).ended;
  const toImport = { environment, file: undefined, urls: [servers.resource], configured: async () => [] };
  return { home, first, directory, environment, run, toImport };
}

describe('--format mcp-remote', () => {
  const name = () => createHash('md5').update(servers.resource).digest('hex');

  async function withDirectory() {
    const at = await context();
    const out = join(at.directory, '.mcp-auth', 'mcp-remote-v1');
    await mkdir(out, { recursive: true, mode: 0o700 });
    const read = async (what: string) =>
      JSON.parse(await readFile(join(out, `${name()}_${what}.json`), 'utf8'));
    return { ...at, out, read, run: (...args: string[]) => at.run(['--format', 'mcp-remote', ...args]) };
  }

  test('writes only the access token, readable by the user alone, and keeps the login', async () => {
    const at = await withDirectory();
    const { code, out, err } = await at.run('--out', at.out);
    expect([code, out]).toEqual([0, '']);
    expect(err).not.toContain(at.first.tokens.accessToken.reveal());
    expect(await readdir(at.out)).toEqual([`${name()}_tokens.json`]);
    expect((await stat(join(at.out, `${name()}_tokens.json`))).mode & 0o777).toBe(0o600);
    const tokens = await at.read('tokens');
    expect(tokens).toMatchObject({
      access_token: at.first.tokens.accessToken.reveal(),
      token_type: 'Bearer',
      issuer: servers.issuer,
    });
    // In milliseconds; the clock may have been adjusted a little meanwhile.
    expect(Math.abs(tokens.expires_at - (at.first.tokens.expiresAt ?? 0))).toBeLessThan(5_000);
    expect(tokens).not.toHaveProperty('refresh_token');
    expect((await stored(at.home, servers.resource)).credential.loginRequired).toBeUndefined();
  });

  test('moves the whole login to mcp-remote, from which it can be imported again', async () => {
    const at = await withDirectory();
    const { code, err } = await at.run('--move', '--out', at.out);
    expect([code, err]).toEqual([0, expect.stringContaining('is here no more')]);
    expect(await readdir(at.out)).toEqual([`${name()}_client_info.json`, `${name()}_tokens.json`]);
    expect(await at.read('tokens')).toMatchObject({ refresh_token: at.first.tokens.refreshToken?.reveal() });
    expect(await at.read('client_info')).toMatchObject({ client_id: at.first.client.clientId });
    const { vault } = vaultAt(at.home);
    await expect(vault.token(servers.resource)).rejects.toMatchObject({ code: 'login-required' });
    const source = sourceNamed('mcp-remote');
    const [found] = (await findLogins(source, at.toImport)).logins;
    if (found === undefined) throw new Error('mcp-remote’s import does not find it.');
    const back = vaultAt(await temporaryHome()).vault;
    expect(await moveLogin(found, { source, context: at.toImport }, back, {})).toMatchObject({
      outcome: 'moved',
    });
    expect((await back.token(servers.resource, { rejectedGeneration: 1 })).generation).toBe(2);
  });

  test('keeps the login that mcp-remote has unless told to replace it', async () => {
    const at = await withDirectory();
    const file = join(at.out, `${name()}_tokens.json`);
    await writeFile(file, '{"access_token":"theirs","token_type":"Bearer"}', { mode: 0o600 });
    for (const args of [[], ['--move']]) {
      const { code, err } = await at.run('--out', at.out, ...args);
      expect([code, err]).toEqual([2, expect.stringContaining('--replace')]);
    }
    expect(await readFile(file, 'utf8')).toContain('theirs');
    expect((await stored(at.home, servers.resource)).credential.loginRequired).toBeUndefined();
    expect((await at.run('--out', at.out, '--replace')).code).toBe(0);
    expect(await readFile(file, 'utf8')).not.toContain('theirs');
  });

  test('requires an existing output directory', async () => {
    const at = await withDirectory();
    for (const [args, said] of [
      [[], 'mcp-remote-v1'],
      [['--out', join(at.directory, 'nowhere')], 'mkdir -p -m 700'],
    ] as const) {
      const { code, err } = await at.run(...args);
      expect([code, err]).toEqual([2, expect.stringContaining(said)]);
    }
  });
});

describe('--format docker-agent', () => {
  async function withDirectory() {
    const at = await context();
    const cagent = join(at.directory, '.config', 'cagent');
    await mkdir(join(at.directory, '.config'));
    return {
      ...at,
      cagent,
      bundle: () => bundleAt(cagent, at.environment),
      run: (...args: string[]) => at.run(['--format', 'docker-agent', ...args]),
    };
  }

  test('adds an access token to docker-agent’s file, and keeps the login and the other entries', async () => {
    const at = await withDirectory();
    const other = { access_token: 'other', a_later_field: 1 };
    await writeBundle(at.cagent, at.environment, new Map([['https://other.example/', other]]));
    const { code, err } = await at.run();
    expect([code, err]).toEqual([0, expect.stringContaining('nothing to renew it')]);
    const bundle = await at.bundle();
    expect(bundle.get('https://other.example/')).toEqual(other);
    expect(bundle.get(servers.resource)).toMatchObject({
      access_token: at.first.tokens.accessToken.reveal(),
      auth_server: servers.issuer,
    });
    expect(bundle.get(servers.resource)).not.toHaveProperty('refresh_token');
    const { vault } = vaultAt(at.home);
    expect(await accepted(servers.resource, (await vault.token(servers.resource)).token)).toBe(true);
  });

  test('moves the whole login to docker-agent, where --store docker-agent can use it', async () => {
    const at = await withDirectory();
    expect((await at.run('--move')).code).toBe(0);
    const { vault } = vaultAt(at.home);
    await expect(vault.token(servers.resource)).rejects.toMatchObject({ code: 'login-required' });
    const theirs = vaultAt(at.home, {
      environment: at.environment,
      store: 'docker-agent',
      dockerAgentDir: at.cagent,
    }).vault;
    expect((await theirs.token(servers.resource, { rejectedGeneration: 1 })).token.reveal()).not.toBe(
      at.first.tokens.accessToken.reveal(),
    );
  });

  test('keeps the login that docker-agent has unless told to replace it', async () => {
    const at = await withDirectory();
    const theirs = { access_token: 'theirs', a_later_field: 1 };
    await writeBundle(at.cagent, at.environment, new Map([[servers.resource, theirs]]));
    for (const args of [[], ['--move']]) {
      const { code, err } = await at.run(...args);
      expect([code, err]).toEqual([2, expect.stringContaining('--replace')]);
    }
    expect((await at.bundle()).get(servers.resource)).toEqual(theirs);
    expect((await stored(at.home, servers.resource)).credential.loginRequired).toBeUndefined();
    expect((await at.run('--move', '--replace')).code).toBe(0);
    expect((await at.bundle()).get(servers.resource)).toMatchObject({
      refresh_token: at.first.tokens.refreshToken?.reveal(),
      a_later_field: 1,
    });
  });

  test('refuses --store docker-agent and --out with --format docker-agent', async () => {
    const at = await withDirectory();
    for (const args of [
      ['--store', 'docker-agent'],
      ['--out', join(at.directory, 'file')],
    ]) {
      const { code, err } = await at.run(...args);
      expect([code, err]).toEqual([2, expect.stringContaining('docker-agent')]);
    }
    expect(await readdir(join(at.directory, '.config'))).toEqual([]);
  });

  test.skipIf(NO_WITNESS)(
    'writes an entry that the Go implementation reads',
    { timeout: BUILD_MS },
    async () => {
      const at = await withDirectory();
      expect((await at.run('--move')).code).toBe(0);
      const program = await buildWitness(await temporaryDirectory());
      expect(JSON.parse(witness(program, at.cagent, 'read'))).toEqual({
        [servers.resource]: expect.objectContaining({
          access_token: at.first.tokens.accessToken.reveal(),
          refresh_token: at.first.tokens.refreshToken?.reveal(),
          client_id: at.first.client.clientId,
          auth_server: servers.issuer,
        }),
      });
    },
  );
});

test('exports a login of --store docker-agent like that of any store', async () => {
  const at = await context();
  const cagent = join(at.directory, 'cagent');
  const { vault } = vaultAt(at.home, {
    environment: at.environment,
    store: 'docker-agent',
    dockerAgentDir: cagent,
  });
  const { vault: own } = vaultAt(at.home);
  let given: Parameters<typeof vault.transfer.importExported>[0] | undefined;
  await own.transfer.export(servers.resource, {
    mode: 'move',
    deliver: async ({ json }) => void (given = json),
  });
  if (given === undefined) throw new Error('Nothing was handed out.');
  await vault.transfer.importExported(given);
  const out = join(at.directory, 'login.json');
  const args = ['--store', 'docker-agent', '--docker-agent-dir', cagent, '--move', '--out', out];
  expect((await at.run(args)).code).toBe(0);
  expect(JSON.parse(await readFile(out, 'utf8'))).toMatchObject({
    tokens: { refreshToken: at.first.tokens.refreshToken?.reveal() },
  });
  await expect(vault.token(servers.resource)).rejects.toMatchObject({ code: 'login-required' });
  // docker-agent must not keep a refresh token that has been moved.
  const [entry] = [...(await bundleAt(cagent, at.environment)).values()];
  expect(JSON.stringify(entry ?? {})).not.toContain(at.first.tokens.refreshToken?.reveal());
});
