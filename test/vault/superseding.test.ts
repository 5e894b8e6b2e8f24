import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { StorageUnwritableError } from '../../src/errors.ts';
import { DirectoryStore } from '../../src/store/directory.ts';
import { storeAround } from '../support/homes/store.ts';
import { start, TYPESCRIPT } from '../support/processes/process.ts';
import {
  credentialsAt,
  directoryProcess,
  type Machine,
  machine,
  putLogin,
  RESOURCE,
  storedAt,
} from '../support/servers/lab.ts';

const SCRIPT = fileURLToPath(new URL('../support/processes/superseding-process.ts', import.meta.url));
const server = { tokenEndpoint: 'https://as.example.com/token', revocationEndpoint: undefined };

const run = (what: string, dieAt: number, { home, keyFile }: Machine) =>
  start(process.execPath, [...TYPESCRIPT, SCRIPT, what, String(dieAt), RESOURCE, 'second'], {
    HOLDFAST_HOME: home,
    HOLDFAST_SEALING_KEY_FILE: keyFile,
  }).ended;

/** A login whose key was retired afterwards. */
async function retired() {
  const at = await machine();
  const disk = new DirectoryStore(at.layout, at.environment);
  await putLogin(disk, at, { server, refreshToken: 'first' });
  await at.renewKey();
  const token = async () => (await storedAt(disk, at))?.refreshToken;
  const records = async () => (await credentialsAt(disk, at).credentialStore.addresses()).length;
  return { at, disk, token, records };
}

/** The home of a process that logged in under the newer key and died before it removed the earlier record. */
async function halfSuperseded() {
  const home = await retired();
  const dying = storeAround(home.disk, {
    remove: async () => {
      throw new StorageUnwritableError('It died.');
    },
  });
  await new Promise((resolve) => setTimeout(resolve, 2));
  await putLogin(dying, home.at, { server, refreshToken: 'second' });
  expect(await home.records()).toBe(2);
  return home;
}

/** Kills one process at each of its steps, each in its own home. */
async function killedAtEach(
  what: string,
  prepare: () => ReturnType<typeof retired>,
  look: (home: Awaited<ReturnType<typeof retired>>) => Promise<void>,
) {
  const { steps } = JSON.parse((await run(what, 0, (await prepare()).at)).out) as { steps: number };
  expect(steps).toBeGreaterThan(2);
  for (let dieAt = 1; dieAt <= steps; dieAt += 1) {
    const home = await prepare();
    expect((await run(what, dieAt, home.at)).code).toBeNull();
    await look(home);
  }
}

test('a login removes its earlier record under a retired key, and continues its generation', async () => {
  const { at, disk, token, records } = await retired();
  await putLogin(disk, at, { server, refreshToken: 'second' });
  expect(await token()).toBe('second');
  expect(await records()).toBe(1);
  expect((await storedAt(disk, at))?.generation).toBe(2);
  expect(await directoryProcess(at).vault.admin.rekey()).toMatchObject({ left: [] });
});

test('a rekey removes the earlier record that a killed login left under a retired key', async () => {
  const { at, token, records } = await halfSuperseded();
  await at.renewKey();
  expect(await directoryProcess(at).vault.admin.rekey()).toMatchObject({ moved: 1, left: [] });
  expect(await token()).toBe('second');
  expect(await records()).toBe(1);
});

test('a login under a newer key that is killed at any step leaves one login after the next rekey', async () => {
  const seen = new Set<string | undefined>();
  await killedAtEach('login', retired, async ({ at, token, records }) => {
    const found = await token();
    seen.add(found);
    expect(['first', 'second']).toContain(found);
    await at.renewKey();
    expect(await directoryProcess(at).vault.admin.rekey()).toMatchObject({ left: [] });
    expect(await token()).toBe(found);
    expect(await records()).toBe(1);
  });
  expect(seen).toEqual(new Set(['first', 'second']));
}, 120_000);

test('a logout that is killed at any step never brings the earlier login back', async () => {
  await killedAtEach('logout', halfSuperseded, async ({ at, token, records }) => {
    expect(['second', undefined]).toContain(await token());
    await directoryProcess(at).vault.logout(RESOURCE);
    expect(await records()).toBe(0);
  });
}, 120_000);
