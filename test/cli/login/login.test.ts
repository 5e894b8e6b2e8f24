import { createServer, type Server } from 'node:net';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { browse } from '../../support/browser/scripted-browser.mjs';
import { contentsOf } from '../../support/homes/disk.ts';
import { temporaryHome } from '../../support/homes/home.ts';
import type { Running } from '../../support/processes/process.ts';
import { type Servers, startServers } from '../../support/servers/servers.ts';
import { type CommandLine, commandLine } from '../../support/transcript.ts';

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

async function freshHome(): Promise<CommandLine> {
  const { path } = await temporaryHome();
  return commandLine(path, [servers]);
}

/** Returns the authorization URL that `--json` prints for a program. */
async function authorizeUrl(login: Running): Promise<string> {
  await login.says('"authorize"');
  return String(JSON.parse(login.said().err.split('\n')[0] ?? '').authorize.url);
}

async function listening(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** Returns a port that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer();
  const port = await listening(server);
  await new Promise((resolve) => server.close(resolve));
  return port;
}

describe('holdfast login', () => {
  test('opens the browser, and says where it saved the login and which keyrings it skipped', async () => {
    const at = await freshHome();
    expect(await at.told(['login', servers.resource])).toMatchInlineSnapshot(`
      "exit 0
      --- stderr
      Asking http://127.0.0.1:MCP-1/mcp how to log in …
      Logging in at "127.0.0.1:AUTH1" …
      Registering with "http://127.0.0.1:AUTH1" …
      Waiting for you to log in with the browser …
      Opening your browser. If nothing shows, open this URL in a browser on this machine:

        http://127.0.0.1:AUTH1/auth?…

      Fetching the tokens …
      Logged in to http://127.0.0.1:MCP-1/mcp.
      The access token expires in NN minutes, and is refreshed by itself.
      Sealed under a key in the file keyring.
        secret-service was passed over: The Secret Service is not reachable: there is no D-Bus session bus here."
    `);
  });

  test('finds a login made with another spelling of the URL', async () => {
    const at = await freshHome();
    await at.run(['login', servers.resource.replace('http', 'HTTP')]);
    const { code } = await at.run(['token', servers.resource]);
    expect(code).toBe(0);
  });

  test('prints nothing with --quiet when the browser opens', async () => {
    const at = await freshHome();
    expect(await at.told(['login', servers.resource, '--quiet'])).toBe('exit 0');
  });

  test('prints the URL even with --quiet when no browser opens', async () => {
    const at = await freshHome();
    const variables = { BROWSER: '/nonexistent/browser' };
    expect(await at.told(['login', servers.resource, '-q', '-t', '1'], variables)).toMatchInlineSnapshot(`
      "exit 3
      --- stderr
      Open this URL in a browser on this machine:

        http://127.0.0.1:AUTH1/auth?…

      error: Nobody finished the login in the browser within 1 s. Nothing was stored.
        Log in again; --timeout SECONDS gives more time."
    `);
  });

  test('prints data on stdout and JSON lines on stderr with --json, and no secret in either', async () => {
    const at = await freshHome();
    const { code, out, err } = await at.run(['login', servers.resource, '--json']);
    const { out: token } = await at.run(['token', servers.resource]);
    const { tiers, ...data } = JSON.parse(out);
    expect(at.transcript({ code, out: JSON.stringify(data, null, 2), err })).toMatchInlineSnapshot(`
      "exit 0
      --- stdout
      {
        "credential": {
          "resource": "http://127.0.0.1:MCP-1/mcp",
          "account": "default",
          "state": "fresh",
          "expiresAt": "TIME",
          "canRefresh": true,
          "scopes": [
            "tools:call"
          ],
          "issuer": "http://127.0.0.1:AUTH1",
          "clientId": "…",
          "clientSource": "dynamic",
          "grant": "authorization_code",
          "tokenType": "Bearer",
          "leniencies": [],
          "loggedInAt": "TIME",
          "generation": 1,
          "keyring": "file",
          "tier": "file",
          "kid": "…"
        },
        "keyring": {
          "id": "file",
          "tier": "file",
          "lifetime": "disk"
        }
      }
      --- stderr
      {"authorize":{"url":"http://127.0.0.1:AUTH1/auth?…","issuerHost":"127.0.0.1:AUTH1"}}"
    `);
    expect(tiers).toContainEqual({
      id: 'secret-service',
      tier: 'native',
      outcome: 'passed-over',
      status: 'absent',
      reason: expect.stringContaining('there is no D-Bus session bus here'),
      hint: expect.stringContaining('DBUS_SESSION_BUS_ADDRESS'),
    });
    expect(out.includes(token.trim()) || err.includes(token.trim())).toBe(false);
  });

  test('keeps two accounts at one server apart', async () => {
    const at = await freshHome();
    await at.run(['login', servers.resource]);
    const work = at.transcript(await at.run(['login', servers.resource, '--account', 'work']));
    expect(work).toContain('\nLogged in to http://127.0.0.1:MCP-1/mcp as work.\n');
    const [one, other] = await Promise.all([
      at.run(['token', servers.resource]),
      at.run(['token', servers.resource, '-a', 'work']),
    ]);
    expect([one.code, other.code]).toEqual([0, 0]);
    expect(one.out === other.out).toBe(false);
  });

  test('asks for the scopes of --scope instead of those that the server suggests', async () => {
    const at = await freshHome();
    const login = at.start([
      'login',
      servers.resource,
      '--no-browser',
      '--json',
      '--scope',
      'openid, tools:call',
    ]);
    const scope = new URL(await authorizeUrl(login)).searchParams.get('scope');
    login.kill('SIGINT');
    expect(scope?.split(' ')).toEqual(expect.arrayContaining(['openid', 'tools:call']));
    expect((await login.ended).code).toBe(130);
  });

  test('receives the redirect at --callback-port', async () => {
    const at = await freshHome();
    const port = await freePort();
    const args = ['login', servers.resource, '--json', '--callback-port', String(port)];
    const { code, err } = await at.run(args);
    expect(code).toBe(0);
    const { authorize } = JSON.parse(err);
    expect(new URL(authorize.url).searchParams.get('redirect_uri')).toBe(`http://127.0.0.1:${port}/callback`);
  });

  test('says that --callback-port is in use', async () => {
    const at = await freshHome();
    const { port } = new URL(servers.resource);
    expect(await at.told(['login', servers.resource, '--callback-port', port])).toMatchInlineSnapshot(`
      "exit 2
      --- stderr
      Asking http://127.0.0.1:MCP-1/mcp how to log in …
      Logging in at "127.0.0.1:AUTH1" …
      error: Port PPPPP on 127.0.0.1 is in use, so the browser could not come back.
        Leave --callback-port out to take any free port, or name another one."
    `);
  });

  test('registers once for several logins at one server', async () => {
    const at = await freshHome();
    const before = await servers.counters();
    await at.run(['login', servers.resource]);
    const again = await at.run(['login', servers.resource]);
    const after = await servers.counters();
    expect(again.code).toBe(0);
    expect(again.err).not.toContain('Registering');
    expect(after.registrations - before.registrations).toBe(1);
    expect(after.codeGrants - before.codeGrants).toBe(2);
  });
});

