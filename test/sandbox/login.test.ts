import { existsSync } from 'node:fs';
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Secret } from '../../src/secret.ts';
import { browse } from '../support/browser/scripted-browser.mjs';
import { accepted, expire } from '../support/homes/vault.ts';
import {
  buildImage,
  HOLDFAST_THERE,
  type Image,
  NO_SANDBOX,
  type Place,
  place,
} from '../support/sandbox/sandbox.ts';
import { ENTER, NO_TERMINAL, type Terminal } from '../support/sandbox/sandbox-terminal.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { commandLine } from '../support/transcript.ts';

/*
 * End-to-end logins where nothing is available: no browser, no display, no D-Bus, no home, a read-only root, and a
 * separate network. A person logs in, the sandbox is killed, and the next one on the same volume is logged in.
 */

const MISSING = NO_SANDBOX ?? NO_TERMINAL;

let image: Image;
let servers: Servers;
/** Servers that also offer device codes. */
let devices: Servers;
beforeAll(async () => {
  if (MISSING !== undefined) return;
  [image, servers, devices] = await Promise.all([
    buildImage(),
    startServers(),
    startServers({ deviceFlow: true }),
  ]);
});
afterAll(() => Promise.all([image?.remove(), servers?.stop(), devices?.stop()]));

const PROMPT = 'Paste the address here: ';
const authorizationUrl = (at: Terminal) => /http\S+\/auth\?\S+/.exec(at.shown())?.[0] ?? '';

/** A command that stays after the login, like an agent that logs in and works on. */
function staying(command: string): string {
  return `${HOLDFAST_THERE} ${command} && echo still here && exec sleep 1000`;
}

async function killed(sandbox: Terminal): Promise<void> {
  await sandbox.shows('still here');
  process.kill(sandbox.pid, 'SIGKILL');
  await sandbox.ended;
  while (existsSync(`/proc/${sandbox.pid}`)) await sleep(10);
}

/** Logs in with a browser outside, where nothing of the sandbox listens at the redirect. @returns the final address */
async function browsedElsewhere(url: string): Promise<string> {
  const port = Number(new URL(new URL(url).searchParams.get('redirect_uri') ?? '').port);
  const page = createServer((_request, response) => response.end('Something else on this machine.'));
  await new Promise<void>((resolve) => page.listen(port, '127.0.0.1', resolve));
  try {
    return (await browse(url)).url;
  } finally {
    await new Promise((resolve) => page.close(resolve));
  }
}

/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** Checks that new sandboxes on the volume have the login, and refresh it once between two of them. */
async function expectOneRefresh(at: Place, from: Servers): Promise<void> {
  const list = await at.start(['list', '--json']).ended;
  expect(JSON.parse(list.out)).toMatchObject({ credentials: [{ resource: from.resource, state: 'fresh' }] });
  const before = await from.counters();
  await expire(at.home, from.resource);
  const alone = await at.start(['token', from.resource]).ended;
  expect({ code: alone.code, err: alone.err }).toEqual({ code: 0, err: '' });
  expect(await accepted(from.resource, new Secret(alone.out.trim()))).toBe(true);
  expect((await from.counters()).refreshGrants).toBe(before.refreshGrants + 1);
  await expire(at.home, from.resource);
  await from.behave({ delayMs: 1000 });
  const both = await Promise.all([1, 2].map(() => at.start(['token', from.resource]).ended));
  await from.behave({});
  expect(both.map(({ code, err }) => ({ code, err }))).toEqual([
    { code: 0, err: '' },
    { code: 0, err: '' },
  ]);
  expect(both[0]?.out === both[1]?.out).toBe(true);
  expect(both[0]?.out === alone.out).toBe(false);
  const after = await from.counters();
  expect(after.refreshGrants).toBe(before.refreshGrants + 2);
  expect(after.tokenErrors).toBe(before.tokenErrors);
  expect(await accepted(from.resource, new Secret(both[0]?.out.trim() ?? ''))).toBe(true);
}

