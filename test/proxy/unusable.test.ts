import { chmod, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Home, temporaryHome } from '../support/homes/home.ts';
import { loggedIn } from '../support/homes/vault.ts';
import { end, NO_SECRET_SERVICE, privateBus } from '../support/keyrings/secret-service.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { commandLine, SCRIPTED_BROWSER } from '../support/transcript.ts';
import { client1, eventually, program, type Variables } from './through.ts';

/* A stored login that cannot be read: the client learns why, no browser opens, and once fixed the proxy uses it. */

const holdfast = program();

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

const whoami = { name: 'whoami', arguments: {} };
const YOU = [{ type: 'text', text: 'You are alice.' }];

async function tells(
  variables: Variables,
  said: { title: string; text: string },
  mend: () => Promise<unknown>,
) {
  const before = await servers.counters();
  const client = await client1(holdfast, [servers.resource], { BROWSER: SCRIPTED_BROWSER, ...variables });
  const { tools } = await client.listTools();
  const words = JSON.stringify([client.getServerVersion(), client.getInstructions(), tools]);
  expect(client.getServerVersion()?.title).toBe(`${servers.resource} (${said.title})`);
  expect(client.getInstructions()).toContain(said.text);
  expect(tools[0]?.description).toContain(said.text);
  expect(words).not.toContain('There is no login');
  expect(words).not.toContain('not logged in');
  const called = await client.callTool({ name: 'holdfast_login', arguments: {} });
  expect(called.isError).toBe(true);
  expect(JSON.stringify(called.content)).toContain(JSON.stringify(said.text).slice(1, -1));
  expect(await servers.counters()).toEqual(before);

  await mend();
  await eventually(async () => {
    const { content } = await client.callTool(whoami);
    return JSON.stringify(content) === JSON.stringify(YOU);
  });
}

describe('an unusable login under holdfast proxy', () => {
  async function home(): Promise<{ home: Home; variables: Variables; record: string }> {
    const at = await temporaryHome();
    await loggedIn(at, servers.resource);
    const credentials = join(at.path, 'credentials');
    const [kid = ''] = await readdir(credentials);
    const [name = ''] = await readdir(join(credentials, kid));
    return {
      home: at,
      variables: { HOLDFAST_HOME: at.path, HOLDFAST_KEYRING: 'file' },
      record: join(credentials, kid, name),
    };
  }

  test('reports a damaged record, and works once it is restored', async () => {
    const { record, variables } = await home();
    const bytes = await readFile(record);
    await writeFile(record, 'no record');
    await tells(variables, { title: 'stored login damaged', text: 'is damaged' }, () =>
      writeFile(record, bytes),
    );
  });

  test('reports a home that is open to others, and works once it is closed', async () => {
    const { home: at, variables } = await home();
    await chmod(at.path, 0o755);
    await tells(variables, { title: 'stored login not readable', text: 'is open to other users' }, () =>
      chmod(at.path, 0o700),
    );
  });

  test('reports a login whose key is gone, and works once the key is back', async () => {
    const { home: at, variables } = await home();
    const [key, aside] = [at.layout.keyring, `${at.layout.keyring}.aside`];
    await rename(key, aside);
    await tells(variables, { title: 'sealing key not available', text: 'cannot be read now' }, () =>
      rename(aside, key),
    );
  });

  test.skipIf(NO_SECRET_SERVICE)('reports a locked keyring, and works once it is unlocked', async () => {
    const bus = await privateBus({ services: {} });
    const first = await bus.keyring({ unlock: true });
    const { path } = await temporaryHome();
    const { DBUS_SESSION_BUS_ADDRESS = '' } = bus.variables;
    const login = await commandLine(path, [servers]).run(['login', servers.resource], bus.variables);
    expect(login.err).toContain('the keyring secret-service');
    await end(first);
    const locked = await bus.keyring({ unlock: false });
    await tells(
      { HOLDFAST_HOME: path, DBUS_SESSION_BUS_ADDRESS },
      { title: 'keyring locked', text: 'Unlock it' },
      async () => {
        await end(locked);
        await bus.keyring({ unlock: true });
      },
    );
  });
});