describe('holdfast login without a browser', () => {
  test('prints the URL and finishes once it is opened in any browser', async () => {
    const at = await freshHome();
    const login = at.start(['login', servers.resource, '--no-browser', '--json']);
    const page = await browse(await authorizeUrl(login));
    expect(page.status).toBe(200);
    expect((await login.ended).code).toBe(0);
    expect((await at.run(['token', servers.resource])).code).toBe(0);
  });

  test('ends cleanly on Ctrl-C with nothing stored', async () => {
    const at = await freshHome();
    const login = at.start(['login', servers.resource, '--no-browser']);
    await login.says('/auth?');
    login.kill('SIGINT');
    expect(at.transcript(await login.ended)).toMatchInlineSnapshot(`
      "exit 130
      --- stderr
      Asking http://127.0.0.1:MCP-1/mcp how to log in …
      Logging in at "127.0.0.1:AUTH1" …
      Registering with "http://127.0.0.1:AUTH1" …
      Waiting for you to log in with the browser …
      Open this URL in a browser on this machine:

        http://127.0.0.1:AUTH1/auth?…

      error: The login was cancelled. Nothing was stored."
    `);
    expect(await at.told(['list'])).toContain('No logins yet.');
  });

  test('ends with 143 on SIGTERM', async () => {
    const at = await freshHome();
    const login = at.start(['login', servers.resource, '--no-browser']);
    await login.says('/auth?');
    login.kill('SIGTERM');
    expect((await login.ended).code).toBe(143);
  });

  test('gives up after --timeout', async () => {
    const at = await freshHome();
    expect(
      await at.told(['login', servers.resource, '--timeout', '1', '--no-browser']),
    ).toMatchInlineSnapshot(`
      "exit 3
      --- stderr
      Asking http://127.0.0.1:MCP-1/mcp how to log in …
      Logging in at "127.0.0.1:AUTH1" …
      Registering with "http://127.0.0.1:AUTH1" …
      Waiting for you to log in with the browser …
      Open this URL in a browser on this machine:

        http://127.0.0.1:AUTH1/auth?…

      error: Nobody finished the login in the browser within 1 s. Nothing was stored.
        Log in again; --timeout SECONDS gives more time."
    `);
  });

  test('says that the browser failed to start, and how to go on over SSH', async () => {
    const at = await freshHome();
    const variables = { BROWSER: '/nonexistent/browser', SSH_CONNECTION: '192.0.2.1 1 192.0.2.2 22' };
    expect(await at.told(['login', servers.resource, '-t', '1'], variables)).toMatchInlineSnapshot(`
      "exit 3
      --- stderr
      Asking http://127.0.0.1:MCP-1/mcp how to log in …
      Logging in at "127.0.0.1:AUTH1" …
      Registering with "http://127.0.0.1:AUTH1" …
      Waiting for you to log in with the browser …
      Opening your browser. If nothing shows, open this URL in a browser on this machine:

        http://127.0.0.1:AUTH1/auth?…

      No browser could be opened from here.

      You are connected over SSH, and the browser comes back to port PPPPP of this machine. On yours, first run:

        ssh -L PPPPP:127.0.0.1:PPPPP HOST

      error: Nobody finished the login in the browser within 1 s. Nothing was stored.
        Log in again; --timeout SECONDS gives more time."
    `);
  });

  test('ends on Ctrl-C while it waits for a server', async () => {
    const at = await freshHome();
    const silent = createServer();
    onTestFinished(() => void silent.close());
    const port = await listening(silent);
    const connected = new Promise((resolve) => silent.once('connection', resolve));
    const login = at.start(['login', `http://127.0.0.1:${port}/mcp`]);
    await connected;
    login.kill('SIGINT');
    expect(at.transcript(await login.ended)).toMatchInlineSnapshot(`
      "exit 130
      --- stderr
      Asking http://127.0.0.1:PPPPP/mcp how to log in …
      error: Interrupted."
    `);
    expect(await contentsOf(at.home)).toEqual([]);
  });
});

