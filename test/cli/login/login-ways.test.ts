import { spawn } from 'node:child_process';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { browse } from '../../support/browser/scripted-browser.mjs';
import { contentsOf } from '../../support/homes/disk.ts';
import { temporaryDirectory, temporaryHome } from '../../support/homes/home.ts';
import {
  CTRL_C,
  CTRL_D,
  ENTER,
  HOLDFAST,
  NO_TERMINAL,
  type Terminal,
  terminal,
} from '../../support/sandbox/sandbox-terminal.ts';
import { answer, hostileServer } from '../../support/servers/hostile-server.ts';
import { type Servers, startServers } from '../../support/servers/servers.ts';
import { commandLine, SCRIPTED_BROWSER } from '../../support/transcript.ts';

/* `holdfast login` for a user who reads the terminal and types, in each kind of session. */

let servers: Servers;
/** The same servers with device codes. */
let devices: Servers;
beforeAll(async () => {
  [servers, devices] = await Promise.all([startServers(), startServers({ deviceFlow: true })]);
});
afterAll(() => Promise.all([servers.stop(), devices.stop()]));

const CONTAINER = { container: 'oci' };
// Built from a string, since a regular expression literal may hold no control character.
const CURSOR_MOVES = new RegExp(`${'\u001b'}\\[\\d*[GJ]`, 'g');
const PROMPT = 'Paste the address here: ';

interface Person extends Terminal {
  /** The authorization URL that the terminal shows. */
  url(): string;
  /** The user code that it shows. */
  userCode(): string;
  /** The output and the exit code, with the varying parts replaced. */
  told(): Promise<string>;
  run: ReturnType<typeof commandLine>;
}

/** Types `holdfast login URL …` in a new home. */
async function person(
  args: string,
  variables: Readonly<Record<string, string>> = CONTAINER,
  { at = servers, columns = 200 }: { at?: Servers; columns?: number } = {},
): Promise<Person> {
  const { path } = await temporaryHome();
  const line = commandLine(path, [at]);
  const opened = terminal(
    `${HOLDFAST} login ${at.resource} ${args}`,
    { HOME: '/nonexistent', HOLDFAST_HOME: path, ...variables },
    { columns },
  );
  return {
    ...opened,
    run: line,
    url: () => /http\S+\/auth\?\S+/.exec(opened.shown())?.[0] ?? '',
    userCode: () => /^ {2}([A-Z]{4}-[A-Z]{4})$/m.exec(opened.shown())?.[1] ?? '',
    told: async () => {
      const code = await opened.ended;
      return line
        .transcript({ code, out: readable(opened.shown()), err: '' })
        .replace('--- stdout', '---')
        .replaceAll(/[ \t]+$/gm, '');
    },
  };
}

/** Removes cursor movements, the squares of the QR code, and the last typed text. */
function readable(shown: string): string {
  return shown
    .replaceAll(CURSOR_MOVES, '')
    .replaceAll(/^[█▀▄ ]{20,}\n/gm, '█\n')
    .replaceAll(/(█\n)+/g, '(QR code)\n')
    .replaceAll(/\b[A-Z]{4}-[A-Z]{4}\b/g, 'CODE-CODE')
    .replaceAll(/x{100,}/g, 'x…')
    .replaceAll(/(here: )[\w-]{43}$/gm, '$1(code)')
    .replaceAll(/within \d+ minutes/g, 'within NN minutes')
    .replaceAll(/(code|state|iss)=[\w%.-]{20,}/g, '$1=…');
}

/** A page on which a browser on another machine ends: the redirect does not reach this machine. */
async function pageElsewhere(): Promise<string> {
  return `'${(await hostileServer({ '/callback': answer(200, 'Copy the address.') })).origin}/callback'`;
}

