import { describe, expect, test } from 'vitest';
import { type KeychainLibrary, openKeychain } from '../../src/keyring/native/keychain.ts';
import { keyringContract } from '../../src/testing/keyring-contract.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { HANGS, MacStandIn } from '../support/keyrings/keychain.ts';
import { NO_SECRET_SERVICE, privateBus } from '../support/keyrings/secret-service.ts';
import { runScript } from '../support/processes/process.ts';
import { requirement } from '../support/requirement.ts';

/* No Mac has run this. One test uses the real library over another store; the rest use stand-ins for a Mac. */

async function mac(options: { variables?: Record<string, string>; timeoutMs?: number } = {}) {
  const { environment } = await temporaryHome();
  const stand = new MacStandIn();
  const keyring = await openKeychain(
    { ...environment, platform: 'darwin', variables: options.variables ?? {} },
    { library: stand.library, system: stand.system, timeoutMs: options.timeoutMs },
  );
  return { stand, keyring };
}

/** Optional, so its import is resolved only when the test runs. */
const LIBRARY: string = '@napi-rs/keyring';

const NO_LIBRARY = requirement(
  '@napi-rs/keyring is not installed',
  await import(LIBRARY).then(
    () => true,
    () => false,
  ),
);

const NOT_ALLOWED = 'User interaction is not allowed.';

