import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { Secret } from '../../../src/secret.ts';
import { goodLogin } from '../../support/homes/good-login.ts';
import { temporaryDirectory, temporaryHome } from '../../support/homes/home.ts';
import { accepted } from '../../support/homes/vault.ts';
import { type Ended, start, TYPESCRIPT } from '../../support/processes/process.ts';
import { ENTER, HOLDFAST, NO_TERMINAL, terminal } from '../../support/sandbox/sandbox-terminal.ts';
import { commandLine } from '../../support/transcript.ts';

const login = goodLogin();
const BIN = fileURLToPath(new URL('../../../src/cli/bin.ts', import.meta.url));

/** Runs `holdfast import -` in that home, with the text on standard input. */
async function importing(home: string, text: string, args: readonly string[] = []): Promise<Ended> {
  const file = join(await temporaryDirectory(), 'input');
  await writeFile(file, text, { mode: 0o600 });
  const words = [process.execPath, ...TYPESCRIPT, BIN, 'import', '-', ...args];
  return start('sh', ['-c', '"$@" < "$INPUT"', 'sh', ...words], {
    HOME: '/nonexistent',
    HOLDFAST_HOME: home,
    INPUT: file,
  }).ended;
}

async function elsewhere() {
  return commandLine((await temporaryHome()).path, [login.servers]);
}

describe('holdfast export', () => {
  test('shows nothing without --reveal, or without --yes when it cannot ask', async () => {
    const at = await login.home();
    expect(await at.told(['export', login.servers.resource])).toMatchInlineSnapshot(`
      "exit 2
      --- stderr
      error: holdfast export writes tokens in the clear, for whoever reads them to use.
        If that is meant: --reveal. For another machine, sealed: holdfast send. For a program: holdfast run"
    `);
    expect(await at.told(['export', login.servers.resource, '--reveal'])).toMatchInlineSnapshot(`
      "exit 2
      --- stderr
      error: holdfast export asks before it shows a token, and here is nobody to ask.
        If it is meant: --yes"
    `);
    expect(await login.works(at)).toBe(true);
  });

  test('writes an access token without a refresh token, which import accepts elsewhere', async () => {
    const at = await login.home();
    const { code, out } = await at.run(['export', login.servers.resource, '--reveal', '--yes']);
    expect(code).toBe(0);
    const json = JSON.parse(out);
    expect(Object.keys(json).toSorted()).toMatchInlineSnapshot(`
      [
        "account",
        "client",
        "format",
        "generation",
        "grantedScope",
        "loggedInAt",
        "requestedScope",
        "resource",
        "resourceParameter",
        "server",
        "tokens",
        "v",
      ]
    `);
    expect(json).toMatchObject({ format: 'holdfast-login', v: 1, resource: login.servers.resource });
    expect(Object.keys(json.tokens)).not.toContain('refreshToken');
    expect(await login.works(at)).toBe(true);

    const there = await elsewhere();
    const ended = await importing(there.home, out);
    expect(there.transcript(ended)).toMatchInlineSnapshot(`
      "exit 0
      --- stderr
      Imported the login to http://127.0.0.1:MCP-1/mcp, an access token alone.
      Sealed under a key in the file keyring.
        secret-service was passed over: The Secret Service is not reachable: there is no D-Bus session bus here."
    `);
    expect((await there.run(['token', login.servers.resource])).out.trim()).toBe(json.tokens.accessToken);
  });

  test('moves the whole login with --move, to a file that only its owner can read', async () => {
    const at = await login.home();
    const file = join(await temporaryDirectory(), 'login.json');
    const args = ['export', login.servers.resource, '--reveal', '--yes', '--move', '--out', file];
    const { code, out, err } = await at.run(args);
    expect({ code, out }).toEqual({ code: 0, out: '' });
    expect(err).toContain('has left this machine');
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    const gone = await at.run(['token', login.servers.resource]);
    expect(gone.code).toBe(3);
    expect(gone.err).toContain('it was exported from this machine');

    const there = await elsewhere();
    const text = await readFile(file, 'utf8');
    expect((await importing(there.home, text)).code).toBe(0);
    const generation = JSON.parse(text).generation === 1 ? '1' : '2';
    const renewed = await there.run(['token', login.servers.resource, '--refused', generation]);
    expect(await accepted(login.servers.resource, new Secret(renewed.out.trim()))).toBe(true);
    // The login was refreshed there since: the tokens of the file would log it out.
    expect(there.transcript(await importing(there.home, text))).toMatchInlineSnapshot(`
      "exit 2
      --- stderr
      error: There is a login to http://127.0.0.1:MCP-1/mcp here already, and it was left as it is.
        Give the other one a name of its own: --account LABEL. Or put it in the place of this one: --replace"
    `);
  });

  test('keeps the login when the file cannot be written', async () => {
    const at = await login.home();
    const file = join(await temporaryDirectory(), 'login.json');
    await writeFile(file, 'there before');
    const args = ['export', login.servers.resource, '--reveal', '--yes', '--move', '--out', file];
    expect((await at.run(args)).code).toBe(2);
    expect(await readFile(file, 'utf8')).toBe('there before');
    expect(await login.works(at)).toBe(true);
  });

  test.skipIf(process.platform !== 'linux')(
    'keeps the login when standard output cannot be written',
    async () => {
      const at = await login.home();
      const words = [
        process.execPath,
        ...TYPESCRIPT,
        BIN,
        'export',
        login.servers.resource,
        '--reveal',
        '--yes',
        '--move',
      ];
      await start('sh', ['-c', '"$@" > /dev/full', 'sh', ...words], {
        HOME: '/nonexistent',
        HOLDFAST_HOME: at.home,
      }).ended;
      expect(await login.works(at)).toBe(true);
    },
  );

  test('writes assignments for a shell and a container with --format env', async () => {
    const at = await login.home();
    const { out } = await at.run(['export', login.servers.resource, '--reveal', '--yes', '--format', 'env']);
    const { out: read } = await start('sh', [
      '-c',
      `${out}\nprintf '%s' "$HOLDFAST_RESOURCE $HOLDFAST_ACCESS_TOKEN"`,
    ]).ended;
    const token = (await at.run(['token', login.servers.resource])).out.trim();
    expect(read).toBe(`${login.servers.resource} ${token}`);
    const args = ['export', login.servers.resource, '--reveal', '--yes', '--format', 'env', '--move'];
    expect(await at.told(args)).toMatchInlineSnapshot(`
      "exit 2
      --- stderr
      error: --format env holds an access token alone, so nothing can be moved with it.
        Leave out --move, or take --format json."
    `);
  });
});