describe.skipIf(NO_TERMINAL !== undefined)('holdfast login on a terminal', () => {
  test('opens the browser when there is one', async () => {
    const at = await person('', { BROWSER: SCRIPTED_BROWSER });
    const told = await at.told();
    expect(told).toMatch(/^exit 0\n/);
    expect(told).toContain('Opening your browser.');
    expect(told).not.toContain('No browser can be opened');
    expect((await at.run.run(['token', servers.resource])).code).toBe(0);
  });

  test('prints the URL without a browser, and withdraws its question when the redirect comes', async () => {
    const at = await person('');
    await at.shows(PROMPT);
    at.type('http://127.0.0.1/half-pas');
    await at.shows('half-pas');
    await browse(at.url());
    expect(await at.told()).toMatchInlineSnapshot(`
      "exit 0
      ---
      No browser can be opened from here: this is a container.
      Asking http://127.0.0.1:MCP-1/mcp how to log in …
      Logging in at "127.0.0.1:AUTH1" …
      Registering with "http://127.0.0.1:AUTH1" …
      Waiting for you to log in with the browser …
      Open this URL in a browser on any machine:

        http://127.0.0.1:AUTH1/auth?…

      When you have logged in, the browser may end at a page that cannot be reached. That is expected: copy the
      address of that page from the browser.

      Paste the address here: http://127.0.0.1/half-pas
      Fetching the tokens …
      Logged in to http://127.0.0.1:MCP-1/mcp.
      The access token expires in NN minutes, and is refreshed by itself.
      Sealed under a key in the file keyring.
        secret-service was passed over: The Secret Service is not reachable: there is no D-Bus session bus here."
    `);
    expect((await at.run.run(['token', servers.resource])).code).toBe(0);
  });

  test.each([
    [{ SSH_CONNECTION: '192.0.2.1 1 192.0.2.2 22' }, 'you are connected over SSH'],
    [{ CI: 'true' }, 'this is a CI job'],
    [{ CODESPACES: 'true' }, 'this is a codespace'],
    [{ KUBERNETES_SERVICE_HOST: '10.0.0.1' }, 'this is a pod of Kubernetes'],
    [CONTAINER, 'this is a container'],
  ])('says with %j why it opens no browser, and stores nothing on Ctrl-C', async (variables, why) => {
    const at = await person('', variables);
    await at.shows(PROMPT);
    at.type(CTRL_C);
    const told = await at.told();
    expect(told).toMatch(/^exit 130\n/);
    expect(told).toContain(`No browser can be opened from here: ${why}.\n`);
    expect(told).toContain('Open this URL in a browser on any machine:');
    expect(told).toMatch(/\nPaste the address here:\nerror: The login was cancelled. Nothing was stored.$/);
    expect((await contentsOf(at.run.home)).filter((line) => line.includes('.jwe'))).toEqual([]);
  });

  test('takes the pasted address after wrong pastes, with a message for each', async () => {
    const at = await person(`--callback-url ${await pageElsewhere()}`);
    await at.shows(PROMPT);
    const { url } = await browse(at.url());
    const good = new URL(url);
    const changed = (name: string, value: string) => {
      const other = new URL(good);
      other.searchParams.set(name, value);
      return other.href;
    };
    const wrong: [string, string][] = [
      ['', 'Nothing was pasted.'],
      [changed('state', 'guessed'), 'another state'],
      [changed('iss', 'https://evil.example'), 'another issuer'],
      [`${good.origin}/callback#${good.search.slice(1)}`, 'holds no answer'],
      [at.url(), 'the address to open'],
      [good.href.replace('state', ' state'), 'white space'],
      [good.searchParams.get('code') ?? '', 'the whole address'],
      ['pässt', 'neither the address of a page nor a code'],
      ['http://[', 'neither the address of a page nor a code'],
      ['x'.repeat(100_000), 'far too long'],
    ];
    for (const [pasted, problem] of wrong) {
      const before = at.shown().length;
      at.type(`${pasted}${ENTER}`);
      await at.shows(problem, before);
      await at.shows(PROMPT, at.shown().lastIndexOf(problem));
    }
    at.type(`  ${good.href}#_=_ ${ENTER}`);
    const told = await at.told();
    expect(told.slice(told.indexOf('Paste the address here:'))).toMatchInlineSnapshot(`
      "Paste the address here:
      warning: Nothing was pasted.
      Paste the address here: http://127.0.0.1:PPPPP/callback?code=…&state=guessed&iss=…
      warning: That address has another state, so it belongs to another login. Copy the one that this login ended at, as a whole.
      Paste the address here: http://127.0.0.1:PPPPP/callback?code=…&state=…&iss=…
      warning: The redirect back to this machine comes from "https://evil.example", another issuer: it was not used.
      Paste the address here: http://127.0.0.1:PPPPP/callback#code=…&state=…&iss=…
      warning: That address holds no answer of the server. Log in first, then copy the address that the browser ends at.
      Paste the address here: http://127.0.0.1:AUTH1/auth?…
      warning: That is the address to open. Log in there, and copy the address that the browser ends at.
      Paste the address here: http://127.0.0.1:PPPPP/callback?code=…& state=…&iss=…
      warning: There is white space in it: copy the address as a whole.
      Paste the address here: (code)
      warning: This server needs the whole address, not the code alone.
      Paste the address here: pässt
      warning: That is neither the address of a page nor a code.
      Paste the address here: http://[
      warning: That is neither the address of a page nor a code.
      Paste the address here: x…
      warning: That is far too long for the address of a page.
      Paste the address here:   http://127.0.0.1:PPPPP/callback?code=…&state=…&iss=…#_=_
      Fetching the tokens …
      Logged in to http://127.0.0.1:MCP-1/mcp.
      The access token expires in NN minutes, and is refreshed by itself.
      Sealed under a key in the file keyring.
        secret-service was passed over: The Secret Service is not reachable: there is no D-Bus session bus here."
    `);
    expect(told).toMatch(/^exit 0\n/);
    expect((await at.run.run(['token', servers.resource])).code).toBe(0);
  });

  test('ends when the pasted address reports a refusal', async () => {
    const at = await person('');
    await at.shows(PROMPT);
    const state = new URL(at.url()).searchParams.get('state');
    at.type(`?error=access_denied&state=${state}&iss=${encodeURIComponent(servers.issuer)}${ENTER}`);
    const told = await at.told();
    expect(told).toMatch(/^exit 3\n/);
    expect(told.slice(told.indexOf('error: '))).toMatchInlineSnapshot(`
      "error: "http://127.0.0.1:AUTH1" says that access was denied.
        If that was not meant, log in again and allow it."
    `);
  });

  test('ends on Ctrl-D with nothing stored', async () => {
    const at = await person('');
    await at.shows(PROMPT);
    at.type(CTRL_D);
    const told = await at.told();
    expect(told).toMatch(/^exit 130\n/);
    expect(told).toMatch(/\nPaste the address here:\nerror: The login was cancelled. Nothing was stored.$/);
  });

  test('asks for the address when the browser opens on another machine', async () => {
    const at = await person('', { CODESPACES: 'true', BROWSER: '/bin/true' });
    await at.shows(PROMPT);
    expect(at.shown()).toContain('Opening your browser. If nothing shows, open this URL in a browser on any');
    at.type(CTRL_C);
    expect(await at.ended).toBe(130);
  });

  test('opens the browser of Windows from WSL', async () => {
    const directory = await temporaryDirectory();
    const program = join(directory, 'rundll32.exe');
    await writeFile(
      program,
      `#!/bin/sh\ntest "$1" = url.dll,FileProtocolHandler && ${SCRIPTED_BROWSER} "$2"\n`,
    );
    await chmod(program, 0o700);
    const variables = { WSL_DISTRO_NAME: 'Debian', PATH: `${directory}:${process.env['PATH']}` };
    const told = await (await person('', variables)).told();
    expect(told).toMatch(/^exit 0\n/);
    expect(told).toContain('Opening your browser.');
  });

  test('asks for the address when the browser does not open', async () => {
    const at = await person('', { ...CONTAINER, BROWSER: '/nonexistent/browser' });
    await at.shows(PROMPT);
    at.type(CTRL_C);
    expect(await at.told()).toMatchInlineSnapshot(`
      "exit 130
      ---
      Asking http://127.0.0.1:MCP-1/mcp how to log in …
      Logging in at "127.0.0.1:AUTH1" …
      Registering with "http://127.0.0.1:AUTH1" …
      Waiting for you to log in with the browser …
      Opening your browser. If nothing shows, open this URL in a browser on any machine:

        http://127.0.0.1:AUTH1/auth?…

      No browser could be opened from here.

      When you have logged in, the browser may end at a page that cannot be reached. That is expected: copy the
      address of that page from the browser.

      Paste the address here:
      error: The login was cancelled. Nothing was stored."
    `);
  });

  test('prints only what is needed with --quiet, and why it asks again', async () => {
    const at = await person('--quiet');
    await at.shows(PROMPT);
    at.type(`a b${ENTER}`);
    await at.shows('white space');
    await browse(at.url());
    expect(await at.told()).toMatchInlineSnapshot(`
      "exit 0
      ---
      Open this URL in a browser on any machine:

        http://127.0.0.1:AUTH1/auth?…

      Paste the address here: a b
      warning: There is white space in it: copy the address as a whole.
      Paste the address here:"
    `);
  });

  test('explains the SSH tunnel with --no-browser over SSH', async () => {
    const at = await person('--no-browser', { SSH_CONNECTION: '192.0.2.1 1 192.0.2.2 22' });
    await at.shows(PROMPT);
    at.type(CTRL_C);
    const told = await at.told();
    expect(told).toContain('On yours, first run:\n\n  ssh -L PPPPP:127.0.0.1:PPPPP HOST\n');
  });

  test('asks no user and no server with --no-input', async () => {
    const before = await servers.counters();
    expect(await (await person('--no-input')).told()).toMatchInlineSnapshot(`
      "exit 3
      ---
      error: A login to http://127.0.0.1:MCP-1/mcp needs a person, and nobody can be asked here: --no-input was given.
        In a terminal: holdfast login http://127.0.0.1:MCP-1/mcp"
    `);
    expect(await servers.counters()).toEqual(before);
  });

  test('ends with the command to run when it can neither paste nor use device codes', async () => {
    const told = await (await person('</dev/null')).told();
    expect(told.slice(told.indexOf('error: '))).toMatchInlineSnapshot(`
      "error: A login to http://127.0.0.1:MCP-1/mcp needs a person, and nobody can be asked here: this is a container, and standard input is no terminal to paste an address into.
        In a terminal: holdfast login http://127.0.0.1:MCP-1/mcp"
    `);
    expect(told).toMatch(/^exit 3\n/);
  });
});