describe('holdfast login without a persistent keyring', () => {
  test('refuses before it asks the user, and says how to go on', async () => {
    const at = await freshHome();
    const before = await servers.counters();
    expect(await at.told(['login', servers.resource, '--keyring', 'memory'])).toMatchInlineSnapshot(`
      "exit 4
      --- stderr
      Asking http://127.0.0.1:MCP-1/mcp how to log in …
      error: No keyring here can keep a login: nothing would survive this process.
        holdfast doctor says what each keyring lacks. To log in all the same, until this process ends: --allow-memory"
    `);
    expect(await servers.counters()).toEqual(before);
    expect(await contentsOf(at.home)).toEqual([]);
  });

  test('logs in with --allow-memory, warns, and leaves nothing on disk', async () => {
    const at = await freshHome();
    expect(
      await at.told(['login', servers.resource, '--keyring', 'memory', '--allow-memory']),
    ).toMatchInlineSnapshot(`
      "exit 0
      --- stderr
      Asking http://127.0.0.1:MCP-1/mcp how to log in …
      warning: No keyring here can keep a login: nothing would survive this process.
      Logging in at "127.0.0.1:AUTH1" …
      Registering with "http://127.0.0.1:AUTH1" …
      Waiting for you to log in with the browser …
      Opening your browser. If nothing shows, open this URL in a browser on this machine:

        http://127.0.0.1:AUTH1/auth?…

      Fetching the tokens …
      Logged in to http://127.0.0.1:MCP-1/mcp.
      Nothing was kept: the login ended with this command."
    `);
    expect(await contentsOf(at.home)).toEqual([]);
  });
});
