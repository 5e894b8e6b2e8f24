import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { recordId } from '../../src/credential.ts';
import { contentsOf } from '../support/homes/disk.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { type CommandLine, commandLine } from '../support/transcript.ts';

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

async function loggedIn(where: Servers = servers): Promise<CommandLine> {
  const { path } = await temporaryHome();
  const at = commandLine(path, [where]);
  expect((await at.run(['login', where.resource])).code).toBe(0);
  return at;
}

async function records(at: CommandLine): Promise<string[]> {
  return (await contentsOf(at.home)).filter((line) => line.includes('.jwe'));
}

describe('holdfast logout', () => {
  test('revokes the tokens at the server and removes the login', async () => {
    const at = await loggedIn();
    const before = await servers.counters();
    expect(await at.told(['logout', servers.resource])).toMatchInlineSnapshot(`
      "exit 0
      --- stderr
      Logged out of http://127.0.0.1:MCP-1/mcp: revoked at the server and removed here."
    `);
    const after = await servers.counters();
    expect(after.revocations - before.revocations).toBeGreaterThanOrEqual(1);
    expect(after.grantsRevoked - before.grantsRevoked).toBe(1);
    expect(await records(at)).toEqual([]);
    expect((await at.run(['token', servers.resource])).code).toBe(3);
  });

  test('leaves the other account alone', async () => {
    const at = await loggedIn();
    await at.run(['login', servers.resource, '--account', 'work']);
    expect(await at.told(['logout', servers.resource, '--account', 'work'])).toMatchInlineSnapshot(`
      "exit 0
      --- stderr
      Logged out of http://127.0.0.1:MCP-1/mcp as work: revoked at the server and removed here."
    `);
    expect(await records(at)).toHaveLength(1);
    expect((await at.run(['token', servers.resource])).code).toBe(0);
    expect((await at.run(['token', servers.resource, '--account', 'work'])).code).toBe(3);
  });

  test('prints the result with --json', async () => {
    const at = await loggedIn();
    expect(await at.told(['logout', servers.resource, '--json'])).toMatchInlineSnapshot(`
      "exit 0
      --- stdout
      {
        "removed": 1,
        "revocation": "revoked",
        "undecryptable": []
      }"
    `);
  });

  test('says that there is no login, and exits with 0', async () => {
    const { path } = await temporaryHome();
    expect(await commandLine(path).told(['logout', 'https://mcp.example.com/mcp'])).toMatchInlineSnapshot(`
      "exit 0
      --- stderr
      There is no login to https://mcp.example.com/mcp, so nothing was done. See: holdfast list"
    `);
    expect(await contentsOf(path)).toEqual([]);
  });

  test('removes the login here when the server cannot be reached, and exits with 5', async () => {
    const gone = await startServers();
    const at = await loggedIn(gone);
    await gone.stop();
    expect(await at.told(['logout', gone.resource])).toMatchInlineSnapshot(`
      "exit 5
      --- stderr
      error: Logged out of http://127.0.0.1:MCP-1/mcp here, but the server could not be told: "127.0.0.1:AUTH1" cannot be reached (ECONNREFUSED).
        The tokens may stay valid there until they expire. End the session in the server’s own settings."
    `);
    expect(await records(at)).toEqual([]);
  });

  test('leaves a damaged record unchanged, says so, and exits with 6', async () => {
    const at = await loggedIn();
    const [kid = ''] = await readdir(join(at.home, 'credentials'));
    const record = join(at.home, 'credentials', kid, `${recordId(servers.resource, 'default')}.jwe`);
    await writeFile(record, 'no record');
    const before = await records(at);
    expect(await at.told(['logout', servers.resource])).toMatchInlineSnapshot(`
      "exit 6
      --- stderr
      error: The login to http://127.0.0.1:MCP-1/mcp was not removed: The stored login to http://127.0.0.1:MCP-1/mcp is damaged. The record does not open: it is not five parts of base64url.
        Put the record back from a backup, or log in again: holdfast login http://127.0.0.1:MCP-1/mcp (the damaged record is then moved to quarantine/, not deleted)."
    `);
    expect(await records(at)).toEqual(before);
  });

  test('removes nothing under another passphrase, says so, and exits with 4', async () => {
    const at = await loggedIn();
    const before = await records(at);
    const revocations = (await servers.counters()).revocations;
    expect(
      await at.told(['logout', servers.resource], { HOLDFAST_PASSPHRASE: 'another' }),
    ).toMatchInlineSnapshot(`
      "exit 4
      --- stderr
      error: The login to http://127.0.0.1:MCP-1/mcp was not removed: This record is sealed under a key that cannot be read now. $HOME/keyring/sealing-key: The keyring file does not open: the passphrase is another, or the file is damaged.
        Check HOLDFAST_PASSPHRASE, or put the passphrase file that belongs to it back. The file is left as it is."
    `);
    expect(await records(at)).toEqual(before);
    expect((await servers.counters()).revocations).toBe(revocations);
  });
});
