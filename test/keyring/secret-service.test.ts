import { execFileSync, spawnSync } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { KeyringAbsentError, KeyringBrokenError, KeyringLockedError } from '../../src/errors.ts';
import { openExternalItems } from '../../src/keyring/external/open-external-items.ts';
import { openSecretService } from '../../src/keyring/native/secret-service.ts';
import { defaultOpeners, KeyringResolution } from '../../src/keyring/resolve.ts';
import { SealingKeys } from '../../src/keyring/sealing-key.ts';
import { NO_DISPLAY, startDisplay } from '../support/browser/display.ts';
import { temporaryDirectory, temporaryHome } from '../support/homes/home.ts';
import { NO_KWALLET } from '../support/keyrings/kwallet.ts';
import { end, makeCollection, NO_SECRET_SERVICE, privateBus } from '../support/keyrings/secret-service.ts';
import { babblingBus, slowBus } from '../support/keyrings/slow-bus.ts';
import { holdfast, start, TYPESCRIPT } from '../support/processes/process.ts';
import { requirement } from '../support/requirement.ts';
import { startServers } from '../support/servers/servers.ts';
import { commandLine } from '../support/transcript.ts';

/** bwrap arguments that give this user another number, in a user namespace. */
const NAMESPACE = ['--dev-bind', '/', '/', '--unshare-user', '--uid', '1234', '--gid', '1234'];

const NO_NAMESPACE = requirement(
  'bwrap is not installed, or may not make a user namespace',
  spawnSync('bwrap', [...NAMESPACE, 'true']).status === 0,
);

