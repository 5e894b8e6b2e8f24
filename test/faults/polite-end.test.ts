import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import { temporaryHome } from '../support/homes/home.ts';
import { TYPESCRIPT } from '../support/processes/process.ts';
import { Site } from './crash/site.ts';
import { closed, listen } from './crash/token-server.ts';

/*
 * A process that is asked to end during a refresh. At a server that rotates refresh tokens, the login is lost unless
 * the answer is stored first.
 */

const RESOURCE = 'https://mcp.example.com/mcp';
const NEW = 'access.after-the-refresh';
const BIN = fileURLToPath(new URL('../../src/cli/bin.ts', import.meta.url));
const HELLO = `${JSON.stringify({
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'test', version: '1' } },
})}\n`;

interface Gate {
  readonly opened: Promise<void>;
  open(): void;
}

function gate(): Gate {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open: () => open() };
}

/** A token endpoint that answers on command, and a login there whose access token has expired. */
async function expiredLogin() {
  const [arrived, release] = [gate(), gate()];
  let requests = 0;
  const server = createServer((request, response) => {
    requests += 1;
    request.resume();
    arrived.open();
    void release.opened.then(() =>
      response.writeHead(200, { 'content-type': 'application/json' }).end(
        JSON.stringify({
          access_token: NEW,
          token_type: 'Bearer',
          expires_in: 3600,
          refresh_token: 'refresh.after',
        }),
      ),
    );
  });
  const endpoint = `${await listen(server)}/token`;
  onTestFinished(() => closed(server));
  const home = await temporaryHome();
  const site = new Site(home.path, '');
  const family = {
    endpoint,
    clientId: 'client',
    accessToken: 'access.before',
    refreshToken: 'refresh.before',
    revoked: false,
    log: [],
  };
  await site.keep(RESOURCE, family, -1_000);
  return { site, home, arrived, release, requests: () => requests };
}

type ExpiredLogin = Awaited<ReturnType<typeof expiredLogin>>;

function holdfastAt({ home }: ExpiredLogin, args: readonly string[]) {
  const child = spawn(process.execPath, [...TYPESCRIPT, BIN, ...args], {
    env: {
      PATH: process.env['PATH'],
      HOME: '/nonexistent',
      HOLDFAST_HOME: home.path,
      HOLDFAST_KEYRING: 'file',
    },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  let err = '';
  child.stderr.on('data', (chunk) => {
    err += chunk;
  });
  child.stdin.on('error', () => {});
  child.stdin.write(HELLO);
  const says = async (text: string) => {
    while (!err.includes(text)) await once(child.stderr, 'data');
  };
  return { child, says, ended: once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]> };
}

async function storedToken({ site, requests }: ExpiredLogin): Promise<string> {
  const vault = site.vault('flock');
  onTestFinished(() => vault.close());
  const { token } = await vault.token(RESOURCE);
  expect(requests()).toBe(1);
  return token.reveal();
}

test.each<[string, readonly string[], NodeJS.Signals, number]>([
  ['token', ['token', RESOURCE], 'SIGTERM', 143],
  ['token', ['token', RESOURCE], 'SIGINT', 130],
  ['token', ['token', RESOURCE], 'SIGHUP', 129],
  ['headers', ['headers', RESOURCE], 'SIGHUP', 129],
  ['refresher', ['refresher'], 'SIGHUP', 0],
  ['refresher --once', ['refresher', '--once'], 'SIGINT', 0],
  ['proxy', ['proxy', RESOURCE], 'SIGTERM', 0],
  ['proxy', ['proxy', RESOURCE], 'SIGHUP', 0],
])(
  '%s stores the answer to its refresh before it ends by a signal: %j by %s',
  async (_name, args, how, code) => {
    const at = await expiredLogin();
    const { child, says, ended } = holdfastAt(at, args);
    await at.arrived.opened;
    child.kill(how);
    await says('Waiting for the answer to a refresh');
    at.release.open();
    expect(await ended).toEqual([code, null]);
    expect(await storedToken(at)).toBe(NEW);
  },
);

test('the proxy stores the answer to its refresh before it ends with its standard input', async () => {
  const at = await expiredLogin();
  const { child, ended } = holdfastAt(at, ['proxy', RESOURCE]);
  await at.arrived.opened;
  child.stdin.end();
  at.release.open();
  expect(await ended).toEqual([0, null]);
  expect(await storedToken(at)).toBe(NEW);
});

test('a command whose reader has gone stores the answer to its refresh', async () => {
  const at = await expiredLogin();
  const { child, ended } = holdfastAt(at, ['token', RESOURCE]);
  await at.arrived.opened;
  child.stdout.destroy();
  at.release.open();
  expect(await ended).toEqual([0, null]);
  expect(await storedToken(at)).toBe(NEW);
});

test('a second Ctrl-C at once does not keep a command from storing its answer', async () => {
  const at = await expiredLogin();
  const { child, says, ended } = holdfastAt(at, ['token', RESOURCE]);
  await at.arrived.opened;
  child.kill('SIGINT');
  await says('Press Ctrl-C again to stop anyway.');
  child.kill('SIGINT');
  at.release.open();
  expect(await ended).toEqual([130, null]);
  expect(await storedToken(at)).toBe(NEW);
});

test('one more Ctrl-C after a second ends the command although no answer has come', async () => {
  const at = await expiredLogin();
  const { child, says, ended } = holdfastAt(at, ['token', RESOURCE]);
  await at.arrived.opened;
  child.kill('SIGINT');
  await says('Press Ctrl-C again to stop anyway.');
  const again = setInterval(() => child.kill('SIGINT'), 300);
  expect(await ended).toEqual([null, 'SIGINT']);
  clearInterval(again);
  at.release.open();
});