describe.skipIf(NO_TERMINAL !== undefined)('holdfast login with device codes on a terminal', () => {
  test('shows the code and its QR code, and waits until it is entered', async () => {
    const at = await person('', CONTAINER, { at: devices, columns: 80 });
    await at.shows('Waiting for you to enter the code');
    await browse(`${devices.issuer}/device`, { userCode: at.userCode() });
    expect(await at.told()).toMatchInlineSnapshot(`
      "exit 0
      ---
      No browser can be opened from here: this is a container.
      Asking http://127.0.0.1:MCP-1/mcp how to log in …
      Logging in at "127.0.0.1:AUTH1" …
      Registering with "http://127.0.0.1:AUTH1" …
      Scan this with a phone:

      (QR code)

      Or open this URL in a browser on any machine:

        http://127.0.0.1:AUTH1/device

      and enter this code there, within NN minutes:

        CODE-CODE

      Waiting for you to enter the code …
      Logged in to http://127.0.0.1:MCP-1/mcp.
      The access token expires in NN minutes, and is refreshed by itself.
      Sealed under a key in the file keyring.
        secret-service was passed over: The Secret Service is not reachable: there is no D-Bus session bus here."
    `);
    expect(
      Math.max(
        ...at
          .shown()
          .split('\n')
          .filter((line) => line.includes('█'))
          .map((line) => line.length),
      ),
    ).toBeLessThanOrEqual(80);
    expect((await at.run.run(['token', devices.resource])).code).toBe(0);
  });

  test.each([
    [40, true],
    [24, false],
  ])('draws the QR code on %i columns: %s', async (columns, isDrawn) => {
    const at = await person('--device', {}, { at: devices, columns });
    await at.shows('Waiting for you to enter the code');
    at.type(CTRL_C);
    const told = await at.told();
    expect(told.includes('(QR code)')).toBe(isDrawn);
    expect(told).toContain(`${isDrawn ? 'Or open' : 'Open'} this URL in a browser on any machine:`);
    expect(told).toMatch(/^exit 130\n/);
    expect(told).toMatch(/error: The login was cancelled. Nothing was stored.$/);
  });

  test('logs in by device code without any input', async () => {
    const at = await person('--quiet </dev/null', CONTAINER, { at: devices });
    await at.shows('and enter this code there');
    await browse(`${devices.issuer}/device`, { userCode: at.userCode() });
    expect(await at.told()).toMatchInlineSnapshot(`
      "exit 0
      ---
      Open this URL in a browser on any machine:

        http://127.0.0.1:AUTH1/device

      and enter this code there, within NN minutes:

        CODE-CODE"
    `);
  });

  test('gives up after --timeout', async () => {
    const told = await (await person('--timeout 1', CONTAINER, { at: devices })).told();
    expect(told).toMatch(/^exit 3\n/);
    expect(told.slice(told.indexOf('error: '))).toMatchInlineSnapshot(`
      "error: Nobody entered the code in time. Nothing was stored.
        Log in again for a new code; --timeout SECONDS gives more time."
    `);
  });

  test('says that the server has no device codes when --device asks for them', async () => {
    expect(await (await person('--device')).told()).toMatchInlineSnapshot(`
      "exit 5
      ---
      Asking http://127.0.0.1:MCP-1/mcp how to log in …
      error: "http://127.0.0.1:AUTH1" offers no device codes (RFC 8628).
        Log in with a browser on any machine, and paste what it shows: holdfast login URL --paste"
    `);
  });
});

