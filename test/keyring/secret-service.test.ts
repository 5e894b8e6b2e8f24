import { execFileSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { KeyringAbsentError, KeyringBrokenError, KeyringLockedError } from '../../src/errors.ts';
import { defaultOpeners, KeyringResolution } from '../../src/keyring/open.ts';
import { SealingKeys } from '../../src/keyring/sealing-key.ts';
import { openSecretService } from '../../src/keyring/secret-service.ts';
import { temporaryDirectory, temporaryHome } from '../support/home.ts';
import { start, TYPESCRIPT } from '../support/process.ts';
import { NO_SECRET_SERVICE, privateBus } from '../support/secret-service.ts';

describe.skipIf(NO_SECRET_SERVICE)('the Secret Service', () => {
  async function keysOn(variables: Readonly<Record<string, string>>) {
    const { environment, layout } = await temporaryHome();
    const here = { ...environment, variables };
    const resolution = new KeyringResolution({ openers: defaultOpeners(here, layout) });
    return { here, keys: new SealingKeys(resolution, layout, here) };
  }

  /** A home whose login keyring was made, with one item, and is locked now. */
  async function lockedHome(): Promise<string> {
    const home = await temporaryDirectory();
    const bus = await privateBus({ home });
    await bus.keyring({ unlock: true });
    const { keys } = await keysOn(bus.variables);
    await keys.strongest();
    await keys.close();
    return home;
  }

  test('keeps the sealing key where secret-tool finds it', async () => {
    const bus = await privateBus();
    await bus.keyring({ unlock: true });
    const { keys } = await keysOn(bus.variables);
    const { key, keyringId } = await keys.strongest();
    await keys.close();
    expect(keyringId).toBe('secret-service');
    const found = execFileSync('secret-tool', ['lookup', 'service', 'holdfast', 'username', 'sealing-key'], {
      env: bus.variables,
      encoding: 'utf8',
    });
    expect(found === Buffer.from(key).toString('base64url')).toBe(true);
  });

  test('locked is locked, not empty: reads say so, and a new key goes to the file', async () => {
    const bus = await privateBus({ home: await lockedHome() });
    await bus.keyring({ unlock: false });
    const { here, keys } = await keysOn(bus.variables);
    const keyring = await openSecretService(here);
    expect(await keyring.probe()).toMatchObject({ status: 'locked' });
    await expect(keyring.get('sealing-key')).rejects.toThrow(KeyringLockedError);
    await expect(keyring.set('sealing-key', Buffer.from('x'))).rejects.toThrow(KeyringLockedError);
    await keyring.close();
    expect(await keys.strongest()).toMatchObject({ keyringId: 'file' });
    expect(keys.problems()[0]).toBeInstanceOf(KeyringLockedError);
    await keys.close();
  });

  test('a fresh home without a default collection is absent, and the file serves', async () => {
    const bus = await privateBus();
    await bus.keyring({ unlock: false });
    const { keys } = await keysOn(bus.variables);
    expect(await keys.strongest()).toMatchObject({ keyringId: 'file' });
    expect(keys.problems()[0]).toBeInstanceOf(KeyringAbsentError);
    expect(keys.problems()[0]?.message).toContain('no default collection');
    await keys.close();
  });

  test('a bus without the service is absent', async () => {
    const bus = await privateBus({ services: false });
    const { keys } = await keysOn(bus.variables);
    expect(await keys.strongest()).toMatchObject({ keyringId: 'file' });
    expect(keys.problems()[0]?.message).toContain('No Secret Service runs');
    await keys.close();
  });

  test.each([
    ['no bus at all', {}],
    ['a bus address where nothing is', { DBUS_SESSION_BUS_ADDRESS: 'unix:path=/nonexistent/bus' }],
  ])('%s is absent', async (_what, variables) => {
    const { here } = await keysOn(variables);
    await expect(openSecretService(here)).rejects.toThrow(KeyringAbsentError);
  });

  test('a daemon that is stopped ends in broken, in time, and the process can end', async () => {
    const bus = await privateBus();
    const daemon = await bus.keyring({ unlock: true });
    const { here } = await keysOn(bus.variables);
    const keyring = await openSecretService(here);
    daemon.kill('SIGSTOP');
    try {
      expect(await keyring.probe()).toMatchObject({
        status: 'broken',
        reason: expect.stringContaining('timeout'),
      });
      await expect(keyring.get('sealing-key')).rejects.toThrow(KeyringBrokenError);
      await keyring.close();

      const { path } = await temporaryHome();
      const bin = new URL('../../src/cli/bin.ts', import.meta.url).pathname;
      const doctor = start(process.execPath, [...TYPESCRIPT, bin, 'doctor'], {
        ...bus.variables,
        HOLDFAST_HOME: path,
      });
      const { code, out } = await doctor.ended;
      expect(out).toContain('secret-service is passed over (broken)');
      expect(code).toBe(0);
    } finally {
      daemon.kill('SIGCONT');
    }
  });

  test('a bus that is stopped ends in time too', async () => {
    const bus = await privateBus();
    await bus.keyring({ unlock: true });
    const { here } = await keysOn(bus.variables);
    bus.signal('SIGSTOP');
    try {
      await expect(openSecretService(here)).rejects.toThrow(KeyringBrokenError);
    } finally {
      bus.signal('SIGCONT');
    }
  });

  test('a daemon that dies between two calls is not "empty"', async () => {
    const bus = await privateBus({ services: false });
    const daemon = await bus.keyring({ unlock: true });
    const { here } = await keysOn(bus.variables);
    const keyring = await openSecretService(here);
    await keyring.set('sealing-key', Buffer.from('x'));
    daemon.kill('SIGKILL');
    await expect(keyring.get('sealing-key')).rejects.toMatchObject({ code: /keyring-(absent|broken)/ });
    await keyring.close();
  });
});
