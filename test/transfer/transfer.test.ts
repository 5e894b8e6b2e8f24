import { readdir } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import type { Credential } from '../../src/credential.ts';
import { serializeCredential } from '../../src/credential-record.ts';
import { type BlobHeader, sealBlob } from '../../src/handover/blob.ts';
import { parseCode } from '../../src/handover/code.ts';
import { Secret } from '../../src/secret.ts';
import type { SendOptions } from '../../src/transfer/types.ts';
import type { Vault } from '../../src/vault/vault.ts';
import { sampleCredential } from '../support/homes/credential.ts';
import { contentsOf } from '../support/homes/disk.ts';
import { type Home, temporaryHome } from '../support/homes/home.ts';
import {
  accepted,
  change,
  expire,
  loggedIn,
  partsAt,
  scripted,
  stored,
  vaultAt,
} from '../support/homes/vault.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());
afterEach(() => {
  vi.useRealTimers();
});

/** A laptop with a login, and a sandbox without one. */
async function machines() {
  const laptop = await loggedIn(await temporaryHome(), servers.resource);
  const home = await temporaryHome();
  return { laptop, sandbox: { home, ...vaultAt(home) } };
}

/** Moves the wall clock forward. */
function letPass(ms: number): void {
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + ms });
}

async function handOver(from: Vault, to: Vault, options: Omit<SendOptions, 'to'> = {}) {
  const { code, words } = await to.transfer.invite({ resource: servers.resource });
  const sent = await from.transfer.send(servers.resource, { to: code, ...options });
  expect(sent.codeWords).toBe(words);
  const received = await to.transfer.receive(sent.blob);
  expect(received.blobWords).toBe(sent.blobWords);
  return { sent, received };
}

/** The files of hand-overs in that home. */
async function handoverFiles({ layout }: Home): Promise<string[]> {
  return readdir(layout.handover).catch(() => []);
}

describe('an access token that is handed over', () => {
  test('an access token works on the other machine, cannot be renewed, and leaves the login as it was', async () => {
    const { laptop, sandbox } = await machines();
    const before = await contentsOf(laptop.home.layout.credentials);
    const { sent, received } = await handOver(laptop.vault, sandbox.vault);
    expect(sent).toMatchObject({ mode: 'access-token', canRefresh: false, again: false });
    expect(received).toMatchObject({
      mode: 'access-token',
      credential: { resource: servers.resource, state: 'fresh', canRefresh: false, generation: 1 },
      keyring: { id: 'file', lifetime: 'disk' },
    });
    const { token } = await vaultAt(sandbox.home).vault.token(servers.resource);
    expect(token.equals(laptop.first.tokens.accessToken)).toBe(true);
    expect(await accepted(servers.resource, token)).toBe(true);
    const { tokens, client, server } = (await stored(sandbox.home, servers.resource)).credential;
    expect(tokens.refreshToken).toBeUndefined();
    expect(client.clientSecret).toBeUndefined();
    // Revoking it on the other machine could end the login here.
    expect(server.revocationEndpoint).toBeUndefined();
    expect(await contentsOf(laptop.home.layout.credentials)).toEqual(before);
  });

  test('refreshes an access token that is due before it is handed over', async () => {
    const { laptop, sandbox } = await machines();
    await expire(laptop.home, servers.resource);
    await handOver(laptop.vault, sandbox.vault);
    const here = (await stored(laptop.home, servers.resource)).credential;
    expect(here.generation).toBe(2);
    const there = (await stored(sandbox.home, servers.resource)).credential;
    expect(there.tokens.accessToken.equals(here.tokens.accessToken)).toBe(true);
    expect(there.generation).toBe(1);
  });

  test('an access token that has expired on the other machine needs a person', async () => {
    const { laptop, sandbox } = await machines();
    await handOver(laptop.vault, sandbox.vault);
    await expire(sandbox.home, servers.resource);
    await expect(vaultAt(sandbox.home).vault.token(servers.resource)).rejects.toMatchObject({
      code: 'login-required',
    });
    expect((await vaultAt(sandbox.home).vault.list()).credentials).toMatchObject([
      { state: 'login-required', canRefresh: false },
    ]);
  });

  test('a blob with an access token cannot be opened after the token’s end', async () => {
    const { laptop, sandbox } = await machines();
    await change(laptop.home, servers.resource, ({ tokens }) => ({
      tokens: { ...tokens, obtainedBoot: undefined, expiresAt: tokens.obtainedAt + 120_000 },
    }));
    const { code } = await sandbox.vault.transfer.invite();
    const { expiresAt, tokenExpiresAt } = await laptop.vault.transfer.send(servers.resource, { to: code });
    expect(expiresAt).toBe(tokenExpiresAt);
  });

  test('refuses to send an access token that is bound to a key, and says what can be sent', async () => {
    const { laptop, sandbox } = await machines();
    await change(laptop.home, servers.resource, ({ tokens }) => ({
      dpopKey: new Secret('a key'),
      tokens: { ...tokens, tokenType: 'DPoP' },
    }));
    const { code } = await sandbox.vault.transfer.invite();
    await expect(
      vaultAt(laptop.home).vault.transfer.send(servers.resource, { to: code }),
    ).rejects.toMatchObject({
      code: 'invalid-argument',
      message: expect.stringContaining('is bound to a key (DPoP, RFC 9449)'),
      hint: expect.stringContaining('--fresh'),
    });
  });

  test('refuses to send an access token of a login that does not exist', async () => {
    const { sandbox } = await machines();
    const { code } = await sandbox.vault.transfer.invite();
    const { vault } = vaultAt(await temporaryHome());
    for (const mode of ['access-token', 'move'] as const) {
      await expect(vault.transfer.send(servers.resource, { to: code, mode })).rejects.toMatchObject({
        code: 'login-required',
      });
    }
  });
});

