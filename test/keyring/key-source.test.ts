import { randomBytes } from 'node:crypto';
import { chmod, mkdir, rename, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { StoreWrappedItems } from '../../src/credentials/sealed/store-wrapped-items.ts';
import { type HoldfastError, InvalidArgumentError, KeyringAbsentError } from '../../src/errors.ts';
import { resolveKeyrings } from '../../src/keyring/resolve.ts';
import { SealingKeys } from '../../src/keyring/sealing-key.ts';
import { MemoryStore } from '../../src/store/memory.ts';
import { type Home, temporaryDirectory, temporaryHome } from '../support/homes/home.ts';

/** Where a KMS would keep what it wraps. */
const wrapped = () => new StoreWrappedItems(new MemoryStore());

function line(key = randomBytes(32)): string {
  return key.toString('base64url');
}

/** The home with these additional variables. */
function withVariables(home: Home, variables: Record<string, string>): Home {
  return {
    ...home,
    environment: { ...home.environment, variables: { ...home.environment.variables, ...variables } },
  };
}

function keysIn({ environment, layout }: Home, keyring?: string): SealingKeys {
  return new SealingKeys(resolveKeyrings(environment, layout, { keyring, wrapped }), layout, environment);
}

async function kidsIn(keys: SealingKeys): Promise<string[]> {
  const kids: string[] = [];
  for await (const { kid } of keys.reachable()) kids.push(kid);
  return kids;
}

async function failureIn(home: Home, keyring?: string): Promise<HoldfastError> {
  return kidsIn(keysIn(home, keyring)).then(
    () => expect.fail('no error'),
    (error: HoldfastError) => error,
  );
}

/** A file of keys, and a home whose variables name it. */
async function keyFile(text: string, mode = 0o600): Promise<{ path: string; home: Home }> {
  const path = join(await temporaryDirectory(), 'sealing-key');
  await writeFile(path, text, { mode });
  await chmod(path, mode);
  return { path, home: withVariables(await temporaryHome(), { HOLDFAST_SEALING_KEY_FILE: path }) };
}

const PRINT = (text: string) => `"${process.execPath}" -e "process.stdout.write('${text}')"`;

describe('a sealing key that many machines share', () => {
  test('a file, a variable and a command give the same shared key', async () => {
    const key = line();
    const home = await temporaryHome();
    const seen = await Promise.all([
      kidsIn(keysIn((await keyFile(`${key}\n`)).home)),
      kidsIn(keysIn(withVariables(home, { HOLDFAST_SEALING_KEY: key }))),
      kidsIn(keysIn(withVariables(home, { HOLDFAST_SEALING_KEY_COMMAND: PRINT(key) }))),
    ]);
    expect(new Set(seen.flat()).size).toBe(1);
    expect(seen.map((kids) => kids.length)).toEqual([1, 1, 1]);
  });

  test('seals under the first of several shared keys, and opens with each', async () => {
    const [a, b, c] = [line(), line(), line()];
    const kids = await kidsIn(keysIn((await keyFile(`${a}\n${b} ${c}\r\n`)).home));
    expect(new Set(kids).size).toBe(3);
    const { kid, keyringId, tier, lifetime } = await keysIn((await keyFile(a)).home).strongest();
    expect({ kid, keyringId, tier, lifetime }).toEqual({
      kid: kids[0],
      keyringId: 'key-file',
      tier: 'shared',
      lifetime: 'disk',
    });
  });

  test('reads a shared key in base64, as openssl writes it', async () => {
    const key = randomBytes(32);
    const inBase64 = keysIn((await keyFile(`${key.toString('base64')}\n`)).home);
    const inBase64url = keysIn((await keyFile(key.toString('base64url'))).home);
    expect(await kidsIn(inBase64)).toEqual(await kidsIn(inBase64url));
  });

  test('reads a key file again after it was replaced, and fails only while the file is gone', async () => {
    const [a, b] = [line(), line()];
    const { path, home } = await keyFile(a);
    const keys = keysIn(home);
    const before = (await keys.strongest()).kid;
    await rename(path, `${path}.away`);
    await expect(keys.strongest()).rejects.toThrow(KeyringAbsentError);
    await writeFile(path, `${b}\n${a}\n`, { mode: 0o600 });
    const kids = await kidsIn(keys);
    expect(kids).toHaveLength(2);
    expect(kids[1]).toBe(before);
  });

  test('finds a key file that was written after the process began', async () => {
    const { path, home } = await keyFile(line());
    await rename(path, `${path}.away`);
    const keys = keysIn(home);
    await expect(keys.strongest()).rejects.toThrow(KeyringAbsentError);
    await rename(`${path}.away`, path);
    expect((await keys.strongest()).keyringId).toBe('key-file');
  });

  test('follows links to a key file, as Kubernetes mounts it', async () => {
    const { path, home } = await keyFile(line());
    const mount = await temporaryDirectory();
    await mkdir(join(mount, '..data-1'));
    await symlink(path, join(mount, '..data-1', 'key'));
    await symlink(join('..data-1', 'key'), join(mount, 'key'));
    const linked = withVariables(home, { HOLDFAST_SEALING_KEY_FILE: join(mount, 'key') });
    expect(await kidsIn(keysIn(linked))).toEqual(await kidsIn(keysIn(home)));
  });

  const secret = line();
  test.each([
    ['a key of another length', randomBytes(16).toString('base64url'), 'has 16 bytes in place of 32'],
    ['other text', 'hunter2!', 'is not base64url'],
    ['a good key and a bad one', `${secret} ${secret}A`, 'holds as key 2 something that'],
    ['nothing', '\n', 'holds no key'],
  ])('refuses a shared key that is %s, and does not show it', async (_what, text, said) => {
    const failures = [
      await failureIn((await keyFile(text)).home),
      await failureIn(withVariables(await temporaryHome(), { HOLDFAST_SEALING_KEY: text })),
    ];
    for (const { code, message, hint = '' } of failures) {
      expect(code).toBe('keyring-broken');
      expect(message).toContain(said);
      for (const word of text.split(/\s+/).filter((one) => one !== ''))
        expect(`${message}${hint}`).not.toContain(word);
    }
  });

  test.each([0o644, 0o604, 0o620, 0o602])(
    'refuses a key file of mode %o, and says how to fix it',
    async (mode) => {
      const { path, home } = await keyFile(line(), mode);
      const { code, hint } = await failureIn(home);
      expect(code).toBe('keyring-broken');
      expect(hint).toBe(`Close it: chmod 600 ${path}`);
    },
  );

  test('reads a key file that its group may read, as fsGroup makes it', async () => {
    expect(await kidsIn(keysIn((await keyFile(line(), 0o640)).home))).toHaveLength(1);
  });

  test.each([
    ['fails', `"${process.execPath}" -e "process.exit(3)"`, 'keyring-broken', 'failed (exit code 3)'],
    ['is not there', '/nonexistent/program', 'keyring-absent', '"/nonexistent/program", was not found'],
    [
      'prints without end',
      `"${process.execPath}" -e "for(;;)console.log('x'.repeat(9999))"`,
      'keyring-broken',
      'printed more than 8192 bytes',
    ],
    ['prints no key', PRINT('something'), 'keyring-broken', 'something that'],
    ['has an open quote', '"abc', 'invalid-argument', 'a quote that is not closed'],
  ])('reports a key command that %s', async (_what, command, code, said) => {
    const failure = await failureIn(
      withVariables(await temporaryHome(), { HOLDFAST_SEALING_KEY_COMMAND: command }),
    );
    expect(failure.code).toBe(code);
    expect(failure.message).toContain(said);
  });

  test('runs a key command once, and without a shell', async () => {
    const marker = join(await temporaryDirectory(), 'ran');
    const script = `require('fs').appendFileSync(process.argv[1],'x');process.stdout.write('${line()}')`;
    const command = `"${process.execPath}" -e "${script}" "${marker}" ; $(touch ${marker}.shell)`;
    const keys = keysIn(withVariables(await temporaryHome(), { HOLDFAST_SEALING_KEY_COMMAND: command }));
    await keys.strongest();
    await keys.strongest();
    const { readdir, readFile } = await import('node:fs/promises');
    expect(await readFile(marker, 'utf8')).toBe('x');
    expect(await readdir(join(marker, '..'))).toEqual(['ran']);
  });

  test('does not give the key to the key command it runs', async () => {
    const command = `"${process.execPath}" -e "process.exit(process.env.HOLDFAST_SEALING_KEY ? 7 : 8)"`;
    const home = withVariables(await temporaryHome(), {
      HOLDFAST_SEALING_KEY_COMMAND: command,
      HOLDFAST_SEALING_KEY: line(),
    });
    expect((await failureIn(home, 'key-command')).message).toContain('exit code 8');
  });

  test('never writes a shared key, and says in the error how to change it', async () => {
    const { home } = await keyFile(line());
    expect.assertions(4);
    for await (const { keyring } of resolveKeyrings(home.environment, home.layout).usable()) {
      await expect(keyring.set('sealing-key', randomBytes(32))).rejects.toThrow(InvalidArgumentError);
      await expect(keyring.delete('sealing-key')).rejects.toMatchObject({
        hint: expect.stringContaining('holdfast rekey'),
      });
      expect(await keyring.delete('another')).toBe(false);
    }
    const renewed = keysIn(home)
      .renew(async () => true)
      .next();
    await expect(renewed).rejects.toThrow('has one key, and Holdfast cannot make another one there');
  });
});

describe('the choice of a shared key', () => {
  test('takes the shared key whose variable is set, and never falls back', async () => {
    const home = withVariables(await temporaryHome(), { HOLDFAST_SEALING_KEY_FILE: '/nonexistent/key' });
    const resolution = resolveKeyrings(home.environment, home.layout);
    expect(await resolution.choice()).toBe('key-file');
    expect(resolution.explicit).toBe(true);
    expect((await failureIn(home)).message).toContain('/nonexistent/key, which is not there');
  });

  test('refuses two set variables, and names both', async () => {
    const home = withVariables(await temporaryHome(), {
      HOLDFAST_SEALING_KEY: line(),
      HOLDFAST_SEALING_KMS: 'vault+https://vault.example:8200/transit/keys/k',
    });
    const resolve = () => resolveKeyrings(home.environment, home.layout, { wrapped });
    expect(resolve).toThrow(InvalidArgumentError);
    expect(resolve).toThrow('Both HOLDFAST_SEALING_KEY and HOLDFAST_SEALING_KMS are set');
  });

  test('prefers a named keyring to a variable that is set', async () => {
    const home = withVariables(await temporaryHome(), {
      HOLDFAST_SEALING_KEY: line(),
      HOLDFAST_SEALING_KEY_FILE: '/x',
    });
    const { environment, layout } = withVariables(home, { HOLDFAST_KEYRING: 'file' });
    expect(await resolveKeyrings(environment, layout).choice()).toBe('file');
    expect((await keysIn(home, 'key-variable').strongest()).keyringId).toBe('key-variable');
  });

  test('names the missing variable when a shared key is chosen without it', async () => {
    for (const name of ['key-file', 'key-variable', 'key-command', 'kms']) {
      const { code, message } = await failureIn(await temporaryHome(), name);
      expect(code).toBe('keyring-absent');
      expect(message).toMatch(/^The variable HOLDFAST_SEALING_K\w+ is not set\.$/);
    }
  });
});
