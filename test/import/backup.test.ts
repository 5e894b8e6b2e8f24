import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { backupKeeper, backupsOf, restoreBackup } from '../../src/import/backup.ts';
import { findLogins, moveLogin, StillThere } from '../../src/import/move.ts';
import type { FoundLogin } from '../../src/import/source.ts';
import { SOURCES } from '../../src/import/sources.ts';
import { Secret } from '../../src/secret.ts';
import { temporaryDirectory } from '../support/homes/home.ts';
import { partsAt, vaultAt } from '../support/homes/vault.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { watchedTimers } from '../support/waits.ts';
import { type PeerHome, peerHome } from './peer-home.ts';

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

/** The programs with their own plain files; docker-agent's file is sealed, and its store backs it up. */
const WITH_FILES = SOURCES.map(({ id }) => id).filter((id) => id !== 'docker-agent');

async function moved(at: PeerHome) {
  const { vault } = vaultAt(at.home);
  const { logins } = await findLogins(at.source, at.context);
  expect(logins).toHaveLength(1);
  const found = logins[0] as FoundLogin;
  expect(await moveLogin(found, at, vault, { issuer: servers.issuer })).toMatchObject({ outcome: 'moved' });
  return { vault, found };
}

/** The pause between two attempts at another program's lock, in milliseconds. */
const PAUSE = { fromMs: 25, toMs: 75 };

/** Returns the sealed backup files by name. */
async function sealedAt({ home }: PeerHome): Promise<Readonly<Record<string, string>>> {
  const directory = home.layout.backups;
  const names = await readdir(directory).catch(() => []);
  return Object.fromEntries(
    await Promise.all(names.map(async (name) => [name, await readFile(join(directory, name), 'utf8')])),
  );
}

describe.each(WITH_FILES)('backup of a file of %s', (id) => {
  test('backs up the file before a login leaves it, and restores it', async () => {
    const at = await peerHome(id, servers);
    const before = await at.files();
    const { vault, found } = await moved(at);
    expect(await at.files()).not.toEqual(before);
    const { backups, undecryptable } = await backupsOf(at.source, at.context, vault);
    expect(undecryptable).toBe(0);
    expect(backups).toMatchObject([{ from: id, path: found.file }]);
    const [backup] = backups;
    if (backup === undefined) return;
    await restoreBackup(backup, at, vault);
    expect(await at.files()).toEqual(before);
    expect((await stat(found.file)).mode & 0o777).toBe(0o600);
    expect((await findLogins(at.source, at.context)).logins).toHaveLength(1);
  });
});