describe('a new login for another machine', () => {
  test('a new login for another machine is renewed there, and is not stored here', async () => {
    const { laptop, sandbox } = await machines();
    const before = await contentsOf(laptop.home.path);
    const { sent } = await handOver(laptop.vault, sandbox.vault, {
      mode: 'fresh',
      login: { interaction: scripted },
    });
    expect(sent).toMatchObject({ mode: 'fresh', canRefresh: true });
    expect(await contentsOf(laptop.home.path)).toEqual(before);
    expect(laptop.events).toEqual([]);
    const there = (await stored(sandbox.home, servers.resource)).credential;
    expect(there.tokens.refreshToken?.equals(laptop.first.tokens.refreshToken)).toBe(false);
    await Promise.all([expire(sandbox.home, servers.resource), expire(laptop.home, servers.resource)]);
    for (const home of [sandbox.home, laptop.home]) {
      const { token, generation } = await vaultAt(home).vault.token(servers.resource);
      expect(generation).toBe(2);
      expect(await accepted(servers.resource, token)).toBe(true);
    }
  });

  test('makes a new login for another machine although nobody is logged in here', async () => {
    const { sandbox } = await machines();
    const home = await temporaryHome();
    await handOver(vaultAt(home).vault, sandbox.vault, { mode: 'fresh', login: { interaction: scripted } });
    expect((await vaultAt(home).vault.list()).credentials).toEqual([]);
    expect((await sandbox.vault.list()).credentials).toMatchObject([{ state: 'fresh', canRefresh: true }]);
  });
});