describe('holdfast login without a terminal', () => {
  test.each([
    [{ SSH_CONNECTION: '192.0.2.1 1 192.0.2.2 22' }, 'you are connected over SSH'],
    [{ CI: 'true' }, 'this is a CI job'],
    [CONTAINER, 'this is a container'],
  ])('ends at once with %j and the command to run, and asks no server', async (variables, why) => {
    const { path } = await temporaryHome();
    const before = await servers.counters();
    const ended = await commandLine(path).run(['login', servers.resource, '--account', 'work'], {
      BROWSER: '',
      ...variables,
    });
    expect(ended).toEqual({
      code: 3,
      out: '',
      err: `error: A login to ${servers.resource} needs a person, and nobody can be asked here: ${why}, and this is no terminal.\n  In a terminal: holdfast login ${servers.resource} --account work\n`,
    });
    expect(await servers.counters()).toEqual(before);
    expect(await contentsOf(path)).toEqual([]);
  });

  test('starts a device login for a program with --device --json', async () => {
    const { path } = await temporaryHome();
    const login = commandLine(path).start(['login', devices.resource, '--device', '--json'], { BROWSER: '' });
    await login.says('"device"');
    const { device } = JSON.parse(login.said().err);
    await browse(device.verificationUri, { userCode: device.userCode });
    const { code, out, err } = await login.ended;
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ credential: { state: 'fresh' } });
    expect(err.trim().split('\n')).toHaveLength(1);
  });

  test('reads the pasted address from a program with --paste --json', async () => {
    const { path } = await temporaryHome();
    const page = (await pageElsewhere()).replaceAll("'", '');
    const child = spawn(
      'sh',
      ['-c', `exec ${HOLDFAST} login ${servers.resource} --paste --json --callback-url ${page}`],
      { env: { PATH: process.env['PATH'], HOME: '/nonexistent', HOLDFAST_HOME: path } },
    );
    const out = text(child.stdout);
    const said: Record<string, unknown>[] = [];
    let url = '';
    for await (const line of createInterface({ input: child.stderr })) {
      const { authorize, paste, ...rest } = JSON.parse(line);
      said.push({ ...(paste === undefined ? {} : { paste }), ...rest });
      if (authorize !== undefined) url = authorize.url;
      child.stdin.write(paste === undefined ? 'not/an answer\n' : `${(await browse(url)).url}\n`);
    }
    expect(said).toEqual([{}, { paste: { problem: expect.stringContaining('white space') } }]);
    expect(JSON.parse(await out)).toMatchObject({ credential: { state: 'fresh' } });
  });

  test('says that standard input ended before an address came', async () => {
    const { path } = await temporaryHome();
    expect(
      await commandLine(path, [servers]).told(['login', servers.resource, '--paste']),
    ).toMatchInlineSnapshot(`
      "exit 3
      --- stderr
      Asking http://127.0.0.1:MCP-1/mcp how to log in …
      Logging in at "127.0.0.1:AUTH1" …
      Registering with "http://127.0.0.1:AUTH1" …
      Waiting for you to log in with the browser …
      Open this URL in a browser on any machine:

        http://127.0.0.1:AUTH1/auth?…

      When you have logged in, the browser may end at a page that cannot be reached. That is expected: copy the
      address of that page from the browser.

      Paste the address here: 
      error: Standard input ended before an address was pasted. Nothing was stored.
        Log in on a terminal, or write the address to standard input as one line."
    `);
  });
});
