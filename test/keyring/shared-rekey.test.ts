import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Home, temporaryDirectory, temporaryHome } from '../support/homes/home.ts';
import { scripted, vaultAt } from '../support/homes/vault.ts';
import { startVaultKms } from '../support/servers/kms.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

const ACCOUNTS = ['one', 'two', 'three', 'four', 'five', 'six'];

async function homeWith(variables: Readonly<Record<string, string>>): Promise<Home> {
  const home = await temporaryHome();
  const all = { ...home.environment.variables, ...variables };
  return { ...home, environment: { ...home.environment, variables: all } };
}

/** Logs in to each account. @returns the tokens by account */
async function loggedIn(home: Home): Promise<Map<string, string>> {
  const { vault } = vaultAt(home, { keyring: undefined });
  const tokens = new Map<string, string>();
  for (const account of ACCOUNTS) {
    await vault.login(servers.resource, { account, interaction: scripted });
    tokens.set(account, (await vault.token(servers.resource, { account })).token.reveal());
  }
  return tokens;
}

/** Reads each login in a loop, as a new process would, until `step` settles. @returns the number of rounds */
async function readingDuring(
  home: Home,
  tokens: Map<string, string>,
  step: Promise<unknown>,
): Promise<number> {
  let done = false;
  const ended = step.finally(() => {
    done = true;
  });
  let reads = 0;
  while (!done) {
    const { vault } = vaultAt(home, { keyring: undefined });
    for (const [account, token] of tokens) {
      expect((await vault.token(servers.resource, { account })).token.reveal()).toBe(token);
      reads += 1;
    }
    await vault.close();
  }
  await ended;
  return reads;
}

describe('rekey with a key that many machines share', () => {
  test('rekey seals every login under the key put first, each stays readable, and then the old key may go', async () => {
    const file = join(await temporaryDirectory(), 'sealing-key');
    const [before, after] = [randomBytes(32).toString('base64url'), randomBytes(32).toString('base64url')];
    await writeFile(file, `${before}\n`, { mode: 0o600 });
    const home = await homeWith({ HOLDFAST_SEALING_KEY_FILE: file });
    const tokens = await loggedIn(home);
    const { vault } = vaultAt(home, { keyring: undefined });
    await expect(vault.admin.rekey()).rejects.toThrow('has one key');

    await writeFile(file, `${after}\n${before}\n`);
    const rekeyed = vault.admin.rekey();
    expect(await readingDuring(home, tokens, rekeyed)).toBeGreaterThan(0);
    expect(await rekeyed).toEqual({
      keyrings: ['key-file'],
      moved: ACCOUNTS.length,
      left: [],
      undecryptable: [],
    });
    expect(await vault.admin.rekey()).toMatchObject({ moved: 0, left: [] });

    await writeFile(file, `${after}\n`);
    await readingDuring(home, tokens, vaultAt(home, { keyring: undefined }).vault.list());
    const { credentials, undecryptable } = await vaultAt(home, { keyring: undefined }).vault.list();
    expect(credentials.map(({ keyring }) => keyring)).toEqual(ACCOUNTS.map(() => 'key-file'));
    expect(undecryptable).toEqual([]);
  });

  test('rekey makes a new key in the KMS, and a vault that had read the old one finds it', async () => {
    const kms = await startVaultKms();
    const home = await homeWith({
      HOLDFAST_SEALING_KMS: `vault+http://${kms.host}/transit/keys/holdfast`,
      VAULT_TOKEN: 'token',
    });
    const tokens = await loggedIn(home);
    const early = vaultAt(home, { keyring: undefined }).vault;
    await early.list();
    const { vault } = vaultAt(home, { keyring: undefined });
    const rekeyed = vault.admin.rekey();
    await readingDuring(home, tokens, rekeyed);
    expect(await rekeyed).toEqual({ keyrings: ['kms'], moved: ACCOUNTS.length, left: [], undecryptable: [] });
    expect(await early.list()).toMatchObject({
      credentials: ACCOUNTS.map(() => ({ keyring: 'kms' })),
      undecryptable: [],
    });
  });

  test('rekey moves logins from this machine’s keyring to the shared key', async () => {
    const home = await homeWith({ HOLDFAST_SEALING_KEY: randomBytes(32).toString('base64url') });
    const inFile = vaultAt(home).vault;
    await inFile.login(servers.resource, { interaction: scripted });
    expect(await inFile.admin.rekey({ to: 'key-variable' })).toMatchObject({
      keyrings: ['key-variable'],
      moved: 1,
    });
    const { credentials } = await vaultAt(home, { keyring: undefined }).vault.list();
    expect(credentials.map(({ keyring }) => keyring)).toEqual(['key-variable']);
  });
});
