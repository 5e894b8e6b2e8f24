import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { contentsOf } from '../../support/homes/disk.ts';
import { codeIn, withoutSecrets } from '../../support/homes/handover.ts';
import { temporaryDirectory, temporaryHome } from '../../support/homes/home.ts';
import { type Servers, startServers } from '../../support/servers/servers.ts';
import { type CommandLine, commandLine } from '../../support/transcript.ts';

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

async function loggedIn(): Promise<CommandLine> {
  const at = commandLine((await temporaryHome()).path, [servers]);
  expect((await at.run(['login', servers.resource])).code).toBe(0);
  return at;
}

async function sandbox(): Promise<{ at: CommandLine; code: string }> {
  const at = commandLine((await temporaryHome()).path, [servers]);
  return { at, code: codeIn((await at.run(['receive', servers.resource, '--later'])).out) };
}

async function told(at: CommandLine, args: readonly string[]): Promise<string> {
  return withoutSecrets(await at.told(args));
}

describe('holdfast send', () => {
  test('prints only the blob on standard output, and says what it is', async () => {
    const laptop = await loggedIn();
    const { code } = await sandbox();
    const ended = await laptop.run(['send', servers.resource, '--to', code]);
    expect(ended.out).toMatch(
      /^-----BEGIN HOLDFAST HAND-OVER-----\n([\w.-]{1,72}\n)+-----END HOLDFAST HAND-OVER-----\n$/,
    );
    expect(withoutSecrets(laptop.transcript(ended))).toMatchInlineSnapshot(`
      "exit 0
      --- stdout
      BLOB
      --- stderr
      The words of the code: WORDS
      Sealed an access token for http://127.0.0.1:MCP-1/mcp, and nothing to renew it with. It ends in NN minutes.
      The blob opens where the code was shown, once, and for the next NN minutes. It is no secret.
      The words of the blob: WORDS
      holdfast receive shows the same ones there, if it has opened this blob and no other."
    `);
  });

  test('prints JSON with --json', async () => {
    const laptop = await loggedIn();
    const { code } = await sandbox();
    expect(await told(laptop, ['send', servers.resource, '--to', code, '--json'])).toMatchInlineSnapshot(`
      "exit 0
      --- stdout
      {
        "codeWords": "WORDS",
        "blobWords": "WORDS",
        "mode": "access-token",
        "resource": "http://127.0.0.1:MCP-1/mcp",
        "account": "default",
        "canRefresh": false,
        "again": false,
        "expiresAt": "TIME",
        "tokenExpiresAt": "TIME",
        "blob": "BLOB"
      }"
    `);
  });

  test('prints the blob of a moved login again for the same code, and tells all others where it went', async () => {
    const laptop = await loggedIn();
    const { code } = await sandbox();
    const first = await laptop.run(['send', servers.resource, '--to', code, '--move']);
    const again = await laptop.run(['send', servers.resource, '--to', code, '--move']);
    expect(again.out).toBe(first.out);
    expect(withoutSecrets(laptop.transcript(again))).toMatchInlineSnapshot(`
      "exit 0
      --- stdout
      BLOB
      --- stderr
      This login has left this machine already; here is its blob again: http://127.0.0.1:MCP-1/mcp.
      Until the blob is opened there, the same command with the same code prints it again. If nobody opens it in time, log in anew.
      The blob opens where the code was shown, once, and for the next NN minutes. It is no secret.
      The words of the blob: WORDS
      holdfast receive shows the same ones there, if it has opened this blob and no other."
    `);
    expect(await told(laptop, ['token', servers.resource])).toMatchInlineSnapshot(`
      "exit 3
      --- stderr
      error: The login to http://127.0.0.1:MCP-1/mcp has ended (TIME): it was moved to another machine (hand-over words: WORDS).
        Log in again: holdfast login http://127.0.0.1:MCP-1/mcp"
    `);
    const { credentials } = JSON.parse((await laptop.run(['list', '--json'])).out) as {
      credentials: unknown;
    };
    expect(credentials).toMatchObject([
      { state: 'login-required', reason: expect.stringContaining('it was moved'), canRefresh: false },
    ]);
    const other = await sandbox();
    expect((await laptop.run(['send', servers.resource, '--to', other.code, '--move'])).code).toBe(3);
  });

  test('logs in for the other machine with --fresh, and keeps nothing here', async () => {
    const home = await temporaryHome();
    const at = commandLine(home.path, [servers]);
    const { code } = await sandbox();
    const ended = await at.run(['send', servers.resource, '--to', code, '--fresh']);
    expect(ended).toMatchObject({ code: 0, out: expect.stringContaining('BEGIN HOLDFAST HAND-OVER') });
    expect(ended.err).toContain(`Sealed a new login to ${servers.resource}. Nothing of it was kept here.`);
    expect((await contentsOf(home.path)).filter((line) => line.includes('.jwe'))).toEqual([]);
  });

  test('writes the blob to a new file that only its owner can read', async () => {
    const laptop = await loggedIn();
    const { code } = await sandbox();
    const file = join(await temporaryDirectory(), 'blob');
    expect(await laptop.run(['send', servers.resource, '--to', code, '--out', file])).toMatchObject({
      code: 0,
      out: '',
    });
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(await readFile(file, 'utf8')).toContain('END HOLDFAST HAND-OVER');
  });

  test('refuses impossible arguments before it touches anything', async () => {
    const laptop = await loggedIn();
    const { code } = await sandbox();
    const directory = await temporaryDirectory();
    const there = join(directory, 'there');
    await writeFile(there, 'mine');
    const before = await contentsOf(laptop.home);
    const refusals = [
      [],
      ['--to', 'ABC'],
      ['--to', `${code.slice(0, -1)}${code.endsWith('Z') ? 'Y' : 'Z'}`],
      ['--to', code, '--fresh', '--move'],
      ['--to', code, '--move', '--out', there],
      ['--to', code, '--move', '--out', join(directory, 'no', 'where')],
    ];
    const said: string[] = [];
    for (const options of refusals) {
      const text = await told(laptop, ['send', servers.resource, ...options]);
      said.push(text.replaceAll(directory, '$DIR'));
    }
    expect(said.join('\n')).toMatchInlineSnapshot(`
      "exit 2
      --- stderr
      error: holdfast send needs the code of the machine that the login goes to.
        Run holdfast receive there; it shows one. Then: holdfast send URL --to CODE
      exit 2
      --- stderr
      error: The hand-over code cannot be used: it has 3 letters and digits, and a code has 56.
        Copy the whole code that holdfast receive shows.
      exit 2
      --- stderr
      error: The hand-over code cannot be used: its checksum does not fit, so a letter is wrong.
        Copy the whole code that holdfast receive shows.
      exit 2
      --- stderr
      error: --fresh and --move exclude each other.
        A login that is made for the other machine, or the one that is here: name one.
      exit 2
      --- stderr
      error: $DIR/there is there already, and is left as it is.
        Name another file, or remove that one.
      exit 2
      --- stderr
      error: There is no directory $DIR/no.
        Make it: mkdir -p $DIR/no"
    `);
    expect(await contentsOf(laptop.home)).toEqual(before);
    expect(await readFile(there, 'utf8')).toBe('mine');
  });
});
