import { describe, expect, test } from 'vitest';
import { NamedItems } from '../../src/keyring/external/external-item.ts';
import { openKeychain } from '../../src/keyring/native/keychain.ts';
import { openWincred } from '../../src/keyring/native/wincred.ts';
import type { WindowsCredential } from '../../src/system/os/windows-credentials.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { MacStandIn } from '../support/keyrings/keychain.ts';

/*
 * Another program's items in keyrings that are read by item name. No Mac has run this; the stand-ins hold what the two
 * systems are documented to hold. test/import/keyring-peers.test.ts covers the Secret Service.
 */

/** The Keychain's items of that service. */
async function ofService(service: string) {
  const { environment } = await temporaryHome();
  const stand = new MacStandIn();
  const { library, system } = stand;
  const keychain = await openKeychain({ ...environment, platform: 'darwin' }, { service, library, system });
  return { stand, keychain, items: new NamedItems(keychain, 'utf8') };
}

describe('another program’s item in the Keychain', () => {
  test('reads another program’s item under its own service, and only the accounts asked for', async () => {
    const { stand, keychain, items } = await ofService('Claude Code-credentials');
    await keychain.set('somebody', Buffer.from('{"mcpOAuth":{}}'));
    await keychain.set('another', Buffer.from('{}'));
    expect(await items.list(['somebody', 'nobody', 'somebody'])).toEqual([
      { account: 'somebody', text: '{"mcpOAuth":{}}' },
    ]);
    expect(stand.calls.at(-1)).toContain('"Claude Code-credentials","nobody"');
  });

  test('replaces or removes another program’s item only if it still holds what was read', async () => {
    const { keychain, items } = await ofService('goose');
    await keychain.set('secrets', Buffer.from('new'));
    const read = { account: 'secrets', text: 'old' };
    expect(await items.replace(read, 'rest')).toBe('changed');
    expect(await items.replace({ ...read, text: 'new' }, 'rest')).toBe('done');
    expect(await items.list(['secrets'])).toEqual([{ account: 'secrets', text: 'rest' }]);
    expect(await items.replace({ ...read, text: 'rest' }, undefined)).toBe('done');
    expect(await items.replace({ ...read, text: 'rest' }, undefined)).toBe('gone');
  });

  test('does not report another program’s item as absent while the Keychain is locked', async () => {
    const { stand, items } = await ofService('goose');
    stand.status = 'locked';
    await expect(items.list(['secrets'])).rejects.toMatchObject({ code: 'keyring-locked' });
  });
});

test('keeps the encoding and the name that a library gave another program’s Windows credential', async () => {
  const { environment } = await temporaryHome();
  const held = new Map<string, WindowsCredential>([
    ['secrets.goose', { target: 'secrets.goose', blob: Buffer.from('{"ä":1}', 'utf16le') }],
  ]);
  const credentials = async () => ({
    read: (target: string) => held.get(target)?.blob,
    write: (credential: WindowsCredential) => void held.set(credential.target, credential),
    delete: (target: string) => held.delete(target),
  });
  const windows = { ...environment, platform: 'win32' as const };
  const keyring = await openWincred(windows, { targets: (item) => `${item}.goose`, credentials });
  const items = new NamedItems(keyring, 'utf16le');
  const [item] = await items.list(['secrets']);
  expect(item).toEqual({ account: 'secrets', text: '{"ä":1}' });
  expect(await items.replace({ account: 'secrets', text: '{"ä":1}' }, '{}')).toBe('done');
  expect(held.get('secrets.goose')).toMatchObject({
    blob: Buffer.from('{}', 'utf16le'),
    userName: 'secrets',
    comment: undefined,
  });
});