describe('the backup of a file', () => {
  test('seals the backup under its own name, and nothing of it can be read', async () => {
    const at = await peerHome('codex', servers);
    const { vault } = await moved(at);
    const sealed = await sealedAt(at);
    const [[name, text] = ['', '']] = Object.entries(sealed);
    expect(Object.keys(sealed)).toHaveLength(1);
    const { access_token, refresh_token } = at.login.tokens;
    for (const part of [text, ...text.split('.').map((one) => Buffer.from(one, 'base64url').toString())]) {
      for (const secret of [access_token, refresh_token, 'notion', 'other-refresh']) {
        expect(part).not.toContain(secret);
      }
    }
    const { backups } = at.home.layout;
    expect((await stat(backups)).mode & 0o777).toBe(0o700);
    expect((await stat(join(backups, name))).mode & 0o777).toBe(0o600);
    const [, time = ''] = name.split('.');
    await writeFile(join(backups, name.replace(time, '1')), text, { mode: 0o600 });
    expect(await vault.transfer.listBackups()).toMatchObject({
      backups: [{ at: Number(time) }],
      undecryptable: 1,
    });
  });

  test('backs up what the program had last written, even if it wrote meanwhile', async () => {
    const at = await peerHome('mcporter', servers);
    const { vault } = vaultAt(at.home);
    const [found] = (await findLogins(at.source, at.context)).logins;
    if (found === undefined) throw new Error('It was to be found.');
    const interrupted: FoundLogin = {
      ...found,
      take: async (keep) => {
        const text = await readFile(found.file, 'utf8');
        await writeFile(found.file, text.replace('"version": 1', '"version": 1, "later": true'));
        return found.take(keep);
      },
    };
    await moveLogin(interrupted, at, vault, { issuer: servers.issuer });
    const { backups } = await vault.transfer.listBackups();
    expect(backups[0]?.text.reveal()).toContain('"later": true');
    expect(await readFile(found.file, 'utf8')).toContain('"later": true');
  });

  test('keeps five backups of a file and removes the oldest', async () => {
    const at = await peerHome('codex', servers);
    const { vault } = vaultAt(at.home);
    const keep = (path: string, text: string) =>
      vault.transfer.saveBackup({ from: 'codex', path, text: new Secret(text) });
    await keep('/of/another', 'other');
    for (let index = 1; index <= 7; index += 1) await keep('/of/one', `text ${index}`);
    const { backups } = await vault.transfer.listBackups();
    const texts = backups.map(({ text }) => text.reveal());
    expect(texts.toSorted()).toEqual(['other', 'text 3', 'text 4', 'text 5', 'text 6', 'text 7']);
    expect(texts[0]).toBe('text 7');
  });

  test('makes one backup for all logins that leave a file in one import', async () => {
    const at = await peerHome('cline', servers);
    const { vault } = vaultAt(at.home);
    const keep = backupKeeper(at.source, vault.transfer);
    await keep({ path: '/file', text: 'a b c', next: 'b c' });
    await keep({ path: '/file', text: 'b c', next: 'c' });
    expect((await vault.transfer.listBackups()).backups.map(({ text }) => text.reveal())).toEqual(['a b c']);
    // The program has written to the file in between.
    await keep({ path: '/file', text: 'c d', next: 'd' });
    expect((await vault.transfer.listBackups()).backups.map(({ text }) => text.reveal())).toEqual([
      'c d',
      'a b c',
    ]);
  });

  test('opens a backup after three changes of the sealing key', async () => {
    const at = await peerHome('goose', servers);
    await moved(at);
    for (let index = 0; index < 3; index += 1) await vaultAt(at.home).vault.admin.rekey();
    expect(await vaultAt(at.home).vault.transfer.listBackups()).toMatchObject({
      backups: [{ from: 'goose' }],
      undecryptable: 0,
    });
  });

  test('makes no backup when no key outlives the process', async () => {
    const at = await peerHome('codex', servers);
    const { vault } = vaultAt(at.home, { keyring: 'memory' });
    const file = { from: 'codex', path: '/file', text: new Secret('text') };
    expect(await vault.transfer.saveBackup(file)).toBeUndefined();
    expect(await sealedAt(at)).toEqual({});
  });

  test('keeps the login in both places and says so when the backup fails', async () => {
    const at = await peerHome('codex', servers);
    const before = await at.files();
    const { vault } = vaultAt(at.home);
    await partsAt(at.home).keys.strongest();
    await symlink(await temporaryDirectory(), at.home.layout.backups);
    const [found] = (await findLogins(at.source, at.context)).logins;
    const refused = await moveLogin(found as FoundLogin, at, vault, { issuer: servers.issuer }).catch(
      (error: unknown) => error,
    );
    expect(refused).toBeInstanceOf(StillThere);
    expect(refused).toMatchObject({ cause: { code: 'storage-unsafe' } });
    expect(await at.files()).toEqual(before);
    await rm(at.home.layout.backups);
    expect(await moveLogin(found as FoundLogin, at, vault, { issuer: servers.issuer })).toMatchObject({
      outcome: 'finished',
    });
  });

  test('refuses to back up a file that is too large, and removes nothing', async () => {
    const at = await peerHome('cline', servers);
    const [path = ''] = Object.keys(await at.files());
    const file = join(at.directory, path);
    const text = await readFile(file, 'utf8');
    await writeFile(file, text + ' '.repeat(17 * 1024 * 1024));
    const [found] = (await findLogins(at.source, at.context)).logins;
    const refused = await moveLogin(found as FoundLogin, at, vaultAt(at.home).vault, {
      issuer: servers.issuer,
    }).catch((e: unknown) => e);
    expect(refused).toMatchObject({ cause: { message: expect.stringContaining('too large for a backup') } });
    expect((await readFile(file, 'utf8')).trim()).toBe(text.trim());
  });
});