describe('a login that moves', () => {
  test('a moved login is renewed on the other machine, and the old one says where it went', async () => {
    const { laptop, sandbox } = await machines();
    await laptop.vault.token(servers.resource);
    const { sent } = await handOver(laptop.vault, sandbox.vault, { mode: 'move' });
    const gone = {
      code: 'login-required',
      message: expect.stringContaining(
        `it was moved to another machine (hand-over words: ${sent.codeWords})`,
      ),
      hint: `Log in again: holdfast login ${servers.resource}`,
    };
    await expect(laptop.vault.token(servers.resource)).rejects.toMatchObject(gone);
    await expect(vaultAt(laptop.home).vault.token(servers.resource)).rejects.toMatchObject(gone);
    expect((await laptop.vault.list()).credentials).toMatchObject([
      { state: 'login-required', reason: expect.stringContaining('it was moved'), canRefresh: false },
    ]);
    const left = (await stored(laptop.home, servers.resource)).credential;
    expect(left.tokens.refreshToken).toBeUndefined();
    expect(left.tokens.accessToken.equals(laptop.first.tokens.accessToken)).toBe(false);
    await expire(sandbox.home, servers.resource);
    const { token, generation } = await vaultAt(sandbox.home).vault.token(servers.resource);
    expect(generation).toBe(2);
    expect(await accepted(servers.resource, token)).toBe(true);
  });

  test('shows the blob of a moved login again for the same code only, until its time is over', async () => {
    const { laptop, sandbox } = await machines();
    const [{ code }, other] = [await sandbox.vault.transfer.invite(), await sandbox.vault.transfer.invite()];
    const first = await laptop.vault.transfer.send(servers.resource, { to: code, mode: 'move' });
    const again = await vaultAt(laptop.home).vault.transfer.send(servers.resource, {
      to: code,
      mode: 'move',
    });
    expect(again).toEqual({ ...first, again: true });
    for (const mode of ['move', 'access-token'] as const) {
      await expect(
        laptop.vault.transfer.send(servers.resource, { to: other.code, mode }),
      ).rejects.toMatchObject({
        code: 'login-required',
        message: expect.stringContaining('it was moved'),
      });
    }
    letPass(601_000);
    await expect(
      laptop.vault.transfer.send(servers.resource, { to: code, mode: 'move' }),
    ).rejects.toMatchObject({
      code: 'login-required',
    });
  });

  test('a new login is possible after a move, with the registration that stayed here', async () => {
    const { laptop, sandbox } = await machines();
    await handOver(laptop.vault, sandbox.vault, { mode: 'move' });
    const { registrations } = await servers.counters();
    await laptop.vault.login(servers.resource, { interaction: scripted });
    expect((await servers.counters()).registrations).toBe(registrations);
    await Promise.all([expire(sandbox.home, servers.resource), expire(laptop.home, servers.resource)]);
    expect((await laptop.vault.token(servers.resource)).generation).toBe(4);
    expect((await vaultAt(sandbox.home).vault.token(servers.resource)).generation).toBe(2);
  });

  test('a login does not move when the check words differ', async () => {
    const { laptop, sandbox } = await machines();
    const { code, words } = await sandbox.vault.transfer.invite();
    const before = await contentsOf(laptop.home.path);
    const asked: string[] = [];
    const confirm = async (shown: string) => {
      asked.push(shown);
      return false;
    };
    for (const mode of ['access-token', 'fresh', 'move'] as const) {
      await expect(
        laptop.vault.transfer.send(servers.resource, { to: code, mode, confirm }),
      ).rejects.toMatchObject({
        code: 'login-cancelled',
        message: expect.stringContaining('nothing was sent'),
      });
    }
    expect(asked).toEqual([words, words, words]);
    expect(await contentsOf(laptop.home.path)).toEqual(before);
  });

  test('a moved login takes along the key its tokens are bound to', async () => {
    const bound = await startServers({ dpop: true });
    onTestFinished(() => bound.stop());
    const laptop = await loggedIn(await temporaryHome(), bound.resource);
    expect((await laptop.vault.token(bound.resource)).tokenType).toBe('DPoP');
    const home = await temporaryHome();
    const { code } = await vaultAt(home).vault.transfer.invite();
    const { blob } = await laptop.vault.transfer.send(bound.resource, { to: code, mode: 'move' });
    await vaultAt(home).vault.transfer.receive(blob);
    expect((await stored(laptop.home, bound.resource)).credential.dpopKey).toBeUndefined();
    await expire(home, bound.resource);
    const { generation, proof } = await vaultAt(home).vault.token(bound.resource);
    expect(generation).toBe(2);
    expect(proof).toBeDefined();
  });

  test('refuses to move a login that was made without a person', async () => {
    const { laptop, sandbox } = await machines();
    await change(laptop.home, servers.resource, () => ({ grant: { type: 'client_credentials' } }));
    const { code } = await sandbox.vault.transfer.invite();
    await expect(
      laptop.vault.transfer.send(servers.resource, { to: code, mode: 'move' }),
    ).rejects.toMatchObject({
      code: 'invalid-argument',
      message: expect.stringContaining('was made without a person (client_credentials)'),
    });
  });
});