describe('holdfast import -', () => {
  test.each([
    ['no JSON', 'secret-text', 'it is not JSON'],
    ['another format', '{"v":1,"access":"secret-text"}', 'its format is not holdfast-login'],
    ['a cut one', '{"format":"holdfast-login","v":1,"resource":"secret-text"}', 'a field is missing'],
  ])('refuses %s, and repeats nothing of it', async (_, text, why) => {
    const there = await elsewhere();
    const { code, err } = await importing(there.home, text);
    expect(code).toBe(2);
    expect(err).toContain(why);
    expect(err).not.toContain('secret-text');
  });

  test('refuses a login for a remote server whose tokens would go to this machine', async () => {
    const at = await login.home();
    const { out } = await at.run(['export', login.servers.resource, '--reveal', '--yes']);
    const json = { ...JSON.parse(out), resource: 'https://mcp.example.com/mcp' };
    const { code, err } = await importing((await elsewhere()).home, JSON.stringify(json));
    expect(code).toBe(2);
    expect(err).toContain('is on your own machine');
  });
});

describe.skipIf(NO_TERMINAL !== undefined)('holdfast export on a terminal', () => {
  test('shows no token before the answer is yes', async () => {
    const at = await login.home();
    const command = `${HOLDFAST} export ${login.servers.resource} --reveal`;
    const variables = { HOME: '/nonexistent', HOLDFAST_HOME: at.home };
    const refused = terminal(command, variables);
    await refused.shows('Go on? [y/N]');
    refused.type(`n${ENTER}`);
    expect(await refused.ended).toBe(130);
    expect(refused.shown()).not.toContain('accessToken');
    const agreed = terminal(command, variables);
    await agreed.shows('Go on? [y/N]');
    agreed.type(`y${ENTER}`);
    expect(await agreed.ended).toBe(0);
    expect(agreed.shown()).toContain('"accessToken"');
    expect(await login.works(at)).toBe(true);
  });
});
