import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { connectBus, deadlineIn } from '../../src/system/dbus/connection.ts';
import { Variant } from '../../src/system/dbus/value.ts';
import { type Environment, processEnvironment } from '../../src/system/environment.ts';
import { openVault } from '../../src/vault/open.ts';
import {
  BUILD_MS,
  buildWitness,
  fixtureAt,
  NO_WITNESS,
  witness,
  witnessWith,
} from '../support/homes/docker-agent.ts';
import { temporaryDirectory } from '../support/homes/home.ts';
import { scripted } from '../support/homes/vault.ts';
import { callKWallet, NO_KWALLET, startKWallet, writeKWalletSettings } from '../support/keyrings/kwallet.ts';
import { type Bus, NO_SECRET_SERVICE, privateBus } from '../support/keyrings/secret-service.ts';
import { holdfast } from '../support/processes/process.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';

/*
 * docker-agent's key in a desktop keyring, in the layout of 99designs/keyring. The desktop's own tools carry the key between
 * the keyring and the Go witness, unchanged.
 */

const SERVICE = 'docker-agent-oauth';
const ITEM = 'oauth:encryption-key';

/** The collection's path in that library, with the characters escaped that D-Bus paths cannot hold. */
const COLLECTION = '/org/freedesktop/secrets/collection/docker_2dagent_2doauth';

interface Desktop {
  readonly environment: Environment;
  item(): Promise<string>;
  setItem(text: string): Promise<void>;
}