describe.skipIf(NO_SECRET_SERVICE)('the Secret Service', () => {
  async function keysOn(variables: Readonly<Record<string, string>>) {
    const { environment, layout } = await temporaryHome();
    const here = { ...environment, variables };
    const resolution = new KeyringResolution({ openers: defaultOpeners(here, layout) });
    return { here, keys: new SealingKeys(resolution, layout, here) };
  }

  /** A home with a login keyring that holds one item and is locked. */
  async function lockedHome(): Promise<string> {
    const home = await temporaryDirectory();
    const bus = await privateBus({ home });
    await bus.keyring({ unlock: true });
    const { keys } = await keysOn(bus.variables);
    await keys.strongest();
    await keys.close();
    return home;
  }

  test('stores the sealing key where secret-tool finds it', async () => {
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

  test('uses the sealing key that secret-tool wrote', async () => {
    const bus = await privateBus();
    await bus.keyring({ unlock: true });
    const written = Buffer.alloc(32, 7);
    execFileSync(
      'secret-tool',
      ['store', '--label=by hand', 'service', 'holdfast', 'username', 'sealing-key'],
      { env: bus.variables, input: written.toString('base64url') },
    );
    const { keys } = await keysOn(bus.variables);
    const { key } = await keys.strongest();
    await keys.close();
    expect(written.equals(key)).toBe(true);
  });

  test('reports a locked collection as locked, not empty, and stores a new key in the file', async () => {
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

  test('a collection with a blank password is as open after a restart of the daemon as before', async () => {
    const bus = await privateBus();
    const daemon = await bus.keyring({ unlock: true });
    await makeCollection(bus.variables, { label: 'Blank', password: '' });
    const before = await keysOn(bus.variables);
    const made = await before.keys.strongest();
    expect(made.keyringId).toBe('secret-service');
    await before.keys.close();
    const foreign = { ...before.here, platform: 'linux' as const };

    for (const use of ['probe', 'get', 'set', 'delete', 'foreign'] as const) {
      await end(daemon);
      const again = await bus.keyring({ unlock: false });
      if (use === 'foreign') {
        const items = await openExternalItems(foreign, 'holdfast', 'keytar');
        expect((await items.list([])).map(({ account }) => account)).toContain('sealing-key');
        await items.close();
      } else {
        const keyring = await openSecretService(before.here);
        if (use === 'probe') expect(await keyring.probe()).toMatchObject({ status: 'usable' });
        if (use === 'get') expect(await keyring.get('sealing-key')).toBeDefined();
        if (use === 'set') await keyring.set('another', Buffer.from('x'));
        if (use === 'delete') expect(await keyring.delete('another')).toBe(true);
        await keyring.close();
      }
      await end(again);
    }
  });

  test('shares a collection with a blank password after a restart of the daemon', async () => {
    const bus = await privateBus();
    const daemon = await bus.keyring({ unlock: true });
    await makeCollection(bus.variables, { label: 'shared', password: '' });
    const { here } = await keysOn(bus.variables);
    const before = await openSecretService(here, { as99designs: 'shared' });
    await before.set('item', Buffer.from('x'));
    await before.close();
    await end(daemon);
    await bus.keyring({ unlock: false });
    const after = await openSecretService(here, { as99designs: 'shared' });
    expect(Buffer.from((await after.get('item')) ?? []).toString()).toBe('x');
    await after.close();
  });

  test.each(['locked', 'absent'] as const)(
    'a process that started while the Secret Service was %s finds the key once it is unlocked',
    async (status) => {
      const bus = await privateBus({ home: await lockedHome(), services: {} });
      const { keys } = await keysOn(bus.variables);
      const before = status === 'locked' ? await bus.keyring({ unlock: false }) : undefined;
      expect(await keys.reachable().next()).toMatchObject({ done: true });
      expect(keys.reports()[0]).toMatchObject({ id: 'secret-service', status });
      if (before !== undefined) await end(before);
      await bus.keyring({ unlock: true });
      await expect
        .poll(async () => (await keys.reachable().next()).value?.keyringId, {
          timeout: 30_000,
          interval: 200,
        })
        .toBe('secret-service');
      await keys.close();
    },
  );

  test('prefers the file to a collection that ends with the session, and says why', async () => {
    const home = await temporaryDirectory();
    await mkdir(join(home, '.local/share/keyrings'), { recursive: true, mode: 0o700 });
    await writeFile(join(home, '.local/share/keyrings/default'), 'session');
    const bus = await privateBus({ home });
    await bus.keyring({ unlock: false });
    const { here, keys } = await keysOn(bus.variables);
    const keyring = await openSecretService(here);
    expect(await keyring.probe()).toEqual({ status: 'usable', lifetime: 'session' });
    await keyring.set('sealing-key', Buffer.from(Buffer.alloc(32, 7).toString('base64url')));
    await keyring.close();
    const { key, keyringId } = await keys.strongest();
    expect(keyringId).toBe('file');
    expect(keys.reports()[0]).toMatchObject({
      outcome: 'passed-over',
      reason: 'What it holds lasts until the login session ends.',
      hint: expect.stringContaining('--keyring secret-service'),
    });
    // A record that was sealed under that collection still opens.
    const reachable = [];
    for await (const one of keys.reachable()) reachable.push(one);
    expect(reachable).toMatchObject([{ keyringId: 'file', key }, { keyringId: 'secret-service' }]);
    await keys.close();
  });

  test('names the locked collection, since others may be open', async () => {
    const bus = await privateBus();
    const daemon = await bus.keyring({ unlock: true });
    await makeCollection(bus.variables, { label: 'Ours "one"', password: 'secret' });
    const { here, keys } = await keysOn(bus.variables);
    await keys.strongest();
    await keys.close();
    await end(daemon);
    await bus.keyring({ unlock: true });
    const keyring = await openSecretService(here);
    const reason = 'The Secret Service is locked (collection "Ours \\"one\\"").';
    expect(await keyring.probe()).toMatchObject({ status: 'locked', reason });
    await expect(keyring.get('sealing-key')).rejects.toThrow(reason);
    await keyring.close();
  });

  test.skipIf(NO_DISPLAY)(
    'reports a locked collection as locked even if it could show a prompt',
    async () => {
      const variables = { DISPLAY: await startDisplay() };
      const bus = await privateBus({ home: await lockedHome(), variables });
      await bus.keyring({ unlock: false });
      const { here, keys } = await keysOn(bus.variables);
      const keyring = await openSecretService(here);
      expect(await keyring.probe()).toMatchObject({ status: 'locked' });
      await expect(keyring.get('sealing-key')).rejects.toThrow(KeyringLockedError);
      await expect(keyring.set('sealing-key', Buffer.from('x'))).rejects.toThrow(KeyringLockedError);
      await expect(keyring.delete('sealing-key')).rejects.toThrow(KeyringLockedError);
      await keyring.close();
      expect(await keys.strongest()).toMatchObject({ keyringId: 'file' });
      await keys.close();
      const { out } = await holdfast(['doctor'], {
        ...bus.variables,
        HOLDFAST_HOME: (await temporaryHome()).path,
      }).ended;
      expect(out).toContain('secret-service is passed over (locked)');
    },
  );

  test('waits for a service that the bus has to start', async () => {
    const start = '/usr/bin/gnome-keyring-daemon --foreground --components=secrets';
    const home = await lockedHome();
    const bus = await privateBus({ home, services: { 'org.freedesktop.secrets': start } });
    const { here } = await keysOn(bus.variables);
    const keyring = await openSecretService(here);
    expect(await keyring.probe()).toMatchObject({ status: 'locked' });
    await keyring.close();
  });

  test.skipIf(NO_KWALLET)(
    'reports a service that cannot start without a display as absent, and says why',
    async () => {
      const bus = await privateBus({ services: { 'org.freedesktop.secrets': '/usr/bin/kwalletd5' } });
      const { here } = await keysOn(bus.variables);
      const keyring = await openSecretService(here);
      expect(await keyring.probe()).toMatchObject({
        status: 'absent',
        reason: expect.stringContaining('Spawn.ChildSignaled'),
        hint: expect.stringContaining('display'),
      });
      await keyring.close();
    },
  );

  test.skipIf(NO_NAMESPACE)('works in a user namespace, where this user has another number', async () => {
    const bus = await privateBus();
    await bus.keyring({ unlock: true });
    const bin = new URL('../../src/cli/bin.ts', import.meta.url).pathname;
    const command = [process.execPath, ...TYPESCRIPT, bin, 'doctor', '--keyring', 'secret-service'];
    const { path } = await temporaryHome();
    const { out } = await start('bwrap', [...NAMESPACE, ...command], {
      ...bus.variables,
      HOLDFAST_HOME: path,
    }).ended;
    expect(out).toContain('New logins are sealed under a key in secret-service');
  });

  test('one deadline holds for all calls of an operation', async () => {
    const bus = await privateBus();
    await bus.keyring({ unlock: true });
    const address = await slowBus(bus.variables['DBUS_SESSION_BUS_ADDRESS'] ?? '', 1_200);
    const { here } = await keysOn({ ...bus.variables, DBUS_SESSION_BUS_ADDRESS: address });
    const keyring = await openSecretService(here);
    // The probe makes two calls, each well within three seconds.
    expect(await keyring.probe()).toMatchObject({ status: 'usable' });
    // The read makes three calls: is the item there, which collection is it in, is that open.
    await expect(keyring.get('missing')).rejects.toThrow('does not answer');
    await keyring.close();
  });

  test('asks to try again when the bus is too slow, and reports the login as neither absent nor locked', async () => {
    const servers = await startServers();
    onTestFinished(() => servers.stop());
    const bus = await privateBus();
    await bus.keyring({ unlock: true });
    const at = commandLine((await temporaryHome()).path, [servers]);
    expect((await at.run(['login', servers.resource], bus.variables)).err).toContain('secret-service');
    const slow = await slowBus(bus.variables['DBUS_SESSION_BUS_ADDRESS'] ?? '', 3_500);
    const variables = { ...bus.variables, DBUS_SESSION_BUS_ADDRESS: slow };

    const token = await at.run(['token', servers.resource, '--json'], variables);
    expect(token.code).toBe(4);
    const { error } = JSON.parse(token.err);
    expect(error).toMatchObject({ code: 'keyring-broken', retryable: true });
    expect(error.message).toContain('The Secret Service does not answer in time');
    expect(error.hint).toMatch(/^Try again in a moment/);
    const listed = await at.run(['list'], variables);
    expect(listed.err).toContain('Try again in a moment');
    expect(listed.err).not.toContain('--forget');
    const chosen = await at.run(
      ['token', servers.resource, '--json', '--keyring', 'secret-service'],
      variables,
    );
    expect(JSON.parse(chosen.err).error).toMatchObject({ code: 'keyring-broken', retryable: true });
    // No command treated the login as lost.
    expect((await at.run(['logout', '--forget'], variables)).code).not.toBe(0);
    expect((await at.run(['token', servers.resource], bus.variables)).code).toBe(0);
  });

  test.each([
    ['text', Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')],
    ['a message of four gigabytes', Buffer.from('6c02000100000000ffffffffffffffff', 'hex')],
    ['fields that end early', Buffer.from('6c0200010000000001000000040000000501750000000000', 'hex')],
    ['a type that there is none of', Buffer.from('6c02000100000000010000000800000005015a0001000000', 'hex')],
  ])('reports a bus that answers with %s as broken', async (_what, bytes) => {
    const { here } = await keysOn({ DBUS_SESSION_BUS_ADDRESS: await babblingBus(bytes) });
    await expect(openSecretService(here)).rejects.toMatchObject({
      code: 'keyring-broken',
      message: expect.stringContaining('nonsense'),
    });
  });

  test('shares the collection of a program built on 99designs/keyring, and never creates one', async () => {
    const bus = await privateBus();
    await bus.keyring({ unlock: true });
    const { here } = await keysOn(bus.variables);
    const missing = await openSecretService(here, { as99designs: 'docker-agent-oauth' });
    expect(await missing.probe()).toMatchObject({
      status: 'absent',
      reason: expect.stringContaining('docker-agent-oauth'),
    });
    await expect(missing.set('item', Buffer.from('x'))).rejects.toThrow(KeyringAbsentError);
    await missing.close();

    const keyring = await openSecretService(here, { as99designs: 'login' });
    const theirs = '{"Key":"oauth:encryption-key","Data":"aGVsbG8=","Label":"","Description":""}';
    execFileSync(
      'secret-tool',
      ['store', '--label=oauth:encryption-key', 'profile', 'oauth:encryption-key'],
      { env: bus.variables, input: theirs },
    );
    expect(Buffer.from((await keyring.get('oauth:encryption-key')) ?? []).toString()).toBe('hello');
    await keyring.set('ours', Buffer.from('hello'));
    const found = execFileSync('secret-tool', ['lookup', 'profile', 'ours'], {
      env: bus.variables,
      encoding: 'utf8',
    });
    expect(JSON.parse(found)).toMatchObject({ Key: 'ours', Data: 'aGVsbG8=' });
    await keyring.close();
  });

  test('reports a new home without a default collection as absent, and uses the file', async () => {
    const bus = await privateBus();
    await bus.keyring({ unlock: false });
    const { keys } = await keysOn(bus.variables);
    expect(await keys.strongest()).toMatchObject({ keyringId: 'file' });
    expect(keys.problems()[0]).toBeInstanceOf(KeyringAbsentError);
    expect(keys.problems()[0]?.message).toContain('no default collection');
    await keys.close();
  });

  test('reports a bus without the Secret Service as absent', async () => {
    const bus = await privateBus({ services: {} });
    const { keys } = await keysOn(bus.variables);
    expect(await keys.strongest()).toMatchObject({ keyringId: 'file' });
    expect(keys.problems()[0]?.message).toContain('does not run on the session bus');
    await keys.close();
  });

  test.each([
    ['no bus at all', {}],
    ['a bus address where nothing is', { DBUS_SESSION_BUS_ADDRESS: 'unix:path=/nonexistent/bus' }],
  ])('reports %s as absent', async (_what, variables) => {
    const { here } = await keysOn(variables);
    await expect(openSecretService(here)).rejects.toThrow(KeyringAbsentError);
  });

  test('reports a stopped daemon as broken in time, and lets the process end', async () => {
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
      const { code, out } = await holdfast(['doctor'], { ...bus.variables, HOLDFAST_HOME: path }).ended;
      expect(out).toContain('secret-service is passed over (broken)');
      expect(code).toBe(0);
    } finally {
      daemon.kill('SIGCONT');
    }
  });

  test('reports a stopped bus as broken in time', async () => {
    const bus = await privateBus();
    await bus.keyring({ unlock: true });
    const { here } = await keysOn(bus.variables);
    bus.signal('SIGSTOP');
    try {
      await expect(openSecretService(here)).rejects.toThrow(KeyringBrokenError);
      const { path } = await temporaryHome();
      const { code, out } = await holdfast(['doctor'], { ...bus.variables, HOLDFAST_HOME: path }).ended;
      expect(out).toContain('secret-service is passed over (broken)');
      expect(code).toBe(0);
    } finally {
      bus.signal('SIGCONT');
    }
  });

  test('does not report a daemon that dies between two calls as empty', async () => {
    const bus = await privateBus({ services: {} });
    const daemon = await bus.keyring({ unlock: true });
    const { here } = await keysOn(bus.variables);
    const keyring = await openSecretService(here);
    await keyring.set('sealing-key', Buffer.from('x'));
    daemon.kill('SIGKILL');
    await expect(keyring.get('sealing-key')).rejects.toMatchObject({ code: /keyring-(absent|broken)/ });
    await keyring.close();
  });
});
