import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { recordId } from '../../src/credential.ts';
import { contentsOf, copyDirectory } from '../support/homes/disk.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { type CommandLine, commandLine } from '../support/transcript.ts';

let servers: Servers;
let others: Servers;
let template: string;

beforeAll(async () => {
  [servers, others] = await Promise.all([startServers(), startServers()]);
  template = join(await mkdtemp(join(tmpdir(), 'holdfast-test-')), 'home');
  const at = commandLine(template);
  await at.run(['login', servers.resource]);
  await at.run(['login', servers.resource, '--account', 'work']);
  await at.run(['login', others.resource]);
});
afterAll(async () => {
  await Promise.all([servers.stop(), others.stop(), rm(join(template, '..'), { recursive: true })]);
});

/** Logged in at the first server, as two accounts, and at the second. */
async function loggedIn(): Promise<CommandLine> {
  const { path } = await temporaryHome();
  await copyDirectory(template, path);
  return commandLine(path, inOrder());
}

/** Sorts the servers as the list does, by URL: ports are random, so MCP-1 is the first in the list. */
function inOrder(): Servers[] {
  return [servers, others].sort((a, b) => (a.resource < b.resource ? -1 : 1));
}

async function recordOf(at: CommandLine, resource: string): Promise<string> {
  const credentials = join(at.home, 'credentials');
  const [kid = ''] = await readdir(credentials);
  return join(credentials, kid, `${recordId(resource, 'default')}.jwe`);
}

/** A login whose access token has expired. */
async function lapsed(): Promise<CommandLine> {
  const { path } = await temporaryHome();
  const at = commandLine(path, [servers]);
  await servers.behave({ accessTokenTtlSeconds: 1 });
  await at.run(['login', servers.resource]);
  await servers.behave({ accessTokenTtlSeconds: 3600 });
  for (;;) {
    const { out } = await at.run(['list', '--json']);
    if (JSON.parse(out).credentials[0].state !== 'fresh') return at;
  }
}

/** Replaces column widths, which depend on how the times are worded. */
function narrowed(told: string): string {
  return told.replaceAll(/(?<=\S) {2,}/g, '  ');
}

describe('holdfast list', () => {
  test('says how to log in when there is no login, and creates nothing', async () => {
    const { path } = await temporaryHome();
    const at = commandLine(path);
    expect(await at.told(['list'])).toMatchInlineSnapshot(`
      "exit 0
      --- stderr
      No logins yet. Log in: holdfast login URL"
    `);
    expect(await at.told(['list', '--quiet'])).toBe('exit 0');
    expect(await contentsOf(path)).toEqual([]);
  });

  test('shows every login, several accounts of one server too, and asks no server', async () => {
    const at = await loggedIn();
    const before = await servers.counters();
    const told = await at.told(['list']);
    expect(told.split('\n').slice(0, 3).join('\n')).toMatchInlineSnapshot(`
      "exit 0
      --- stdout
      RESOURCE                    ACCOUNT  STATE  EXPIRES        SCOPES      KEYRING"
    `);
    const rows = told.split('\n').slice(3);
    const first = servers === inOrder()[0] ? 1 : 2;
    const row = (server: number, account: string) =>
      `http://127.0.0.1:MCP-${server}/mcp  ${account.padEnd(7)}  fresh  in NN minutes  tools:call  file`;
    expect(rows.sort()).toEqual(
      [row(first, 'default'), row(first, 'work'), row(3 - first, 'default')].sort(),
    );
    expect(await servers.counters()).toEqual(before);
  });

  test('prints data with --json, and no secret', async () => {
    const { path } = await temporaryHome();
    const at = commandLine(path, [others]);
    await at.run(['login', others.resource]);
    const listed = await at.run(['list', '--json']);
    expect(at.transcript(listed)).toMatchInlineSnapshot(`
      "exit 0
      --- stdout
      {
        "credentials": [
          {
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
          }
        ],
        "undecryptable": []
      }"
    `);
    const { out: token } = await at.run(['token', others.resource]);
    expect(listed.out.includes(token.trim())).toBe(false);
  });

  test('says which login will be refreshed when it is used', async () => {
    const at = await lapsed();
    expect(narrowed(await at.told(['list']))).toMatchInlineSnapshot(`
      "exit 0
      --- stdout
      RESOURCE  ACCOUNT  STATE  EXPIRES  SCOPES  KEYRING
      http://127.0.0.1:MCP-1/mcp  default  refreshes on use  a while ago  tools:call  file"
    `);
  });

  test('names the login that has ended, the reason and the command that fixes it', async () => {
    const at = await lapsed();
    await servers.revokeGrants();
    expect((await at.run(['token', servers.resource])).code).toBe(3);
    expect(narrowed(await at.told(['list']))).toMatchInlineSnapshot(`
      "exit 0
      --- stdout
      RESOURCE  ACCOUNT  STATE  EXPIRES  SCOPES  KEYRING
      http://127.0.0.1:MCP-1/mcp  default  login required  a while ago  tools:call  file
      --- stderr
      warning: The login to http://127.0.0.1:MCP-1/mcp ended a while ago: The token endpoint of "http://127.0.0.1:AUTH1" answered "invalid_grant": "grant request is invalid". It was ended there, or a copy of it was used first: a backup, or another machine.
        Log in again: holdfast login http://127.0.0.1:MCP-1/mcp"
    `);
    const { out } = await at.run(['list', '--json']);
    expect(JSON.parse(out).credentials[0]).toMatchObject({
      state: 'login-required',
      since: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
      reason: expect.stringContaining('invalid_grant'),
    });
  });

  test('shows the other logins when one record is damaged, and leaves that record unchanged', async () => {
    const at = await loggedIn();
    const record = await recordOf(at, others.resource);
    const text = await readFile(record, 'utf8');
    const altered = text.length - 5;
    await writeFile(
      record,
      `${text.slice(0, altered)}${text[altered] === 'A' ? 'B' : 'A'}${text.slice(altered + 1)}`,
    );
    const before = await contentsOf(at.home);
    const { code, out, err } = await at.run(['list']);
    expect(code).toBe(0);
    expect(out.trimEnd().split('\n')).toHaveLength(3);
    expect(out).not.toContain(others.resource);
    expect(at.transcript({ code, out: '', err })).toMatchInlineSnapshot(`
      "exit 0
      --- stderr
      warning: 1 record does not open (RECORD-ID…). The record does not open: it fails authentication.
        Log in again where a login is missing above; the record is then moved to quarantine/, not deleted. Or remove it: holdfast logout --forget"
    `);
    const json = await at.run(['list', '--json']);
    expect(JSON.parse(json.out).undecryptable).toMatchObject([{ code: 'record-damaged' }]);
    expect(await contentsOf(at.home)).toEqual(before);
  });

  test('gives the reason once when no record opens', async () => {
    const at = await loggedIn();
    const before = await contentsOf(at.home);
    expect(await at.told(['list'], { HOLDFAST_PASSPHRASE: 'another' })).toMatchInlineSnapshot(`
      "exit 0
      --- stderr
      warning: 3 records do not open (RECORD-ID…, RECORD-ID…, RECORD-ID…). This record is sealed under a key that cannot be read now. $HOME/keyring/sealing-key: The keyring file does not open: the passphrase is another, or the file is damaged.
        Check HOLDFAST_PASSPHRASE, or put the passphrase file that belongs to it back. The file is left as it is."
    `);
    expect(await contentsOf(at.home)).toEqual(before);
  });
});
