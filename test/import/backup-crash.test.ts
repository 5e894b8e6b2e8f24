import { readdir, utimes } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CredentialId } from '../../src/credential.ts';
import { findLogins, moveLogin } from '../../src/import/move.ts';
import { partsAt, vaultAt } from '../support/homes/vault.ts';
import { start, TYPESCRIPT } from '../support/processes/process.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { type PeerHome, peerHome } from './peer-home.ts';

const SCRIPT = fileURLToPath(new URL('../support/processes/import-move-process.ts', import.meta.url));

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

function run({ directory, home }: PeerHome, variables: Readonly<Record<string, string>> = {}) {
  const args = [...TYPESCRIPT, SCRIPT, directory, 'mcporter', servers.resource];
  return start(process.execPath, args, { HOLDFAST_HOME: home.path, ...variables }).ended;
}

/** Makes unfinished files old enough to count as abandoned: more than 30 seconds. */
async function halfAMinuteLater(file: string): Promise<void> {
  const earlier = new Date(Date.now() - 31_000);
  for (const name of await readdir(dirname(file))) {
    if (name.endsWith('.holdfast')) await utimes(join(dirname(file), name), earlier, earlier);
  }
}

test('never loses a login or its backup when an import is killed at any step', async () => {
  const whole = await peerHome('mcporter', servers);
  const { login } = whole;
  const { steps } = JSON.parse((await run(whole)).out) as { steps: number };
  // At least three steps each for the login, the backup and the file.
  expect(steps).toBeGreaterThanOrEqual(9);
  const seen = new Set<string>();
  for (let dieAt = 1; dieAt <= steps; dieAt += 1) {
    const at = await peerHome('mcporter', servers, { login });
    expect(await run(at, { DIE_AT: String(dieAt) })).toMatchObject({ code: null, out: '' });
    const file = join(at.directory, '.mcporter', 'credentials.json');
    const { vault } = vaultAt(at.home);
    const name = CredentialId.of(servers.resource, undefined);
    const here = (await partsAt(at.home).credentialStore.find(name))?.held.credential.tokens.refreshToken;
    const isHere = here?.reveal() === login.tokens.refresh_token;
    const there = (await findLogins(at.source, at.context)).logins;
    const kept = (await vault.transfer.listBackups()).backups.map(({ text }) => text.reveal());
    seen.add(`${isHere ? 'here' : ''} ${there.length > 0 ? 'there' : ''} ${kept.length > 0 ? 'kept' : ''}`);
    expect(isHere || there.length > 0).toBe(true);
    if (there.length === 0) expect(kept[0]).toContain(login.tokens.refresh_token);

    await halfAMinuteLater(file);
    for (const found of there)
      expect((await moveLogin(found, at, vault, {})).outcome).toMatch(/moved|finished/);
    expect((await findLogins(at.source, at.context)).logins).toEqual([]);
    expect(
      (await partsAt(at.home).credentialStore.find(name))?.held.credential.tokens.refreshToken?.reveal(),
    ).toBe(login.tokens.refresh_token);
    // If no login was left there, mcporter itself removes the leftover lock.
    const left = (await readdir(dirname(file))).filter((one) => there.length > 0 || !one.endsWith('.lock'));
    expect(left).toEqual(['credentials.json']);
  }
  // The kills must have produced each of these states.
  expect([...seen].toSorted()).toEqual([' there ', 'here  kept', 'here there ', 'here there kept']);
}, 180_000);
