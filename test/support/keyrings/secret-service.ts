import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { onTestFinished } from 'vitest';
import { connectBus, deadlineIn } from '../../../src/system/dbus/connection.ts';
import { Variant } from '../../../src/system/dbus/value.ts';
import { temporaryDirectory } from '../homes/home.ts';
import { installed, requirement } from '../requirement.ts';

export const NO_SECRET_SERVICE = requirement(
  'gnome-keyring-daemon, dbus-daemon or secret-tool is not installed',
  installed('gnome-keyring-daemon') && installed('dbus-daemon') && installed('secret-tool'),
);

export interface Bus {
  readonly home: string;
  readonly variables: Readonly<Record<string, string>>;
  /** Starts a real gnome-keyring on the bus, over the keyrings of the bus's home. */
  keyring(options: { unlock: boolean }): Promise<ChildProcess>;
  /** Stops the bus daemon, or lets it continue. */
  signal(signal: NodeJS.Signals): void;
}

/**
 * Starts a session bus with its own home; both end with the test.
 *
 * @param options.services services the bus may start: the command by bus name. By default, this machine's services.
 */
export async function privateBus(
  options: {
    home?: string;
    services?: Readonly<Record<string, string>>;
    variables?: Readonly<Record<string, string>>;
  } = {},
): Promise<Bus> {
  const home = options.home ?? (await temporaryDirectory());
  const runtime = await temporaryDirectory();
  const config = ['--config-file', await busConfig(runtime, options.services)];
  const daemon = spawn('dbus-daemon', ['--nofork', '--print-address', '1', ...config], {
    env: { PATH: process.env['PATH'] ?? '', HOME: home, XDG_RUNTIME_DIR: runtime, ...options.variables },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  onTestFinished(() => end(daemon));
  let address = '';
  for await (const line of createInterface({ input: daemon.stdout })) {
    address = line;
    break;
  }
  const variables = {
    HOME: home,
    XDG_RUNTIME_DIR: runtime,
    DBUS_SESSION_BUS_ADDRESS: address,
    PATH: process.env['PATH'] ?? '',
    ...options.variables,
  };
  return {
    home,
    variables,
    signal: (signal) => void daemon.kill(signal),
    keyring: async ({ unlock }) => {
      const args = ['--foreground', '--components=secrets', ...(unlock ? ['--unlock'] : [])];
      const keyring = spawn('gnome-keyring-daemon', args, {
        env: variables,
        stdio: ['pipe', 'ignore', 'ignore'],
      });
      onTestFinished(() => end(keyring));
      keyring.stdin.end(unlock ? 'a password' : '');
      await untilOwned('org.freedesktop.secrets', variables);
      return keyring;
    },
  };
}

/** Waits until the service is on the bus. */
export async function untilOwned(name: string, env: Readonly<Record<string, string>>): Promise<void> {
  for (let tries = 0; tries < 100; tries += 1) {
    try {
      const answer = execFileSync(
        'dbus-send',
        [
          '--session',
          '--print-reply',
          '--dest=org.freedesktop.DBus',
          '/',
          'org.freedesktop.DBus.GetNameOwner',
          `string:${name}`,
        ],
        { env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
      );
      if (answer.includes('string')) return;
    } catch {
      // Nobody owns the name yet.
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${name} did not come to the bus`);
}

/**
 * Creates a collection with that password in the bus's gnome-keyring, and makes it the default. An automatic desktop
 * login has a blank password.
 */
export async function makeCollection(
  variables: Readonly<Record<string, string>>,
  { label, password }: { label: string; password: string },
): Promise<void> {
  const bus = await connectBus(variables['DBUS_SESSION_BUS_ADDRESS'] ?? '', deadlineIn(10_000));
  const call = (of: string, member: string, signature: string, body: readonly unknown[]) =>
    bus.call(
      {
        destination: 'org.freedesktop.secrets',
        path: '/org/freedesktop/secrets',
        interface: of,
        member,
        signature,
        body,
      },
      deadlineIn(10_000),
    );
  const service = 'org.freedesktop.Secret.Service';
  const [, session] = await call(service, 'OpenSession', 'sv', ['plain', new Variant('s', '')]);
  const [made] = await call(
    'org.gnome.keyring.InternalUnsupportedGuiltRiddenInterface',
    'CreateWithMasterPassword',
    'a{sv}(oayays)',
    [
      { 'org.freedesktop.Secret.Collection.Label': new Variant('s', label) },
      [session, Buffer.alloc(0), Buffer.from(password), 'text/plain'],
    ],
  );
  await call(service, 'SetAlias', 'so', ['default', made]);
  bus.close();
}

/**
 * Configures the bus like a session's, except for its socket, which the daemon would leave in the temporary directory.
 */
async function busConfig(
  directory: string,
  services: Readonly<Record<string, string>> | undefined,
): Promise<string> {
  for (const [name, command] of Object.entries(services ?? {})) {
    const text = `[D-BUS Service]\nName=${name}\nExec=${command}\n`;
    await writeFile(join(directory, `${name}.service`), text);
  }
  const startable =
    services === undefined ? '<standard_session_servicedirs/>' : `<servicedir>${directory}</servicedir>`;
  const path = join(directory, 'bus.conf');
  await writeFile(
    path,
    `<busconfig><type>session</type><listen>unix:tmpdir=${directory}</listen>${startable}<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`,
  );
  return path;
}

export async function end(child: ChildProcess, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill(signal);
  await once(child, 'exit');
}
