import assert from 'node:assert/strict';
import { mkdir, open, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { KeyringBrokenError } from '../../src/errors.ts';
import { FileKeyring } from '../../src/keyring/file/file.ts';
import { DirectoryStore } from '../../src/store/directory.ts';
import { processEnvironment } from '../../src/system/environment.ts';
import { removeFileDurably, writeFileAtomically } from '../../src/system/files/atomic-file.ts';
import { layoutOf } from '../../src/system/files/paths.ts';
import { readPrivateFile } from '../../src/system/files/private-directory.ts';
import { shellPath } from '../../src/system/files/storage-error.ts';
import { keyringContract } from '../../src/testing/keyring-contract.ts';
import { storeContract } from '../../src/testing/store-contract.ts';
import { describe, temporaryHome, test } from './machine.ts';

describe('the file keyring on Windows', () => {
  const contract = keyringContract(async () => {
    const { layout, environment } = await temporaryHome();
    const open = () => new FileKeyring(layout, environment);
    return { keyring: open(), reopen: async () => open(), dispose: async () => {} };
  });
  for (const { name, run } of contract) test(name, run);

  test('the file keyring refuses names that no file can have', async () => {
    const { layout, environment } = await temporaryHome();
    const keyring = new FileKeyring(layout, environment);
    for (const name of ['oauth:encryption-key', 'con', 'NUL.txt', 'dot.', 'a\\b', 'what?']) {
      await assert.rejects(keyring.set(name, Buffer.from('x')), KeyringBrokenError);
    }
    await keyring.set('console', Buffer.from('x'));
  });
});

describe('the directory store on Windows', () => {
  const contract = storeContract(async () => {
    const { layout, environment } = await temporaryHome();
    const open = () => new DirectoryStore(layout, environment);
    return { store: open(), reopen: async () => open(), dispose: async () => {} };
  });
  for (const { name, run } of contract) test(name, run);
});

describe('files on Windows', () => {
  async function place() {
    const { path, environment } = await temporaryHome();
    const temporary = join(path, 'tmp');
    await mkdir(temporary, { recursive: true });
    return { path: join(path, 'file'), temporary, environment };
  }

  test('replaces a file that another process has open, once that process is done', async () => {
    const { path, temporary } = await place();
    await writeFile(path, 'old');
    const reader = await open(path, 'r');
    const writing = writeFileAtomically(path, Buffer.from('new'), { temporary });
    await sleep(100);
    assert.equal(await reader.readFile('utf8'), 'old');
    await reader.close();
    await writing;
    assert.equal(await readFile(path, 'utf8'), 'new');
    assert.deepEqual(await readdir(temporary), []);
  });

  test('keeps the old content, and leaves nothing behind, if a process keeps the file open', async () => {
    const { path, temporary } = await place();
    await writeFile(path, 'old');
    const reader = await open(path, 'r');
    await assert.rejects(writeFileAtomically(path, Buffer.from('new'), { temporary }), {
      code: 'storage-unwritable',
    });
    await reader.close();
    assert.equal(await readFile(path, 'utf8'), 'old');
    assert.deepEqual(await readdir(temporary), []);
  });

  test('a file that is being replaced reads whole, as the old or the new one', async () => {
    const { path, temporary, environment } = await place();
    const contents = ['a', 'b'].map((letter) => Buffer.from(letter.repeat(20_000)));
    await writeFileAtomically(path, Buffer.from(contents[0] ?? ''), { temporary });
    let done = false;
    const writing = (async () => {
      for (let round = 0; round < 60; round += 1) {
        await writeFileAtomically(path, contents[round % 2] ?? Buffer.alloc(0), { temporary });
      }
      done = true;
    })();
    let reads = 0;
    while (!done) {
      const bytes = await readPrivateFile(path, environment, { maxBytes: 100_000 });
      assert.ok(bytes !== undefined && contents.some((content) => content.equals(bytes)));
      reads += 1;
      await sleep(2);
    }
    await writing;
    assert.ok(reads > 0);
  });

  test('exactly one of many writers that want a free name gets it', async () => {
    const { path, temporary } = await place();
    const outcomes = await Promise.all(
      Array.from({ length: 12 }, (_, index) =>
        writeFileAtomically(path, Buffer.from(String(index)), { temporary, exclusive: true }),
      ),
    );
    assert.equal(outcomes.filter((outcome) => outcome === 'written').length, 1);
    assert.equal(await removeFileDurably(path), true);
    assert.equal(await removeFileDurably(path), false);
  });

  test('the home is below %LOCALAPPDATA% by default, and paths are quoted for PowerShell', async () => {
    const local = String.raw`C:\Users\who\AppData\Local`;
    const environment = { ...processEnvironment(), variables: { LOCALAPPDATA: local } };
    assert.equal(layoutOf(environment).home, `${local}\\holdfast`);
    assert.equal(shellPath(local), local);
    assert.equal(shellPath(String.raw`C:\it's here`), String.raw`'C:\it''s here'`);
  });
});