describe('a blob that is refused', () => {
  test('refuses a blob on a machine that showed another code', async () => {
    const { laptop, sandbox } = await machines();
    const { code } = await sandbox.vault.transfer.invite();
    const { blob } = await laptop.vault.transfer.send(servers.resource, { to: code });
    const elsewhere = vaultAt(await temporaryHome()).vault;
    await elsewhere.transfer.invite();
    await expect(elsewhere.transfer.receive(blob)).rejects.toMatchObject({
      code: 'handover-wrong-key',
      message: 'The hand-over blob was sealed for another code than those that were made here.',
    });
    await expect(laptop.vault.transfer.receive(blob)).rejects.toMatchObject({ code: 'handover-wrong-key' });
    await sandbox.vault.transfer.receive(blob);
  });

  test('refuses a blob the second time, and keeps what was refreshed in the meantime', async () => {
    const { laptop, sandbox } = await machines();
    const { code } = await sandbox.vault.transfer.invite();
    const { blob } = await laptop.vault.transfer.send(servers.resource, { to: code, mode: 'move' });
    await sandbox.vault.transfer.receive(blob);
    await expire(sandbox.home, servers.resource);
    await vaultAt(sandbox.home).vault.token(servers.resource);
    for (const { vault } of [sandbox, vaultAt(sandbox.home)]) {
      await expect(vault.transfer.receive(blob)).rejects.toMatchObject({
        code: 'handover-opened',
        message: expect.stringMatching(
          /^The hand-over code was used at \d{4}-.*Z, and opens nothing a second time\.$/,
        ),
      });
    }
    expect((await stored(sandbox.home, servers.resource)).credential.generation).toBe(2);
  });

  test('refuses a blob if another one was opened with its code', async () => {
    const { laptop, sandbox } = await machines();
    const { code } = await sandbox.vault.transfer.invite();
    const [first, second] = [
      await laptop.vault.transfer.send(servers.resource, { to: code }),
      await laptop.vault.transfer.send(servers.resource, { to: code }),
    ];
    await sandbox.vault.transfer.receive(first.blob);
    await expect(sandbox.vault.transfer.receive(second.blob)).rejects.toMatchObject({
      code: 'handover-opened',
    });
  });

  test('refuses a blob that is late by more than the minute that clocks may differ', async () => {
    const { laptop, sandbox } = await machines();
    const { code } = await sandbox.vault.transfer.invite({ lifetimeMs: 3_600_000 });
    const { blob } = await laptop.vault.transfer.send(servers.resource, { to: code, lifetimeMs: 30_000 });
    letPass(95_000);
    await expect(sandbox.vault.transfer.receive(blob)).rejects.toMatchObject({
      code: 'handover-expired',
      message: expect.stringMatching(/^The hand-over blob could be opened until .*, and now it is /),
      hint: expect.stringContaining('check the clocks'),
    });
    letPass(-40_000);
    await sandbox.vault.transfer.receive(blob);
  });

  test('refuses a blob whose code has expired, and destroys the code’s key', async () => {
    const { laptop, sandbox } = await machines();
    const { code } = await sandbox.vault.transfer.invite({ lifetimeMs: 60_000 });
    const { blob } = await laptop.vault.transfer.send(servers.resource, { to: code });
    letPass(61_000);
    const late = { code: 'handover-expired', message: expect.stringContaining('was good until') };
    await expect(sandbox.vault.transfer.receive(blob)).rejects.toMatchObject(late);
    await sandbox.vault.transfer.invite();
    // The clock is set back, which must not help.
    letPass(-61_000);
    await expect(sandbox.vault.transfer.receive(blob)).rejects.toMatchObject(late);
  });

  test('refuses a blob that was cut or altered, and still opens the whole one', async () => {
    const { laptop, sandbox } = await machines();
    const { code } = await sandbox.vault.transfer.invite();
    const { blob } = await laptop.vault.transfer.send(servers.resource, { to: code });
    const lines = blob.split('\n');
    const altered = lines.with(5, (lines[5] ?? '').split('').toReversed().join('')).join('\n');
    for (const [text, why] of [
      [blob.slice(0, 300), 'it was cut'],
      [lines.toSpliced(5, 1).join('\n'), 'it fails authentication'],
      [altered, 'it fails authentication'],
      ['', 'the line -----BEGIN HOLDFAST HAND-OVER----- is missing'],
    ] as const) {
      await expect(sandbox.vault.transfer.receive(text)).rejects.toMatchObject({
        code: 'handover-damaged',
        message: expect.stringContaining(why),
      });
    }
    await sandbox.vault.transfer.receive(blob);
  });

  test('refuses a blob for another server or account than the expected one', async () => {
    const { laptop, sandbox } = await machines();
    const other = await sandbox.vault.transfer.invite({ resource: 'https://mcp.example.com/mcp' });
    const { blob } = await laptop.vault.transfer.send(servers.resource, { to: other.code });
    await expect(sandbox.vault.transfer.receive(blob)).rejects.toMatchObject({
      code: 'handover-mismatch',
      message: `The hand-over blob is for "${servers.resource}", and https://mcp.example.com/mcp is waited for.`,
    });
    const work = await sandbox.vault.transfer.invite({ account: 'work' });
    const sent = await laptop.vault.transfer.send(servers.resource, { to: work.code });
    await expect(sandbox.vault.transfer.receive(sent.blob)).rejects.toMatchObject({
      code: 'handover-mismatch',
      message: 'The hand-over blob is for the account "default", and "work" is waited for.',
    });
    const any = await sandbox.vault.transfer.invite();
    const last = await laptop.vault.transfer.send(servers.resource, { to: any.code });
    await expect(
      sandbox.vault.transfer.receive(last.blob, { resource: 'https://mcp.example.com/mcp' }),
    ).rejects.toMatchObject({ code: 'handover-mismatch' });
    await sandbox.vault.transfer.receive(last.blob, { resource: servers.resource });
  });

  test('refuses a mistyped code before anything is sealed', async () => {
    const { laptop, sandbox } = await machines();
    const { code } = await sandbox.vault.transfer.invite();
    const wrong = `${code.slice(0, -1)}${code.endsWith('0') ? '1' : '0'}`;
    await expect(laptop.vault.transfer.send(servers.resource, { to: wrong })).rejects.toMatchObject({
      code: 'invalid-argument',
      message: 'The hand-over code cannot be used: its checksum does not fit, so a letter is wrong.',
    });
  });
});

