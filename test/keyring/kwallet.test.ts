import { beforeEach, describe, expect, test } from 'vitest';
import { KeyringDeniedError, KeyringLockedError } from '../../src/errors.ts';
import { openKWallet } from '../../src/keyring/native/kwallet.ts';
import { resolveKeyrings } from '../../src/keyring/resolve.ts';
import { SealingKeys } from '../../src/keyring/sealing-key.ts';
import { connectBus, deadlineIn } from '../../src/system/dbus/connection.ts';
import { temporaryHome } from '../support/homes/home.ts';
import {
  callKWallet,
  kwalletQuery,
  NO_KWALLET,
  startKWallet,
  writeKWalletSettings,
} from '../support/keyrings/kwallet.ts';
import { type Bus, privateBus } from '../support/keyrings/secret-service.ts';
import { holdfast } from '../support/processes/process.ts';

describe.skipIf(NO_KWALLET)('KWallet', () => {
  let bus: Bus;

  beforeEach(async () => {
    bus = await privateBus({ services: {} });
    await writeKWalletSettings(bus);
  });

  async function here(on: Bus = bus) {
    const { environment, layout } = await temporaryHome();
    return { layout, environment: { ...environment, variables: on.variables, homeDirectory: on.home } };
  }

  async function open(on: Bus = bus) {
    return openKWallet((await here(on)).environment);
  }

  async function keysOf(choice: string) {
    const { environment, layout } = await here();
    return new SealingKeys(resolveKeyrings(environment, layout, { keyring: choice }), layout, environment);
  }

  test('stores the sealing key where kwallet-query finds it', async () => {
    await startKWallet(bus, ['kdewallet']);
    const keys = await keysOf('kwallet');
    const { key, keyringId, lifetime } = await keys.strongest();
    await keys.close();
    expect([keyringId, lifetime]).toEqual(['kwallet', 'disk']);
    const shown = kwalletQuery(bus, ['--read-password', 'sealing-key']).trim();
    expect(shown === Buffer.from(key).toString('base64url')).toBe(true);
  });

  test('reads an item that kwallet-query wrote', async () => {
    await startKWallet(bus, ['kdewallet']);
    const keyring = await open();
    // kwallet-query creates neither folder nor entry.
    await keyring.set('theirs', Buffer.from('x'));
    kwalletQuery(bus, ['--write-password', 'theirs'], 'by hand');
    expect(
      Buffer.from((await keyring.get('theirs')) ?? [])
        .toString()
        .trim(),
    ).toBe('by hand');
    await keyring.close();
  });

  test('uses KWallet automatically if no Secret Service has a collection', async () => {
    await startKWallet(bus, ['kdewallet']);
    const keys = await keysOf('auto');
    expect(await keys.strongest()).toMatchObject({ keyringId: 'kwallet' });
    await keys.close();
  });

  test('KWallet still has an item after its daemon was killed', async () => {
    const daemon = await startKWallet(bus, ['kdewallet']);
    const keyring = await open();
    await keyring.set('item', Buffer.from('kept'));
    daemon.kill('SIGKILL');
    await expect(keyring.get('item')).rejects.toMatchObject({ code: /keyring-(absent|broken)/ });
    await startKWallet(bus, ['kdewallet']);
    expect(Buffer.from((await keyring.get('item')) ?? []).toString()).toBe('kept');
    await keyring.close();
  });

  test('reports a closed wallet as locked, not empty, and does not ask to open it', async () => {
    await startKWallet(bus, []);
    const keyring = await open();
    expect(await keyring.probe()).toMatchObject({
      status: 'locked',
      hint: expect.stringContaining('KWalletManager'),
    });
    await expect(keyring.get('item')).rejects.toThrow(KeyringLockedError);
    await expect(keyring.set('item', Buffer.from('x'))).rejects.toThrow(KeyringLockedError);
    await keyring.close();
    const keys = await keysOf('auto');
    expect(await keys.strongest()).toMatchObject({ keyringId: 'file' });
    await keys.close();
    // If KWallet showed a prompt, this call would wait for it too.
    await callKWallet(bus, 'pamOpen', 'sayi', 'kdewallet', Buffer.alloc(56, 1), 0);
    expect(await callKWallet(bus, 'isOpen', 's', 'kdewallet')).toBe(true);
  });

  test('reports a wallet that is closed between two calls as locked, not empty', async () => {
    await startKWallet(bus, ['kdewallet']);
    const keyring = await open();
    await keyring.set('item', Buffer.from('x'));
    await callKWallet(bus, 'close', 'sb', 'kdewallet', true);
    await expect(keyring.get('item')).rejects.toThrow(KeyringLockedError);
    await expect(keyring.delete('item')).rejects.toThrow(KeyringLockedError);
    await keyring.close();
  });

  test('reports KWallet as denied while it would ask a person to authorize Holdfast', async () => {
    await writeKWalletSettings(bus, { 'Prompt on Open': 'true' });
    await startKWallet(bus, ['kdewallet']);
    const keyring = await open();
    await expect(keyring.get('item')).rejects.toThrow(KeyringDeniedError);
    await keyring.close();
    await writeKWalletSettings(bus, { 'Prompt on Open': 'true' }, { kdewallet: 'kmail,Holdfast' });
    await callKWallet(bus, 'reconfigure', '');
    const authorized = await open();
    expect(await authorized.probe()).toMatchObject({ status: 'usable' });
    await authorized.close();
  });

  test('reports a bus without KWallet as absent', async () => {
    const keyring = await open();
    expect(await keyring.probe()).toMatchObject({ status: 'absent' });
    await keyring.close();
  });

  test('reports a KWallet daemon that does not run as locked, and does not start it', async () => {
    const startable = await privateBus({ services: { 'org.kde.kwalletd5': '/usr/bin/kwalletd5' } });
    const keyring = await open(startable);
    expect(await keyring.probe()).toMatchObject({ status: 'locked' });
    await keyring.close();
    const connection = await connectBus(
      startable.variables['DBUS_SESSION_BUS_ADDRESS'] ?? '',
      deadlineIn(5_000),
    );
    const of = { path: '/', interface: 'org.freedesktop.DBus', destination: 'org.freedesktop.DBus' };
    const [names] = await connection.call({ ...of, member: 'ListNames' }, deadlineIn(5_000));
    connection.close();
    expect(names).not.toContain('org.kde.kwalletd5');
  });

  test('reports a KWallet that is switched off as absent, and names the setting', async () => {
    const startable = await privateBus({ services: { 'org.kde.kwalletd5': '/usr/bin/kwalletd5' } });
    await writeKWalletSettings(startable, { 'Enabled[$i]': 'false' });
    const keyring = await open(startable);
    expect(await keyring.probe()).toMatchObject({
      status: 'absent',
      reason: 'KWallet is switched off.',
      hint: expect.stringContaining('System Settings'),
    });
    await keyring.close();
  });

  test('reports a stopped KWallet daemon as broken in time, and lets the process end', async () => {
    const daemon = await startKWallet(bus, ['kdewallet']);
    const keyring = await open();
    daemon.kill('SIGSTOP');
    try {
      expect(await keyring.probe()).toMatchObject({
        status: 'broken',
        reason: expect.stringContaining('timeout'),
      });
      await keyring.close();
      const { path } = await temporaryHome();
      const variables = { ...bus.variables, HOLDFAST_HOME: path };
      const { out } = await holdfast(['doctor', '--keyring', 'kwallet'], variables).ended;
      expect(out).toContain('KWallet does not answer');
    } finally {
      daemon.kill('SIGCONT');
    }
  });

  test('shares the wallet of a program built on 99designs/keyring, and never creates one', async () => {
    await startKWallet(bus, ['kdewallet']);
    const { environment } = await here();
    const keyring = await openKWallet(environment, { as99designs: 'some-agent' });
    expect(await keyring.probe()).toMatchObject({
      status: 'absent',
      reason: expect.stringContaining('some-agent'),
    });
    await callKWallet(bus, 'pamOpen', 'sayi', 'some-agent', Buffer.alloc(56, 1), 0);
    const handle = await callKWallet(bus, 'open', 'sxs', 'some-agent', 0n, 'keyring');
    const theirs = Buffer.from(
      '{"Key":"oauth:encryption-key","Data":"aGVsbG8=","Label":"","Description":""}',
    );
    await callKWallet(
      bus,
      'writeEntry',
      'issays',
      handle,
      'keyring',
      'oauth:encryption-key',
      theirs,
      'keyring',
    );
    expect(Buffer.from((await keyring.get('oauth:encryption-key')) ?? []).toString()).toBe('hello');
    await keyring.close();
  });
});
