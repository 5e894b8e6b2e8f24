import { describe, expect, test } from 'vitest';
import { openWincred } from '../../src/keyring/native/wincred.ts';
import type { WindowsCredentials } from '../../src/system/os/windows-credentials.ts';
import { WindowsError } from '../../src/system/os/windows-error.ts';
import { temporaryHome } from '../support/homes/home.ts';

/*
 * Errors of the Credential Manager, which wine's never returns. A stand-in for advapi32 fails with Windows' own
 * numbers. Tests under wine store real items (`npm run test:windows`).
 */

async function refusing(number: number) {
  const { environment } = await temporaryHome();
  const refuse = (call: string) => () => {
    throw new WindowsError(call, number);
  };
  const credentials: WindowsCredentials = {
    read: refuse('CredReadW'),
    write: refuse('CredWriteW'),
    delete: refuse('CredDeleteW'),
  };
  return openWincred({ ...environment, platform: 'win32' }, { credentials: async () => credentials });
}

describe('a Credential Manager that refuses', () => {
  test.each([
    ['a network logon, which has none', 1312, 'absent', 'desktop'],
    ['a program that may not', 5, 'denied', '--keyring file'],
    ['a service that is switched off', 1058, 'broken', 'Start-Service VaultSvc'],
    ['an error that nobody expects', 1783, 'broken', 'net helpmsg 1783'],
  ])('%s: reports error %i as %s, with a remedy', async (_what, number, status, remedy) => {
    const keyring = await refusing(number);
    expect(await keyring.probe()).toMatchObject({
      status,
      reason: expect.stringContaining(`error ${number}`),
      hint: expect.stringContaining(remedy),
    });
    const failure = { code: `keyring-${status}`, hint: expect.stringContaining(remedy) };
    await expect(keyring.get('a')).rejects.toMatchObject(failure);
    await expect(keyring.set('a', Buffer.from('b'))).rejects.toMatchObject(failure);
    await expect(keyring.delete('a')).rejects.toMatchObject(failure);
  });

  test('refuses a secret of 2,561 bytes before it asks Windows', async () => {
    const keyring = await refusing(1783);
    await expect(keyring.set('a', Buffer.alloc(2_561))).rejects.toMatchObject({
      code: 'keyring-broken',
      message: 'The Credential Manager takes 2560 bytes, and this secret has 2561.',
    });
  });

  test('reports a Credential Manager as broken, not empty, if advapi32 cannot be called', async () => {
    const { environment } = await temporaryHome();
    await expect(openWincred({ ...environment, platform: 'win32' })).rejects.toMatchObject({
      code: 'keyring-broken',
      hint: expect.stringContaining('koffi'),
    });
  });

  test('reports the Credential Manager as absent on another system', async () => {
    const { environment } = await temporaryHome();
    await expect(openWincred({ ...environment, platform: 'linux' })).rejects.toMatchObject({
      code: 'keyring-absent',
    });
  });
});