describe('a blob from an untrusted sender', () => {
  async function sealedBy(credential: Credential, about: Partial<BlobHeader> = {}) {
    const home = await temporaryHome();
    const { vault } = vaultAt(home);
    const { code } = await vault.transfer.invite();
    const header = {
      resource: credential.resource,
      account: credential.account,
      mode: 'move' as const,
      expiresAt: Date.now() + 60_000,
      ...about,
    };
    return { home, vault, blob: await sealBlob(parseCode(code), header, serializeCredential(credential)) };
  }
  const resource = 'https://mcp.example/mcp';
  const good = sampleCredential(resource);

  test.each([
    [
      'has a file of this machine sent to it',
      { grant: { type: 'workload-identity', assertion: { file: '/etc/passwd' } } },
      {},
      'a grant that never leaves its machine',
    ],
    [
      'has tokens sent to a service of this machine',
      { server: { issuer: 'https://as.example', tokenEndpoint: 'http://127.0.0.1:9/token' } },
      {},
      'is on your own machine',
    ],
    ['is for another login than it says', {}, { resource: 'https://other.example/mcp' }, 'another login'],
    ['holds more than it says', {}, { mode: 'access-token' }, 'more than an access token'],
  ] satisfies [string, Partial<Credential>, Partial<BlobHeader>, string][])(
    'refuses a blob that %s',
    async (_, changes, about, why) => {
      const { home, vault, blob } = await sealedBy({ ...good, ...changes }, about);
      await expect(vault.transfer.receive(blob)).rejects.toMatchObject({
        code: 'handover-damaged',
        message: expect.stringContaining(why),
      });
      expect((await vaultAt(home).vault.list()).credentials).toEqual([]);
    },
  );

  test('refuses a blob that names no server', async () => {
    const { vault, blob } = await sealedBy(good, { resource: 'javascript:alert(1)' });
    await expect(vault.transfer.receive(blob)).rejects.toMatchObject({
      code: 'handover-damaged',
      message:
        'The hand-over blob is for "javascript:alert(1)" as "default", which names no login to an MCP server.',
    });
  });

  test('another sender’s blob has other check words', async () => {
    const { laptop, sandbox } = await machines();
    const { code } = await sandbox.vault.transfer.invite();
    const { blobWords } = await laptop.vault.transfer.send(servers.resource, { to: code });
    const header = { resource, account: 'default', mode: 'move' as const, expiresAt: Date.now() + 60_000 };
    const theirs = await sealBlob(parseCode(code), header, serializeCredential(good));
    expect((await sandbox.vault.transfer.receive(theirs)).blobWords).not.toBe(blobWords);
  });
});