describe('the Keychain', () => {
  const contract = keyringContract(async () => {
    const { environment } = await temporaryHome();
    const stand = new MacStandIn();
    const open = () => openKeychain({ ...environment, platform: 'darwin' }, stand);
    return { keyring: await open(), reopen: open, dispose: async () => {} };
  });
  for (const { name, run } of contract) test(name, run);

  test.skipIf(NO_LIBRARY ?? NO_SECRET_SERVICE)(
    'the Keychain fulfils its contract over the real library',
    async () => {
      const bus = await privateBus();
      await bus.keyring({ unlock: true });
      const { out } = await runScript('keychain-contract.ts', [], bus.variables);
      expect(out.trim().split('\n')).toEqual(contract.map(({ name }) => name));
    },
  );

  test('names its items by service and account, and a shared item as its program does', async () => {
    const { environment } = await temporaryHome();
    const stand = new MacStandIn();
    const there = { ...environment, platform: 'darwin' as const };
    await (await openKeychain(there, stand)).get('sealing-key');
    const shared = await openKeychain(there, {
      library: stand.library,
      system: stand.system,
      as99designs: 'docker-agent-oauth',
    });
    await shared.get('oauth:encryption-key');
    expect(stand.calls).toEqual([
      'get ["holdfast","sealing-key"]',
      'get ["docker-agent-oauth","oauth:encryption-key"]',
    ]);
  });

  test('turns dialogs off, unless the user asked for them', async () => {
    expect((await mac()).stand.dialogs).toBe(false);
    expect((await mac({ variables: { HOLDFAST_KEYCHAIN_PROMPT: '1' } })).stand.dialogs).toBe(true);
  });

  test('reports a locked Keychain as locked, and reads no item', async () => {
    const { stand, keyring } = await mac();
    stand.status = 'locked';
    const hint = 'Unlock it, over SSH too: security unlock-keychain';
    expect(await keyring.probe()).toMatchObject({
      status: 'locked',
      reason: 'The Keychain is locked.',
      hint,
    });
    const failure = { code: 'keyring-locked', hint };
    await expect(keyring.get('a')).rejects.toMatchObject(failure);
    await expect(keyring.set('a', Buffer.from('b'))).rejects.toMatchObject(failure);
    await expect(keyring.delete('a')).rejects.toMatchObject(failure);
    expect(stand.calls).toEqual([]);
  });

  test('reports a missing default keychain as absent', async () => {
    const { stand, keyring } = await mac();
    stand.status = 'absent';
    expect(await keyring.probe()).toMatchObject({ status: 'absent' });
  });

  test('reports a keychain as broken, not empty, if it does not say whether it is open', async () => {
    const { stand, keyring } = await mac();
    stand.status = new Error('SecKeychainGetStatus failed with OSStatus -67585');
    expect(await keyring.probe()).toMatchObject({
      status: 'broken',
      reason: expect.stringContaining('-67585'),
    });
    await expect(keyring.get('a')).rejects.toMatchObject({ code: 'keyring-broken' });
  });

  test('reports a keychain that is locked halfway as locked, whatever language the system speaks', async () => {
    const { stand, keyring } = await mac();
    const asked = keyring.get('a');
    stand.failures.push('Benutzerinteraktion ist nicht erlaubt.');
    const again = keyring.get('a');
    stand.status = 'locked';
    expect(await asked).toBeUndefined();
    await expect(again).rejects.toMatchObject({ code: 'keyring-locked' });
  });

  test.each([
    [NOT_ALLOWED, {}, 'keyring-denied', 'HOLDFAST_KEYCHAIN_PROMPT=1'],
    [NOT_ALLOWED, { SSH_CONNECTION: '::1 1 ::1 22' }, 'keyring-locked', 'security unlock-keychain'],
    ['error code -25308', {}, 'keyring-denied', 'Always Allow'],
    ['User canceled the operation.', {}, 'keyring-denied', 'Always Allow'],
    ['The user name or passphrase you entered is not correct.', {}, 'keyring-denied', 'Always Allow'],
    ['Ein Fehler.', {}, 'keyring-broken', 'Keychain Access'],
  ])('reports the failure %j of an open keychain, with %j, as %s', async (text, variables, code, remedy) => {
    const { stand, keyring } = await mac({ variables });
    stand.failures.push(text);
    await expect(keyring.get('a')).rejects.toMatchObject({ code, hint: expect.stringContaining(remedy) });
  });

  test('changes an item that another process added in the meantime', async () => {
    const { stand, keyring } = await mac();
    stand.failures.push('The specified item already exists in the keychain.');
    await keyring.set('a', Buffer.from('ours'));
    expect(Buffer.from((await keyring.get('a')) ?? []).toString()).toBe('ours');
  });

  test('gives up on a call to the Keychain at its deadline', async () => {
    const { stand, keyring } = await mac({ timeoutMs: 20 });
    stand.failures.push(HANGS);
    await expect(keyring.get('a')).rejects.toMatchObject({
      code: 'keyring-broken',
      message: 'The Keychain did not answer within 20 ms.',
    });
  });

  test.each<[string, (stand: MacStandIn) => Promise<KeychainLibrary>]>([
    ['is not there', async () => Promise.reject(new Error('Cannot find package'))],
    [
      'is of version 1, which takes a failure for an empty keychain',
      async (stand) => ({ AsyncEntry: (await stand.library()).AsyncEntry }),
    ],
  ])(
    'reports the Keychain as absent if its library %s, and says how to install it',
    async (_what, libraryOf) => {
      const { environment } = await temporaryHome();
      const stand = new MacStandIn();
      const library = () => libraryOf(stand);
      const opening = openKeychain({ ...environment, platform: 'darwin' }, { library, system: stand.system });
      await expect(opening).rejects.toMatchObject({
        code: 'keyring-absent',
        hint: expect.stringContaining('npm install @napi-rs/keyring@2'),
      });
    },
  );

  test('does not use the Keychain if dialogs cannot be turned off', async () => {
    const { environment } = await temporaryHome();
    const { library } = new MacStandIn();
    await expect(openKeychain({ ...environment, platform: 'darwin' }, { library })).rejects.toMatchObject({
      code: 'keyring-broken',
    });
  });

  test('reports the Keychain as absent on another system', async () => {
    const { environment } = await temporaryHome();
    await expect(openKeychain({ ...environment, platform: 'linux' })).rejects.toMatchObject({
      code: 'keyring-absent',
    });
  });
});
