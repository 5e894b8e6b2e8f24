import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { installed, requirement } from '../../test/support/requirement.ts';
import type { Place } from './place.ts';

export function noSecretService(): string | undefined {
  return requirement(
    'gnome-keyring-daemon, dbus-daemon or dbus-send is not installed',
    ['gnome-keyring-daemon', 'dbus-daemon', 'dbus-send'].every(installed),
  );
}

/** A session bus with a real gnome-keyring, unlocked. What a process needs in its environment to reach it. */
export async function desktop(place: Place): Promise<Readonly<Record<string, string>>> {
  const home = join(place.path, 'desktop');
  await mkdir(home, { mode: 0o700 });
  const config = join(home, 'bus.conf');
  await writeFile(
    config,
    `<busconfig><type>session</type><listen>unix:tmpdir=${home}</listen><policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`,
  );
  const session = { HOME: home, XDG_RUNTIME_DIR: home };
  const bus = daemon(
    place,
    ['dbus-daemon', '--nofork', '--print-address', '1', '--config-file', config],
    session,
  );
  let address = '';
  for await (const line of createInterface({ input: bus.stdout })) {
    address = line;
    break;
  }
  const variables = { ...session, DBUS_SESSION_BUS_ADDRESS: address };
  daemon(
    place,
    ['gnome-keyring-daemon', '--foreground', '--components=secrets', '--unlock'],
    variables,
  ).stdin.end('a password');
  await untilThere('org.freedesktop.secrets', variables);
  return variables;
}

function daemon(place: Place, command: readonly string[], variables: Readonly<Record<string, string>>) {
  // So that it ends with us even when we are killed.
  const keeper = installed('setpriv') ? ['setpriv', '--pdeathsig', 'KILL'] : [];
  const [program = '', ...args] = [...keeper, ...command];
  const child = spawn(program, args, {
    env: { PATH: process.env['PATH'] ?? '', ...variables },
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  child.stdin.on('error', () => {
    // It ended; whoever waits for it on the bus hears of it.
  });
  place.ends(() => end(child));
  return child;
}

async function untilThere(name: string, variables: Readonly<Record<string, string>>): Promise<void> {
  const question = ['--session', '--print-reply', '--dest=org.freedesktop.DBus', '/'];
  const env = { PATH: process.env['PATH'] ?? '', ...variables };
  for (let tries = 0; tries < 200; tries += 1) {
    const args = [...question, 'org.freedesktop.DBus.NameHasOwner', `string:${name}`];
    if (execFileSync('dbus-send', args, { env, encoding: 'utf8' }).includes('boolean true')) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${name} did not come to the bus.`);
}

export async function end(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
}
