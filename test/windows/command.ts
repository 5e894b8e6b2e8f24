import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { after } from 'node:test';
import { CredentialId } from '../../src/credential.ts';
import { SealedCredentialStore } from '../../src/credentials/sealed/sealed-credential-store.ts';
import { openWincred } from '../../src/keyring/native/wincred.ts';
import { resolveKeyrings } from '../../src/keyring/resolve.ts';
import { SealingKeys } from '../../src/keyring/sealing-key.ts';
import { DirectoryStore } from '../../src/store/directory.ts';
import { MemoryStore } from '../../src/store/memory.ts';
import { processEnvironment } from '../../src/system/environment.ts';
import { layoutOf } from '../../src/system/files/paths.ts';
import { sampleCredential } from '../support/homes/credential.ts';
import { describe, startNode, test } from './machine.ts';

/** Runs in the user's own home and Credential Manager, which belong to the test's wine prefix. */
describe('holdfast on Windows', () => {
  const environment = processEnvironment();
  const layout = layoutOf(environment);
  const resource = 'https://mcp.example.com/mcp';
  const holdfast = (...args: string[]) => startNode('holdfast.cjs', args).ended;
  after(async () => {
    await rm(layout.home, { recursive: true, force: true, maxRetries: 10 });
    await (await openWincred(environment)).delete('sealing-key');
  });

  test('prints its version', async () => {
    const { code, out } = await holdfast('--version');
    assert.equal(code, 0);
    assert.match(out, /^\d+\.\d+\.\d+/);
  });

  test('lists nothing and asks for a login when there is none', async () => {
    const list = await holdfast('list', '--json');
    assert.equal(list.code, 0);
    assert.deepEqual(JSON.parse(list.out).credentials, []);
    const token = await holdfast('token', resource);
    assert.deepEqual({ code: token.code, out: token.out }, { code: 3, out: '' });
  });

  test('prints the token of a login whose key is in the Credential Manager', async () => {
    const keys = new SealingKeys(resolveKeyrings(environment, layout), layout, environment);
    const lasting = new DirectoryStore(layout, environment);
    const credentialStore = new SealedCredentialStore({
      persistent: lasting,
      ephemeral: new MemoryStore(),
      keys,
    });
    const key = await keys.strongest();
    assert.equal(key.keyringId, 'wincred');
    await credentialStore.save(key, CredentialId.of(resource, undefined), (generation) =>
      sampleCredential(resource, { generation }),
    );
    await credentialStore.close();
    const { code, out } = await holdfast('token', resource);
    assert.equal(code, 0);
    assert.ok(out === `access-token-of-${resource}\n`);
    const list = await holdfast('list', '--json');
    assert.equal(JSON.parse(list.out).credentials.length, 1);
  });

  test('doctor finds no fault with the keyring and the home directory', async () => {
    const { code, out, err } = await holdfast('doctor', '--json');
    assert.equal(code, 0, err);
    assert.match(out, /New logins are sealed under a key in wincred/);
    assert.equal(out.includes('sealed under a key in file'), false);
  });
});
