import { readFile, rm, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { peerHome } from '../../import/peer-home.ts';
import { temporaryHome } from '../../support/homes/home.ts';
import { ENTER, HOLDFAST, NO_TERMINAL, terminal } from '../../support/sandbox/sandbox-terminal.ts';
import { type Servers, startServers } from '../../support/servers/servers.ts';
import { commandLine } from '../../support/transcript.ts';

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

/** A user whose login was moved from Codex to Holdfast. */
async function person() {
  const peer = await peerHome('codex', servers);
  const before = await peer.files();
  const at = commandLine((await temporaryHome()).path, [servers], { [peer.directory]: '~' });
  const run = async (args: readonly string[]) => {
    const ended = await at.run(args, { HOME: peer.directory });
    for (const secret of [peer.login.tokens.access_token, peer.login.tokens.refresh_token]) {
      expect(`${ended.out}${ended.err}`).not.toContain(secret);
    }
    return ended;
  };
  expect(
    await run(['import', 'codex', '--yes', '--url', servers.resource, '--issuer', servers.issuer]),
  ).toMatchObject({ code: 0 });
  expect(await peer.files()).not.toEqual(before);
  const told = async (args: readonly string[]) => at.transcript(await run(args));
  return { peer, before, run, told, home: at.home };
}

describe('holdfast import --restore', () => {
  test('lists the backups, with no secret', async () => {
    const { peer, told, run } = await person();
    const { code, out } = await run(['import', 'codex', '--restore', '--list']);
    expect(code).toBe(0);
    // The age of the backup decides the width of the columns.
    expect(out).toMatch(/^NAME +FROM +FILE\n[\w-]{11}\.\d{13} +.+ +\S+\/\.codex\/\.credentials\.json\n$/);
    const { backups, undecryptable } = JSON.parse(
      (await run(['import', 'codex', '--restore', '--list', '--json'])).out,
    );
    expect(undecryptable).toBe(0);
    const file = `${peer.directory}/.codex/.credentials.json`;
    expect(backups).toEqual([{ name: expect.any(String), peer: 'codex', file, at: expect.any(String) }]);
    expect(await told(['import', 'opencode', '--restore', '--list'])).toMatchInlineSnapshot(`
      "exit 0
      --- stderr
      There is no backup of a file of that program."
    `);
  });

  test('writes nothing without --yes, and says what restoring means', async () => {
    const { peer, told } = await person();
    const left = await peer.files();
    expect(await told(['import', 'codex', '--restore'])).toMatchInlineSnapshot(`
      "exit 2
      --- stderr
      error: This puts ~/.codex/.credentials.json back as Codex had it a while ago; what Codex wrote there since is replaced. A login that has moved here since would be in two places, and whichever of the two refreshes it logs the other one out: use it there or here, not both.
        If that is meant: --yes. Other backups: --restore --list"
    `);
    expect(await peer.files()).toEqual(left);
  });

  test('restores the file, and backs up the version that it replaces', async () => {
    const { peer, before, told, run } = await person();
    const [path = ''] = Object.keys(before);
    await writeFile(`${peer.directory}/${path}`, '{"later": 1}');
    expect(await told(['import', 'codex', '--restore', '--yes'])).toMatchInlineSnapshot(`
      "exit 0
      --- stderr
      Put back ~/.codex/.credentials.json as it was a while ago. What was there until now is a backup too."
    `);
    expect(await peer.files()).toEqual(before);
    const { out } = await run(['import', 'codex', '--restore', '--list', '--json']);
    const { backups } = JSON.parse(out) as { backups: { name: string }[] };
    expect(backups).toHaveLength(2);
    const again = ['import', 'codex', '--restore', '--backup', backups[0]?.name ?? '', '--yes', '--json'];
    expect(JSON.parse((await run(again)).out)).toMatchObject({ restored: { name: backups[0]?.name } });
    expect(await readFile(`${peer.directory}/${path}`, 'utf8')).toBe('{"later": 1}');
  });

  test('restores a file that has been removed since', async () => {
    const { peer, before, run } = await person();
    await rm(`${peer.directory}/.codex`, { recursive: true });
    expect(await run(['import', 'codex', '--restore', '--yes'])).toMatchObject({ code: 0 });
    expect(await peer.files()).toEqual(before);
  });

  test('refuses an unknown backup name and options that do not go together', async () => {
    const { told } = await person();
    expect(await told(['import', 'codex', '--restore', '--backup', 'none'])).toMatchInlineSnapshot(`
      "exit 2
      --- stderr
      error: There is no backup "none" of a file of Codex.
        See what is there: holdfast import codex --restore --list"
    `);
    expect(await told(['import', 'codex', '--restore', '--replace'])).toMatchInlineSnapshot(`
      "exit 2
      --- stderr
      error: --replace does not go with --restore, which puts a whole file back.
        Of several files: --file FILE. Of several backups: --backup NAME"
    `);
    expect(await told(['import', 'codex', '--backup', 'none'])).toMatchInlineSnapshot(`
      "exit 2
      --- stderr
      error: --backup says which backup is put back.
        Add --restore"
    `);
  });

  test.skipIf(NO_TERMINAL)('asks on a terminal, and writes nothing on a no', async () => {
    const { peer, before, home } = await person();
    const left = await peer.files();
    const command = `${HOLDFAST} import codex --restore`;
    const variables = { HOME: peer.directory, HOLDFAST_HOME: home };
    const refused = terminal(command, variables);
    await refused.shows('Put it back? [y/N]');
    expect(refused.shown()).toContain('would be in two places');
    refused.type(ENTER);
    expect(await refused.ended).toBe(130);
    expect(await peer.files()).toEqual(left);

    const agreed = terminal(command, variables);
    await agreed.shows('Put it back? [y/N]');
    agreed.type(`y${ENTER}`);
    expect(await agreed.ended).toBe(0);
    expect(await peer.files()).toEqual(before);
  });
});
