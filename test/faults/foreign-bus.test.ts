import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmod, chown, lchown, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { connectBus, deadlineIn } from '../../src/system/dbus/connection.ts';
import { isGuarded } from '../../src/system/network/unix-peer.ts';
import { bundled } from '../support/homes/bundle.ts';
import { temporaryDirectory } from '../support/homes/home.ts';
import { NOT_ROOT } from '../support/keyrings/keyctl.ts';
import { end, NO_SECRET_SERVICE, untilOwned } from '../support/keyrings/secret-service.ts';
import { type Ended, start } from '../support/processes/process.ts';

/*
 * The session bus of a session that has ended: its address is still in the environment, and another user listens there.
 * Everything is real: dbus-daemon and gnome-keyring as that user, and the command as its victim.
 */

/** Debian's www-data. gnome-keyring runs only as a user with a name. */
const VICTIM = 33;
const ATTACKER = 65_534;

let directory: string;
let cli: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'holdfast-test-'));
  await chmod(directory, 0o755);
  cli = await bundled(directory, 'holdfast', new URL('../../src/cli/bin.ts', import.meta.url));
});
afterAll(() => rm(directory, { recursive: true }));

async function homeOf(uid: number): Promise<string> {
  const home = await mkdtemp(join(directory, 'home-'));
  await chown(home, uid, uid);
  await chmod(home, 0o755);
  return home;
}

function asUser(uid: number): string[] {
  return [`--reuid=${uid}`, `--regid=${uid}`, '--clear-groups'];
}

interface ForeignBus {
  readonly address: string;
  /** The Secret Service's items of Holdfast on that bus, as secret-tool shows them to the bus's owner. */
  has(): string;
}

/** A bus of that user that admits everybody and has an open keyring. */
async function busOf(uid: number, listen: (home: string) => string): Promise<ForeignBus> {
  const home = await homeOf(uid);
  const config = join(home, 'bus.conf');
  await writeFile(
    config,
    `<busconfig><type>session</type><listen>${listen(home)}</listen><auth>EXTERNAL</auth><policy context="default"><allow user="*"/><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`,
  );
  const env = { PATH: process.env['PATH'] ?? '', HOME: home, XDG_RUNTIME_DIR: home };
  const args = ['dbus-daemon', '--nofork', '--print-address', '1', `--config-file=${config}`];
  const daemon = spawn('setpriv', [...asUser(uid), ...args], {
    env,
    cwd: home,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  onTestFinished(() => end(daemon));
  const [address] = (await once(createInterface({ input: daemon.stdout }), 'line')) as [string];
  const variables = { ...env, DBUS_SESSION_BUS_ADDRESS: address };
  const service = ['gnome-keyring-daemon', '--foreground', '--components=secrets', '--unlock'];
  const keyring = spawn('setpriv', [...asUser(uid), ...service], {
    env: variables,
    cwd: home,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  onTestFinished(() => end(keyring));
  keyring.stdin.end('a password');
  await untilOwned('org.freedesktop.secrets', variables);
  return {
    address,
    has: () => {
      const search = ['secret-tool', 'search', '--all', 'service', 'holdfast'];
      const found = spawnSync('setpriv', [...asUser(uid), ...search], {
        env: variables,
        cwd: home,
        encoding: 'utf8',
      });
      return found.stdout;
    },
  };
}

/** Runs a command as that user with that bus. It seals a new record, so it needs a sealing key. */
async function seal(uid: number, address: string): Promise<{ sealed: Ended; doctor: Ended }> {
  const variables = { HOME: await homeOf(uid), DBUS_SESSION_BUS_ADDRESS: address };
  const run = (...args: string[]) =>
    start('setpriv', [...asUser(uid), process.execPath, cli, ...args], variables).ended;
  return { sealed: await run('receive', '--later'), doctor: await run('doctor') };
}

describe.skipIf(NOT_ROOT ?? NO_SECRET_SERVICE)('the session bus of another user', () => {
  test.each([
    ['at a path', (home: string) => `unix:path=${home}/bus`],
    ['at an abstract name', () => `unix:abstract=/holdfast-test/${process.pid}-${Date.now()}`],
  ])('a foreign bus %s gets no sealing key, and doctor says whose bus it is', async (_where, listen) => {
    const bus = await busOf(ATTACKER, listen);
    const { sealed, doctor } = await seal(VICTIM, bus.address);
    expect(sealed.code).toBe(0);
    expect(bus.has()).toBe('');
    expect(doctor.out).toMatch(/secret-service.*belongs to user 65534, not to you \(33\)/s);
    // The control: the refused bus works for its owner.
    const owner = await seal(ATTACKER, bus.address);
    expect(owner.sealed.code).toBe(0);
    expect(bus.has()).toContain('Holdfast sealing-key');
  });

  test('refuses a foreign bus even if its link or directory belongs to the victim', async () => {
    const bus = await busOf(ATTACKER, (home) => `unix:path=${home}/bus`);
    const path = /path=([^,]*)/.exec(bus.address)?.[1] ?? '';
    const link = join(await homeOf(VICTIM), 'bus');
    await symlink(path, link);
    await lchown(link, VICTIM, VICTIM);
    const { sealed } = await seal(VICTIM, `unix:path=${link}`);
    expect(sealed.code).toBe(0);
    expect(bus.has()).toBe('');
  });

  test('refuses another user’s link to its own bus, since the link may change', async () => {
    const bus = await busOf(VICTIM, (home) => `unix:path=${home}/bus`);
    const path = /path=([^,]*)/.exec(bus.address)?.[1] ?? '';
    const link = join(await homeOf(ATTACKER), 'bus');
    await symlink(path, link);
    await lchown(link, ATTACKER, ATTACKER);
    const { doctor } = await seal(VICTIM, `unix:path=${link}`);
    expect(doctor.out).toContain('belongs to user 65534, not to you (33)');
    expect(bus.has()).toBe('');
  });

  test('skips a foreign bus for the next address, which is the user’s own', async () => {
    const foreign = await busOf(ATTACKER, (home) => `unix:path=${home}/bus`);
    const own = await busOf(VICTIM, () => `unix:abstract=/holdfast-test/own-${process.pid}-${Date.now()}`);
    await seal(VICTIM, `${foreign.address};${own.address}`);
    expect(foreign.has()).toBe('');
    expect(own.has()).toContain('Holdfast sealing-key');
  });

  test('trusts a bus of root', async () => {
    const bus = await busOf(0, (home) => `unix:path=${home}/bus`);
    const { doctor } = await seal(VICTIM, bus.address);
    expect(doctor.out).toContain('sealed under a key in secret-service');
  });

  test('root refuses a foreign bus too, although root may connect to it', async () => {
    const bus = await busOf(ATTACKER, (home) => `unix:path=${home}/bus`);
    await expect(connectBus(bus.address, deadlineIn(5_000))).rejects.toMatchObject({ errorName: 'foreign' });
  });
});

describe.skipIf(NOT_ROOT)('a path that only this user and root can change', () => {
  test('a path counts as guarded only if nobody else may write to a directory above it', async () => {
    expect(isGuarded('/etc/passwd', VICTIM)).toBe(true);
    const inside = join(await temporaryDirectory(), 'inside');
    await mkdir(inside, { mode: 0o700 });
    // Everybody may write to the temporary directory far above it.
    expect(isGuarded(inside, 0)).toBe(false);
  });
});