describe.skipIf(MISSING !== undefined)('logins made in a sandbox', () => {
  test('a login by device code outlives the sandbox, and is refreshed once', async () => {
    const at = await place(image, [devices]);
    const sandbox = await at.open(staying(`login ${devices.resource}`));
    await sandbox.shows('Waiting for you to enter the code');
    expect(sandbox.shown()).toContain('No browser can be opened from here: there is no display.\n');
    const [, userCode = ''] = /^ {2}([A-Z]{4}-[A-Z]{4})$/m.exec(sandbox.shown()) ?? [];
    await browse(`${devices.issuer}/device`, { userCode });
    await killed(sandbox);
    await expectOneRefresh(at, devices);
  });

  test('a login by a pasted address outlives the sandbox, and is refreshed once', async () => {
    const at = await place(image, [servers]);
    const sandbox = await at.open(staying(`login ${servers.resource}`));
    await sandbox.shows(PROMPT);
    const address = await browsedElsewhere(authorizationUrl(sandbox));
    sandbox.type(`${address}${ENTER}`);
    await killed(sandbox);
    await expectOneRefresh(at, servers);
  });

  test('a login by a forwarded port outlives the sandbox, and is refreshed once', async () => {
    const at = await place(image, [servers]);
    const port = String(await freePort());
    const sandbox = await at.open(staying(`login ${servers.resource} --no-browser --callback-port ${port}`), {
      variables: { SANDBOX_FORWARDED_PORT: port },
    });
    await sandbox.shows(PROMPT);
    await at.forward(Number(port));
    expect((await browse(authorizationUrl(sandbox))).status).toBe(200);
    await killed(sandbox);
    await expectOneRefresh(at, servers);
  });

  test('an access token that was handed over outlives the sandbox, and cannot be refreshed there', async () => {
    const at = await place(image, [servers]);
    const laptop = commandLine((await place(image)).home.path);
    expect((await laptop.run(['login', servers.resource])).code).toBe(0);
    const sandbox = await at.open(staying(`receive ${servers.resource}`));
    await sandbox.shows('On the machine that has the login:');
    await sandbox.shows('Paste');
    const [, code = ''] = /--to (\S+)/.exec(sandbox.shown()) ?? [];
    const { out: blob } = await laptop.run(['send', servers.resource, '--to', code]);
    sandbox.type(blob.trim().replaceAll('\n', ENTER) + ENTER);
    await sandbox.shows('Does holdfast send show the same words there? [y/n]');
    sandbox.type(`y${ENTER}`);
    await killed(sandbox);
    const token = await at.start(['token', servers.resource]).ended;
    expect(token.code).toBe(0);
    expect(token.out === (await laptop.run(['token', servers.resource])).out).toBe(true);
    const before = await servers.counters();
    await expire(at.home, servers.resource);
    expect((await at.start(['token', servers.resource]).ended).code).toBe(3);
    expect(await servers.counters()).toEqual(before);
  });

  test('a login made on the laptop is handed over by a file, and is refreshed once in the sandbox', async () => {
    const at = await place(image, [servers]);
    const laptop = commandLine((await place(image)).home.path);
    const { out: code } = await at.start(['receive', servers.resource, '--later']).ended;
    const sent = await laptop.run([
      'send',
      servers.resource,
      '--fresh',
      '--to',
      code.trim(),
      '--out',
      `${at.home.path}/../blob`,
    ]);
    expect(sent.code).toBe(0);
    const receive = `${HOLDFAST_THERE} receive ${servers.resource} --blob - </volume/blob`;
    expect((await at.startProgram(['sh', '-c', receive]).ended).code).toBe(0);
    expect((await at.startProgram(['sh', '-c', receive]).ended).code).toBe(1);
    expect((await laptop.run(['token', servers.resource])).code).toBe(3);
    await expectOneRefresh(at, servers);
  });
});