describe('restoring a backup', () => {
  test('backs up the current file before it restores, under the program’s lock', async () => {
    const at = await peerHome('cline', servers);
    const { vault, found } = await moved(at);
    const left = await readFile(found.file, 'utf8');
    const [backup] = (await vault.transfer.listBackups()).backups;
    if (backup === undefined) throw new Error('It was to be kept.');
    const lock = `${found.file}.lock`;
    await mkdir(lock);
    await writeFile(join(lock, 'owner.theirs'), 'theirs');
    const timers = watchedTimers();
    const restored = restoreBackup(backup, at, vault);
    await timers.seeWaiting(restored, PAUSE);
    expect(await readFile(found.file, 'utf8')).toBe(left);
    await rm(lock, { recursive: true });
    await restored;
    expect(await readFile(found.file, 'utf8')).toBe(backup.text.reveal());
    expect((await vault.transfer.listBackups()).backups[0]?.text.reveal()).toBe(left);
    expect(await readdir(dirname(found.file))).toEqual(['cline_mcp_settings.json']);
  });
});

describe('the program’s lock', () => {
  /** Takes the lock as the program does, and returns the path to remove. */
  const LOCKS: Readonly<Record<string, (at: PeerHome, file: string) => Promise<string>>> = {
    cline: async (_, file) => {
      await mkdir(`${file}.lock`);
      await writeFile(join(`${file}.lock`, 'owner.theirs'), 'theirs');
      return `${file}.lock`;
    },
    opencode: async ({ directory }, file) => {
      const name = createHash('sha1').update(`mcp-auth:${file}`).digest('hex');
      const lock = join(directory, '.local', 'state', 'opencode', 'locks', `${name}.lock`);
      await mkdir(lock, { recursive: true });
      await writeFile(join(lock, 'heartbeat'), '');
      return lock;
    },
    mcporter: async (_, file) => {
      await writeFile(`${file}.lock`, `${process.pid}\n2026-01-01T00:00:00.000Z\n`);
      return `${file}.lock`;
    },
  };

  test.each(Object.keys(LOCKS))('waits for the lock of %s, and removes the login afterwards', async (id) => {
    const at = await peerHome(id, servers);
    const before = await at.files();
    const [found] = (await findLogins(at.source, at.context)).logins;
    const lock = await LOCKS[id]?.(at, found?.file ?? '');
    const timers = watchedTimers();
    const taken = (found as FoundLogin).take();
    await timers.seeWaiting(taken, PAUSE);
    expect(await at.files()).toMatchObject(before);
    await rm(lock ?? '', { recursive: true });
    expect(await taken).toBe('taken');
    expect(Object.keys(await at.files())).toEqual(Object.keys(before));
  });

  test('keeps the login in both places, and says so, when Cline holds its lock', async () => {
    const at = await peerHome('cline', servers);
    const before = await at.files();
    const [found] = (await findLogins(at.source, at.context)).logins;
    const lock = (await LOCKS['cline']?.(at, found?.file ?? '')) ?? '';
    // A running program holds the lock: it refreshes the lock all the time.
    const holding = setInterval(() => void utimes(lock, new Date(), new Date()), 1_000);
    try {
      const { vault } = vaultAt(at.home);
      const refused = await moveLogin(found as FoundLogin, at, vault, { issuer: servers.issuer }).catch(
        (error: unknown) => error,
      );
      expect(refused).toBeInstanceOf(StillThere);
      expect(refused).toMatchObject({ cause: { code: 'lock-timeout' } });
      expect(await at.files()).toMatchObject(before);
      expect(await sealedAt(at)).toEqual({});
    } finally {
      clearInterval(holding);
    }
  }, 60_000);
});
