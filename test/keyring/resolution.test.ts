import { chmod, lstat, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import {
  InvalidArgumentError,
  KeyringAbsentError,
  KeyringBrokenError,
  KeyringLockedError,
  StorageFullError,
} from '../../src/errors.ts';
import { FileKeyring } from '../../src/keyring/file/file.ts';
import type { Keyring, KeyringOpener, KeyringProbe, Tier } from '../../src/keyring/keyring.ts';
import { MemoryKeyring } from '../../src/keyring/memory.ts';
import { defaultOpeners, KeyringResolution, NATIVE_KEYRINGS } from '../../src/keyring/resolve.ts';
import { SealingKeys } from '../../src/keyring/sealing-key.ts';
import { type Home, temporaryHome } from '../support/homes/home.ts';
import { runScript } from '../support/processes/process.ts';

/** A real keyring that counts its calls and can be made to fail. */
class WatchedKeyring implements Keyring {
  readonly id: string;
  readonly tier: Tier;
  readonly calls: string[] = [];
  readonly #inner = new MemoryKeyring();
  #probe: KeyringProbe;
  #fails: Partial<Record<'get' | 'set', Error>>;

  constructor(
    id: string,
    tier: Tier,
    probe: KeyringProbe = { status: 'usable', lifetime: 'disk' },
    fails: Partial<Record<'get' | 'set', Error>> = {},
  ) {
    this.id = id;
    this.tier = tier;
    this.#probe = probe;
    this.#fails = fails;
  }

  /** Changes how it behaves from now on. */
  becomes(probe: KeyringProbe, fails: Partial<Record<'get' | 'set', Error>> = {}): void {
    this.#probe = probe;
    this.#fails = fails;
  }

  async probe() {
    this.calls.push('probe');
    return this.#probe;
  }

  async get(name: string) {
    this.calls.push(`get ${name}`);
    if (this.#fails.get) throw this.#fails.get;
    return this.#inner.get(name);
  }

  async set(name: string, secret: Uint8Array) {
    this.calls.push(`set ${name}`);
    if (this.#fails.set) throw this.#fails.set;
    return this.#inner.set(name, secret);
  }

  async delete(name: string) {
    this.calls.push(`delete ${name}`);
    return this.#inner.delete(name);
  }

  async close() {
    this.calls.push('close');
  }
}

function opener(keyring: Keyring): KeyringOpener {
  return { id: keyring.id, tier: keyring.tier, open: async () => keyring };
}

function keysOver(home: Home, openers: readonly KeyringOpener[], choice?: string) {
  const resolution = new KeyringResolution({ openers, choice });
  return { resolution, keys: new SealingKeys(resolution, home.layout, home.environment) };
}

async function ids(resolution: KeyringResolution): Promise<string[]> {
  const found: string[] = [];
  for await (const { keyring } of resolution.usable()) found.push(keyring.id);
  return found;
}

async function reachable(keys: SealingKeys) {
  const found = [];
  for await (const key of keys.reachable()) found.push(key);
  return found;
}

const LOCKED: KeyringProbe = { status: 'locked', reason: 'It is locked.', hint: 'Unlock it.' };

describe('the choice among keyrings', () => {
  test('the generic file and pass backends are not in the native list', () => {
    expect(NATIVE_KEYRINGS).not.toContain('file');
    expect(NATIVE_KEYRINGS).not.toContain('pass');
  });

  test('tries each native candidate of this platform first, then the file and memory', async () => {
    const { environment, layout } = await temporaryHome();
    const openers = defaultOpeners(environment, layout);
    const native = openers.filter(({ tier }) => tier === 'native').map(({ id }) => id);
    expect(NATIVE_KEYRINGS).toEqual(expect.arrayContaining(native));
    const named = openers.filter(({ tier }) => tier === 'shared');
    expect(named.every(({ onlyWhenNamed }) => onlyWhenNamed)).toBe(true);
    expect(openers.map(({ id }) => id)).toEqual([...native, 'file', 'memory', ...named.map(({ id }) => id)]);
  });

  test('prefers a native keyring', async () => {
    const home = await temporaryHome();
    const native = new WatchedKeyring('native-one', 'native');
    const { keys } = keysOver(home, [
      opener(native),
      opener(new FileKeyring(home.layout, home.environment)),
      opener(new MemoryKeyring()),
    ]);
    expect(await keys.strongest()).toMatchObject({ keyringId: 'native-one', tier: 'native' });
    expect(keys.reports().map(({ outcome }) => outcome)).toEqual(['usable', 'not-tried', 'not-tried']);
  });

  test('uses the file without a native keyring, and keeps the reason', async () => {
    const home = await temporaryHome();
    const { keys } = keysOver(home, [
      opener(new WatchedKeyring('native-one', 'native', LOCKED)),
      opener(new FileKeyring(home.layout, home.environment)),
      opener(new MemoryKeyring()),
    ]);
    expect(await keys.strongest()).toMatchObject({ keyringId: 'file', lifetime: 'disk' });
    expect(keys.reports()[0]).toEqual({
      id: 'native-one',
      tier: 'native',
      outcome: 'passed-over',
      status: 'locked',
      reason: 'It is locked.',
      hint: 'Unlock it.',
    });
    expect(keys.problems()[0]).toBeInstanceOf(KeyringLockedError);
  });

  test('uses memory if the file fails too', async () => {
    const home = await temporaryHome();
    const { keys } = keysOver(home, [
      opener(new WatchedKeyring('native-one', 'native', LOCKED)),
      { id: 'file', tier: 'file', open: () => Promise.reject(new KeyringBrokenError('No place.')) },
      opener(new MemoryKeyring()),
    ]);
    expect(await keys.strongest()).toMatchObject({ keyringId: 'memory', lifetime: 'process' });
  });

  test('skips an opener that yields nothing', async () => {
    const { resolution } = keysOver(await temporaryHome(), [
      { id: 'nothing', tier: 'native', open: async () => undefined },
      opener(new MemoryKeyring()),
    ]);
    expect(await ids(resolution)).toEqual(['memory']);
    expect(resolution.problems()[0]).toBeInstanceOf(KeyringAbsentError);
  });

  test('skips an opener that throws a foreign error, and quotes the error', async () => {
    const { resolution } = keysOver(await temporaryHome(), [
      { id: 'bad', tier: 'native', open: () => Promise.reject(new TypeError('\u001b[31mboom')) },
      opener(new MemoryKeyring()),
    ]);
    expect(await ids(resolution)).toEqual(['memory']);
    expect(resolution.problems()[0]?.message).toContain('\\u{1b}[31mboom');
  });

  test.each(['get', 'set'] as const)('skips a keyring that opens but fails at its first %s', async (call) => {
    const home = await temporaryHome();
    const failing = new WatchedKeyring('native-one', 'native', undefined, {
      [call]: new KeyringLockedError('A prompt that nobody answers.'),
    });
    const { keys } = keysOver(home, [
      opener(failing),
      opener(new FileKeyring(home.layout, home.environment)),
      opener(new MemoryKeyring()),
    ]);
    expect(await keys.strongest()).toMatchObject({ keyringId: 'file' });
    expect(keys.reports()[0]).toMatchObject({ outcome: 'passed-over', status: 'locked' });
  });

  test('tries a locked keyring again at growing intervals, and a working one never', async () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    onTestFinished(() => void vi.useRealTimers());
    const native = new WatchedKeyring('native-one', 'native', LOCKED);
    const memory = new WatchedKeyring('memory-one', 'memory');
    const { resolution } = keysOver(await temporaryHome(), [opener(native), opener(memory)]);
    const asked: number[] = [];
    for (let second = 0; second <= 90; second += 1) {
      const before = native.calls.length;
      await Promise.all([ids(resolution), ids(resolution)]);
      if (native.calls.length > before) asked.push(second);
      vi.advanceTimersByTime(1_000);
    }
    // However many callers wait, each attempt opens, probes and closes it once.
    expect(native.calls.filter((call) => call === 'probe')).toHaveLength(asked.length);
    expect(asked).toEqual([0, 2, 6, 14, 30, 60, 90]);
    expect(memory.calls).toEqual(['probe']);
    native.becomes({ status: 'usable', lifetime: 'disk' });
    vi.advanceTimersByTime(30_000);
    expect(await ids(resolution)).toEqual(['native-one', 'memory-one']);
    expect(resolution.problems()).toEqual([]);
  });

  test('uses a keyring that failed a read again once it can be read', async () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    onTestFinished(() => void vi.useRealTimers());
    const native = new WatchedKeyring('native-one', 'native');
    await native.set('sealing-key', Buffer.from(Buffer.alloc(32, 7).toString('base64url')));
    native.becomes({ status: 'usable', lifetime: 'disk' }, { get: new KeyringLockedError('Locked.') });
    const { keys } = keysOver(await temporaryHome(), [opener(native)]);
    expect(await reachable(keys)).toEqual([]);
    native.becomes({ status: 'usable', lifetime: 'disk' });
    expect(await reachable(keys)).toEqual([]);
    vi.advanceTimersByTime(2_000);
    expect(await reachable(keys)).toMatchObject([{ keyringId: 'native-one' }]);
    expect(native.calls).not.toContain('close');
  });

  test('still reads the key of a keyring that takes no new one', async () => {
    const full = new StorageFullError('The disk is full.');
    const native = new WatchedKeyring('native-one', 'native');
    await native.set('sealing-key', Buffer.from(Buffer.alloc(32, 7).toString('base64url')));
    native.becomes({ status: 'usable', lifetime: 'disk' }, { set: full });
    const { keys } = keysOver(await temporaryHome(), [opener(native)]);
    await expect(keys.renew(async () => true).next()).rejects.toThrow(full);
    expect(await reachable(keys)).toMatchObject([{ keyringId: 'native-one' }]);
    expect(await keys.strongest()).toMatchObject({ keyringId: 'native-one' });
  });

  test('never falls back from an explicit choice', async () => {
    const home = await temporaryHome();
    const candidates = [
      opener(new WatchedKeyring('native-one', 'native', LOCKED)),
      opener(new FileKeyring(home.layout, home.environment)),
      opener(new MemoryKeyring()),
    ];
    for (const choice of ['native', 'native-one']) {
      await expect(keysOver(home, candidates, choice).keys.strongest()).rejects.toThrow(KeyringLockedError);
    }
    expect(await keysOver(home, candidates, 'file').keys.strongest()).toMatchObject({ keyringId: 'file' });
    expect(() => keysOver(home, candidates, 'nonsense')).toThrow(InvalidArgumentError);
    expect(() => keysOver(home, candidates, 'wincred')).toThrow('not available on this platform');
  });
});

describe('the sealing key', () => {
  test('touches the keyring once per process for reads, and once for a write', async () => {
    const keyring = new WatchedKeyring('native-one', 'native');
    const { keys } = keysOver(await temporaryHome(), [opener(keyring)]);
    const made = await keys.strongest();
    for (let round = 0; round < 10; round += 1) {
      expect(await reachable(keys)).toEqual([made]);
      expect(await keys.strongest()).toEqual(made);
    }
    expect(keyring.calls.filter((call) => call.startsWith('set'))).toHaveLength(1);
    const again = keysOver(await temporaryHome(), [opener(keyring)]);
    keyring.calls.length = 0;
    await Promise.all(Array.from({ length: 10 }, () => reachable(again.keys)));
    expect(keyring.calls).toEqual(['probe', 'get sealing-key']);
  });

  test('does not touch a keyring that failed again at once', async () => {
    const keyring = new WatchedKeyring('native-one', 'native', undefined, {
      get: new KeyringBrokenError('It hangs.'),
    });
    const { keys } = keysOver(await temporaryHome(), [opener(keyring), opener(new MemoryKeyring())]);
    for (let round = 0; round < 5; round += 1) await reachable(keys);
    expect(keyring.calls).toEqual(['probe', 'get sealing-key']);
  });

  test('creates nothing, in the keyring or on disk, when a key is missing', async () => {
    const home = await temporaryHome();
    const keyring = new WatchedKeyring('native-one', 'native');
    const { keys } = keysOver(home, [
      opener(keyring),
      opener(new FileKeyring(home.layout, home.environment)),
    ]);
    expect(await reachable(keys)).toEqual([]);
    expect(keyring.calls).toEqual(['probe', 'get sealing-key']);
    await expect(lstat(home.path)).rejects.toThrow('ENOENT');
  });

  test('stores nothing but the key in the keyring, under a kid of 16 bytes', async () => {
    const keyring = new WatchedKeyring('native-one', 'native');
    const { keys } = keysOver(await temporaryHome(), [opener(keyring)]);
    const { key, kid } = await keys.strongest();
    expect(key).toHaveLength(32);
    expect(Buffer.from((await keyring.get('sealing-key')) ?? []).toString()).toBe(
      Buffer.from(key).toString('base64url'),
    );
    expect(Buffer.from(kid, 'base64url')).toHaveLength(16);
    expect(keyring.calls.filter((call) => call.startsWith('set'))).toEqual(['set sealing-key']);
  });

  test('reports a malformed sealing key, and leaves it in place', async () => {
    const home = await temporaryHome();
    const keyring = new WatchedKeyring('native-one', 'native');
    await keyring.set('sealing-key', Buffer.from('short'));
    const { keys } = keysOver(home, [opener(keyring)], 'native-one');
    await expect(keys.strongest()).rejects.toThrow('damaged');
    expect(Buffer.from((await keyring.get('sealing-key')) ?? []).toString()).toBe('short');
  });

  test('eight processes that start at once end up with the same first key', async () => {
    const { path } = await temporaryHome();
    const kids = await Promise.all(
      Array.from({ length: 8 }, () => runScript('first-key.ts', [], { HOLDFAST_HOME: path })),
    );
    expect(new Set(kids.map(({ out }) => out)).size).toBe(1);
    expect(kids[0]?.out).toMatch(/^[\w-]{22}\n$/);
  });
});

describe('the file keyring', () => {
  async function madeKeyring() {
    const home = await temporaryHome();
    const keyring = new FileKeyring(home.layout, home.environment);
    await keyring.set('sealing-key', Buffer.from('the secret'));
    return { home, keyring, open: () => new FileKeyring(home.layout, home.environment) };
  }

  test('the file keyring opens again what it stored', async () => {
    const { open } = await madeKeyring();
    expect(Buffer.from((await open().get('sealing-key')) ?? []).toString()).toBe('the secret');
  });

  test('creates directories with mode 0700 and files with 0600, and nothing but items and the passphrase', async () => {
    const { home } = await madeKeyring();
    expect((await readdir(home.layout.keyring)).sort()).toEqual(['passphrase', 'sealing-key']);
    for (const path of [home.path, home.layout.keyring]) expect((await lstat(path)).mode & 0o777).toBe(0o700);
    for (const name of ['passphrase', 'sealing-key']) {
      expect((await lstat(join(home.layout.keyring, name))).mode & 0o777).toBe(0o600);
    }
  });

  test('stores no plain text on disk', async () => {
    const { home } = await madeKeyring();
    expect(await readFile(join(home.layout.keyring, 'sealing-key'), 'latin1')).not.toContain('secret');
  });

  test('creates a random passphrase for each directory, and reuses it', async () => {
    const [one, other] = [await madeKeyring(), await madeKeyring()];
    const read = (home: Home) => readFile(home.layout.passphrase, 'utf8');
    const before = await read(one.home);
    expect(before).toMatch(/^[0-9a-f]{64}$/);
    await one.open().set('another', Buffer.from('x'));
    expect(await read(one.home)).toBe(before);
    expect(await read(other.home)).not.toBe(before);
  });

  test.each([
    ['empty', ''],
    ['not one of ours', 'correct horse'],
  ])('reports a passphrase file that is %s, and leaves it in place', async (_what, content) => {
    const { home, open } = await madeKeyring();
    await writeFile(home.layout.passphrase, content);
    await expect(open().get('sealing-key')).rejects.toThrow(KeyringBrokenError);
    await expect(open().set('sealing-key', Buffer.from('x'))).rejects.toThrow(KeyringBrokenError);
    expect(await open().probe()).toMatchObject({ status: 'broken' });
    expect(await readFile(home.layout.passphrase, 'utf8')).toBe(content);
  });

  test('creates no second passphrase while items of the first exist', async () => {
    const { home, open } = await madeKeyring();
    const { rm } = await import('node:fs/promises');
    await rm(home.layout.passphrase);
    await expect(open().get('sealing-key')).rejects.toThrow('the passphrase that opens it is gone');
    await expect(open().set('another', Buffer.from('x'))).rejects.toThrow('its passphrase is gone');
    expect(await readdir(home.layout.keyring)).toEqual(['sealing-key']);
  });

  test('a damaged item is never overwritten', async () => {
    const { home, open } = await madeKeyring();
    const path = join(home.layout.keyring, 'sealing-key');
    const damaged = (await readFile(path, 'latin1')).replace(/.$/, '!');
    await writeFile(path, damaged);
    await expect(open().get('sealing-key')).rejects.toThrow(KeyringBrokenError);
    await expect(open().set('sealing-key', Buffer.from('x'))).rejects.toThrow(KeyringBrokenError);
    expect(await readFile(path, 'latin1')).toBe(damaged);
  });

  test('refuses an item that others may read, names the command that fixes it, and leaves it in place', async () => {
    const { home, open } = await madeKeyring();
    const path = join(home.layout.keyring, 'sealing-key');
    await chmod(path, 0o644);
    await expect(open().get('sealing-key')).rejects.toMatchObject({
      code: 'storage-unsafe',
      hint: `Close it: chmod -R go= ${home.path}`,
    });
  });

  test.each(['', '.', '..', 'passphrase'])('refuses %j as the name of an item', async (name) => {
    const { open } = await madeKeyring();
    await expect(open().get(name)).rejects.toThrow('cannot name an item');
  });

  test('keeps a name with a slash inside the directory', async () => {
    const { home, open } = await madeKeyring();
    await open().set('a/../../b', Buffer.from('x'));
    expect(await readdir(home.layout.keyring)).toContain('a%2F..%2F..%2Fb');
  });
});

describe('a passphrase from the operator', () => {
  async function keyringWith(variables: (home: Home) => Record<string, string>) {
    const home = await temporaryHome();
    await mkdir(home.path, { mode: 0o700 });
    const environment = { ...home.environment, variables: variables(home) };
    return { home, keyring: new FileKeyring(home.layout, environment) };
  }

  const header = async (home: Home) => {
    const item = await readFile(join(home.layout.keyring, 'item'), 'latin1');
    return JSON.parse(Buffer.from(item.split('.')[0] ?? '', 'base64url').toString()) as { p2c: number };
  };

  test('HOLDFAST_PASSPHRASE replaces the file, with 600,000 rounds', async () => {
    const { home, keyring } = await keyringWith(() => ({ HOLDFAST_PASSPHRASE: 'from outside' }));
    await keyring.set('item', Buffer.from('x'));
    expect(await readdir(home.layout.keyring)).toEqual(['item']);
    expect((await header(home)).p2c).toBe(600_000);
    const other = new FileKeyring(home.layout, {
      ...home.environment,
      variables: { HOLDFAST_PASSPHRASE: 'another' },
    });
    await expect(other.get('item')).rejects.toThrow('the passphrase is another');
  });

  test('reads HOLDFAST_PASSPHRASE_FILE without its last line feed', async () => {
    const { home, keyring } = await keyringWith((at) => ({
      HOLDFAST_PASSPHRASE_FILE: join(at.path, 'secret'),
    }));
    await writeFile(join(home.path, 'secret'), 'from a file\n', { mode: 0o600 });
    await keyring.set('item', Buffer.from('x'));
    const same = new FileKeyring(home.layout, {
      ...home.environment,
      variables: { HOLDFAST_PASSPHRASE: 'from a file' },
    });
    expect(Buffer.from((await same.get('item')) ?? []).toString()).toBe('x');
  });

  test('reports a missing HOLDFAST_PASSPHRASE_FILE, and creates no other passphrase', async () => {
    const { keyring } = await keyringWith((at) => ({ HOLDFAST_PASSPHRASE_FILE: join(at.path, 'missing') }));
    expect(await keyring.probe()).toMatchObject({ status: 'absent' });
    await expect(keyring.set('item', Buffer.from('x'))).rejects.toThrow('is not there');
  });

  test('reads the passphrase from systemd’s credentials directory', async () => {
    const { home, keyring } = await keyringWith((at) => ({ CREDENTIALS_DIRECTORY: at.path }));
    await writeFile(join(home.path, 'holdfast-passphrase'), 'from systemd', { mode: 0o600 });
    await keyring.set('item', Buffer.from('x'));
    expect((await header(home)).p2c).toBe(600_000);
  });
});