test.each([0, -1, Number.NaN, 86_400_001])(
  'refuses a life of %d ms before it touches anything',
  async (lifetimeMs) => {
    const { laptop, sandbox } = await machines();
    const refused = { code: 'invalid-argument', message: expect.stringContaining('a day at most') };
    await expect(sandbox.vault.transfer.invite({ lifetimeMs })).rejects.toMatchObject(refused);
    expect(await contentsOf(sandbox.home.path)).toEqual([]);
    const { code } = await sandbox.vault.transfer.invite();
    await expect(
      laptop.vault.transfer.send(servers.resource, { to: code, lifetimeMs }),
    ).rejects.toMatchObject(refused);
  },
);

describe('files of hand-overs', () => {
  test('seals the files of a hand-over, keeps them private, and removes them in time', async () => {
    const { laptop, sandbox } = await machines();
    const { code } = await sandbox.vault.transfer.invite();
    const { blob } = await laptop.vault.transfer.send(servers.resource, { to: code, mode: 'move' });
    expect(await handoverFiles(laptop.home)).toEqual([expect.stringMatching(/^sent\./)]);
    expect(await handoverFiles(sandbox.home)).toEqual([expect.stringMatching(/^code\./)]);
    for (const { path } of [laptop.home, sandbox.home]) {
      const lines = (await contentsOf(path)).filter((line) => line.includes('/handover/'));
      expect(lines.map((line) => line.slice(0, 4))).toEqual(['0700', '0600']);
    }
    await sandbox.vault.transfer.receive(blob);
    letPass(8 * 86_400_000);
    await sandbox.vault.transfer.invite();
    expect(await handoverFiles(sandbox.home)).toHaveLength(1);
    await laptop.vault.login(servers.resource, { interaction: scripted });
    const next = await sandbox.vault.transfer.invite();
    await laptop.vault.transfer.send(servers.resource, { to: next.code, mode: 'move' });
    expect(await handoverFiles(laptop.home)).toHaveLength(1);
  });

  test('opens the files of a hand-over after the sandbox got a new sealing key', async () => {
    const { laptop, sandbox } = await machines();
    const { code } = await sandbox.vault.transfer.invite();
    await sandbox.vault.admin.rekey();
    const { blob } = await laptop.vault.transfer.send(servers.resource, { to: code });
    await vaultAt(sandbox.home).vault.transfer.receive(blob);
    expect((await stored(sandbox.home, servers.resource)).credential.generation).toBe(1);
  });

  test('keeps a hand-over in memory if it cannot be stored elsewhere', async () => {
    const { laptop, sandbox } = await machines();
    const { vault, events } = vaultAt(sandbox.home, { keyring: 'memory' });
    await handOver(laptop.vault, vault);
    expect(events).toMatchObject([{ type: 'memory-only' }, { type: 'memory-only' }]);
    expect((await vault.token(servers.resource)).generation).toBe(1);
    expect(await handoverFiles(sandbox.home)).toEqual([]);
    await expect(
      vaultAt(await temporaryHome(), { keyring: 'memory' }).vault.transfer.invite({
        requirePersistence: true,
      }),
    ).rejects.toMatchObject({ code: 'keyring-absent' });
  });

  test('does not report the files of a hand-over as records that do not open', async () => {
    const { laptop, sandbox } = await machines();
    const { code } = await sandbox.vault.transfer.invite();
    await laptop.vault.transfer.send(servers.resource, { to: code, mode: 'move' });
    for (const { home } of [laptop, sandbox]) {
      expect((await partsAt(home).credentialStore.list()).undecryptable).toEqual([]);
    }
  });
});