describe.skipIf(NO_WITNESS)('docker-agent’s key in a desktop keyring', () => {
  let built: string;
  let program: string;
  let servers: Servers;
  beforeAll(async () => {
    built = await mkdtemp(join(tmpdir(), 'holdfast-test-'));
    program = await buildWitness(built);
    servers = await startServers();
  }, BUILD_MS);
  afterAll(() => Promise.all([servers.stop(), rm(built, { recursive: true })]));

  async function bothWays(keyring: string, open: () => Promise<Desktop>): Promise<void> {
    const entry = { access_token: 'theirs', token_type: 'Bearer', expires_at: '0001-01-01T00:00:00Z' };
    // Holdfast runs first and makes the key.
    const desktop = await open();
    const ours = join(await temporaryDirectory(), 'ours');
    const vault = vaultOf(desktop, ours, keyring);
    const { keyring: used } = await vault.login(servers.resource, { interaction: scripted });
    expect(used.id).toBe(keyring);
    expect(await readdir(ours)).not.toContain('mcp-oauth-keyring');
    const token = (await vault.token(servers.resource)).token.reveal();
    const item = await desktop.item();
    expect(JSON.parse(witnessWith(item, program, ours, 'read'))).toMatchObject({
      [servers.resource]: { access_token: token },
    });
    witnessWith(item, program, ours, 'put', 'https://theirs.example/mcp', JSON.stringify(entry));
    expect((await vault.token('https://theirs.example/mcp')).token.reveal()).toBe('theirs');
    // docker-agent runs first.
    const theirs = join(await temporaryDirectory(), 'theirs');
    const made = witness(program, theirs, 'item');
    await desktop.setItem(made);
    witnessWith(made, program, theirs, 'put', 'https://theirs.example/mcp', JSON.stringify(entry));
    const other = vaultOf(desktop, theirs, keyring);
    expect((await other.token('https://theirs.example/mcp')).token.reveal()).toBe('theirs');
    await other.login(servers.resource, { interaction: scripted });
    expect(Object.keys(JSON.parse(witnessWith(made, program, theirs, 'read'))).sort()).toEqual(
      [servers.resource, 'https://theirs.example/mcp'].sort(),
    );
  }

  function vaultOf({ environment }: Pick<Desktop, 'environment'>, directory: string, keyring: string) {
    const vault = openVault({ environment, keyring, store: 'docker-agent', dockerAgentDir: directory });
    onTestFinished(() => vault.close());
    return vault;
  }

  async function environmentOf(bus: Bus): Promise<Environment> {
    const variables = { ...bus.variables, HOLDFAST_HOME: join(await temporaryDirectory(), 'home') };
    return { ...processEnvironment(), variables, homeDirectory: bus.home };
  }

  test.skipIf(NO_SECRET_SERVICE)('shares the key both ways in the Secret Service', () =>
    bothWays('secret-service', async () => {
      const bus = await privateBus();
      await bus.keyring({ unlock: true });
      await makeCollection(bus);
      const tool = (args: readonly string[], input = '') =>
        execFileSync('secret-tool', args, { env: bus.variables, encoding: 'utf8', input });
      return {
        environment: await environmentOf(bus),
        item: async () => tool(['lookup', 'profile', ITEM]),
        setItem: async (text) => {
          tool(['store', `--label=${ITEM}`, `--collection=${COLLECTION}`, 'profile', ITEM], text);
        },
      };
    }),
  );

  test.skipIf(NO_SECRET_SERVICE)(
    'makes no key there when the tokens are sealed under the file’s key',
    async () => {
      const bus = await privateBus();
      await bus.keyring({ unlock: true });
      await makeCollection(bus);
      const directory = join(await temporaryDirectory(), 'cagent');
      await fixtureAt(directory);
      const vault = vaultOf({ environment: await environmentOf(bus) }, directory, 'auto');
      const { keyring, tiers } = await vault.login(servers.resource, { interaction: scripted });
      expect(keyring.id).toBe('file');
      expect(tiers.find(({ id }) => id === 'secret-service')).toMatchObject({
        outcome: 'passed-over',
        reason: expect.stringContaining('sealed under one already'),
      });
      expect(Object.keys(JSON.parse(witness(program, directory, 'read')))).toHaveLength(4);
      const lookup = spawnSync('secret-tool', ['lookup', 'profile', ITEM], { env: bus.variables });
      expect([lookup.status, lookup.stdout.length]).toEqual([1, 0]);
    },
  );

  test.skipIf(NO_SECRET_SERVICE)(
    'warns that docker-agent will not look in this keyring first, at login and in doctor',
    async () => {
      const bus = await privateBus();
      await bus.keyring({ unlock: true });
      const environment = await environmentOf(bus);
      const directory = join(await temporaryDirectory(), 'cagent');
      const run = (...args: string[]) =>
        holdfast([...args, '--store', 'docker-agent', '--docker-agent-dir', directory], {
          ...Object.fromEntries(
            Object.entries(environment.variables).flatMap(([name, value]) => (value ? [[name, value]] : [])),
          ),
          BROWSER: join(import.meta.dirname, '../support/browser/scripted-browser.mjs'),
        }).ended;
      const login = await run('login', servers.resource);
      expect([login.code, login.err]).toEqual([0, expect.stringContaining('where docker-agent looks first')]);
      const { code, out } = await run('doctor');
      expect(code).toBe(0);
      expect(out).toContain('docker-agent’s key is in file.');
      expect(out).toContain('where docker-agent looks first');
    },
  );

  test.skipIf(NO_KWALLET)('shares the key both ways in KWallet', () =>
    bothWays('kwallet', async () => {
      const bus = await privateBus({ services: {} });
      await writeKWalletSettings(bus);
      await startKWallet(bus, ['kdewallet', SERVICE]);
      const handle = await callKWallet(bus, 'open', 'sxs', SERVICE, 0n, 'keyring');
      const at = [handle, 'keyring', ITEM] as const;
      return {
        environment: await environmentOf(bus),
        item: async () => {
          const bytes = await callKWallet(bus, 'readEntry', 'isss', ...at, 'keyring');
          if (!(bytes instanceof Uint8Array)) throw new Error('KWallet answered something else.');
          return Buffer.from(bytes).toString('utf8');
        },
        setItem: async (text) => {
          await callKWallet(bus, 'writeEntry', 'issays', ...at, Buffer.from(text), 'keyring');
        },
      };
    }),
  );
});

/** Makes the collection as the first write of that library does, but by a gnome-keyring call without a prompt. */
async function makeCollection(bus: Bus): Promise<void> {
  const deadline = deadlineIn(10_000);
  const connection = await connectBus(bus.variables['DBUS_SESSION_BUS_ADDRESS'] ?? '', deadline);
  try {
    const at = { destination: 'org.freedesktop.secrets', path: '/org/freedesktop/secrets' };
    const [, session] = await connection.call(
      {
        ...at,
        interface: 'org.freedesktop.Secret.Service',
        member: 'OpenSession',
        signature: 'sv',
        body: ['plain', new Variant('s', '')],
      },
      deadline,
    );
    const label = ['org.freedesktop.Secret.Collection.Label', new Variant('s', SERVICE)];
    const password = [session, Buffer.alloc(0), Buffer.from('a password'), 'text/plain'];
    const [path] = await connection.call(
      {
        ...at,
        interface: 'org.gnome.keyring.InternalUnsupportedGuiltRiddenInterface',
        member: 'CreateWithMasterPassword',
        signature: 'a{sv}(oayays)',
        body: [[label], password],
      },
      deadline,
    );
    expect(path).toBe(COLLECTION);
  } finally {
    connection.close();
  }
}
