import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { onTestFinished } from 'vitest';
import { temporaryDirectory } from './home.ts';
import { installed, requirement } from './requirement.ts';

export const NO_SECRET_SERVICE = requirement(
  'gnome-keyring-daemon, dbus-daemon or secret-tool is not installed',
  installed('gnome-keyring-daemon') && installed('dbus-daemon') && installed('secret-tool'),
);

export interface Bus {
  readonly variables: Readonly<Record<string, string>>;
  /** Starts a real gnome-keyring on the bus, over the keyrings of the bus's home. */
  keyring(options: { unlock: boolean }): Promise<ChildProcess>;
  /** Stops the bus daemon itself from answering, or lets it go on. */
  signal(signal: NodeJS.Signals): void;
}

/** A session bus of its own, with a home of its own; both end with the test. */
export async function privateBus(options: { home?: string; services?: boolean } = {}): Promise<Bus> {
  const home = options.home ?? (await temporaryDirectory());
  const runtime = await temporaryDirectory();
  const config =
    options.services === false ? ['--config-file', await configWithoutServices(runtime)] : ['--session'];
  const daemon = spawn('dbus-daemon', ['--nofork', '--print-address', '1', ...config], {
    env: { PATH: process.env['PATH'] ?? '', HOME: home, XDG_RUNTIME_DIR: runtime },
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
  };
  return {
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
      await untilOwned(variables);
      return keyring;
    },
  };
}

/** Waits until the service is on the bus and has made its collections. */
async function untilOwned(env: Readonly<Record<string, string>>): Promise<void> {
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
          'string:org.freedesktop.secrets',
        ],
        { env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
      );
      if (answer.includes('string')) return;
    } catch {
      // Not yet.
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error('gnome-keyring-daemon did not take its name on the bus');
}

async function configWithoutServices(directory: string): Promise<string> {
  const path = join(directory, 'bus.conf');
  await writeFile(
    path,
    `<busconfig><type>session</type><listen>unix:tmpdir=${directory}</listen><policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`,
  );
  return path;
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}
