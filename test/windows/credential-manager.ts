import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import koffi from 'koffi';
import { KeyringBrokenError } from '../../src/errors.ts';
import { openExternalItems } from '../../src/keyring/external/open-external-items.ts';
import { openWincred } from '../../src/keyring/native/wincred.ts';
import { processEnvironment } from '../../src/system/environment.ts';
import { MAX_BLOB_BYTES, windowsCredentials } from '../../src/system/os/windows-credentials.ts';
import { keyringContract } from '../../src/testing/keyring-contract.ts';
import { describe, startNode, temporaryHome, test } from './machine.ts';

describe('the Credential Manager', () => {
  const contract = keyringContract(async () => {
    const options = { as99designs: `test-${randomBytes(6).toString('hex')}` };
    const open = () => openWincred(processEnvironment(), options);
    return { keyring: await open(), reopen: open, dispose: async () => {} };
  });
  for (const { name, run } of contract) test(name, run);

  test('stores a generic credential of this machine, named and visible, whose blob is the bare bytes', async () => {
    const keyring = await openWincred(processEnvironment());
    const secret = randomBytes(43);
    await keyring.set('layout', secret);
    try {
      const found = rawCredential('holdfast:layout');
      assert.deepEqual(
        { type: found.type, persist: found.persist, target: found.target, userName: found.userName },
        { type: 1, persist: 2, target: 'holdfast:layout', userName: 'layout' },
      );
      assert.ok(secret.equals(found.blob));
    } finally {
      await keyring.delete('layout');
    }
  });

  test('shares an item with a program of 99designs/keyring: its target, and only the bytes', async () => {
    const key = randomBytes(32);
    const target = 'keyring:docker-agent-oauth:oauth:encryption-key';
    const theirs = await windowsCredentials();
    theirs.write({ target, blob: key });
    const keyring = await openWincred(processEnvironment(), {
      as99designs: 'docker-agent-oauth',
    });
    try {
      assert.ok(key.equals((await keyring.get('oauth:encryption-key')) ?? Buffer.alloc(0)));
      await keyring.set('oauth:encryption-key', Buffer.from('ours'));
      assert.equal(Buffer.from(theirs.read(target) ?? []).toString(), 'ours');
    } finally {
      assert.equal(await keyring.delete('oauth:encryption-key'), true);
    }
    assert.equal(theirs.read(target), undefined);
  });

  test('finds items where the keyring crate and keytar put them, each in its encoding', async () => {
    const theirs = await windowsCredentials();
    const layouts = [
      ['keyring-crate', 'secrets.test-goose', 'utf16le'],
      ['keytar', 'test-goose/secrets', 'utf8'],
    ] as const;
    for (const [layout, target, encoding] of layouts) {
      theirs.write({ target, blob: Buffer.from('{"ä":1,"b":2}', encoding), userName: 'secrets' });
      const items = await openExternalItems(processEnvironment(), 'test-goose', layout);
      const item = { account: 'secrets', text: '{"ä":1,"b":2}' };
      assert.deepEqual(await items.list(['secrets', 'nobody']), [item]);
      assert.equal(await items.replace(item, '{"ä":1}'), 'done');
      assert.equal(Buffer.from(theirs.read(target) ?? []).toString(encoding), '{"ä":1}');
      assert.equal(await items.replace(item, undefined), 'changed');
      assert.equal(await items.replace({ ...item, text: '{"ä":1}' }, undefined), 'done');
      assert.equal(theirs.read(target), undefined);
    }
  });

  test('stores as many bytes as Windows does, and refuses one more without a change', async () => {
    const keyring = await openWincred(processEnvironment());
    const most = randomBytes(MAX_BLOB_BYTES);
    await keyring.set('large', most);
    await assert.rejects(keyring.set('large', randomBytes(MAX_BLOB_BYTES + 1)), (error) => {
      assert.ok(error instanceof KeyringBrokenError);
      assert.match(error.message, /takes 2560 bytes, and this secret has 2561/);
      return true;
    });
    assert.ok(most.equals((await keyring.get('large')) ?? Buffer.alloc(0)));
    await keyring.delete('large');
  });

  test('only one of eight processes that start at once creates the key, and all use it', async () => {
    const { path } = await temporaryHome();
    const keyring = await openWincred(processEnvironment());
    await keyring.delete('sealing-key');
    try {
      const first = Array.from({ length: 8 }, () => startNode('first-key.mjs', [], { HOLDFAST_HOME: path }));
      const ends = await Promise.all(first.map(({ ended }) => ended));
      assert.deepEqual(
        ends.map(({ code, err }) => ({ code, err })),
        ends.map(() => ({ code: 0, err: '' })),
      );
      const said = new Set(ends.map(({ out }) => out));
      assert.equal(said.size, 1);
      assert.match([...said].join(''), /^wincred [\w-]{22}\n$/);
    } finally {
      await keyring.delete('sealing-key');
    }
  });
});

/** Reads with its own declarations, so that an error in Holdfast's declarations shows. */
function rawCredential(target: string) {
  const advapi32 = koffi.load('advapi32.dll');
  const read = advapi32.func(
    'int __stdcall CredReadW(str16 target, uint type, uint flags, _Out_ void **found)',
  );
  const free = advapi32.func('void __stdcall CredFree(void *found)');
  const found: [bigint | null] = [null];
  assert.equal(read(target, 1, 0, found), 1);
  const at = found[0];
  // Offsets of CREDENTIALW on 64-bit Windows.
  const size: number = koffi.decode(at, 32, 'uint32_t');
  const raw = {
    type: koffi.decode(at, 4, 'uint32_t') as number,
    target: koffi.decode(at, 8, 'str16') as string,
    blob: Buffer.from(koffi.decode(koffi.decode(at, 40, 'void *'), koffi.array('uint8_t', size))),
    persist: koffi.decode(at, 48, 'uint32_t') as number,
    userName: koffi.decode(at, 72, 'str16') as string,
  };
  free(at);
  return raw;
}
