import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { openSecretService } from '../../../src/keyring/native/secret-service.ts';
import { processEnvironment } from '../../../src/system/environment.ts';
import { sleep } from '../../../src/system/locks/keyed-mutex.ts';
import { temporaryDirectory } from '../homes/home.ts';
import { installed, requirement } from '../requirement.ts';
import { end, privateBus, untilOwned } from './secret-service.ts';

export const NO_KEEPASSXC = requirement(
  'keepassxc, dbus-daemon or secret-tool is not installed',
  ['keepassxc', 'keepassxc-cli', 'dbus-daemon', 'secret-tool'].every(installed),
);

const PASSWORD = 'a password';

export interface KeePassXC {
  readonly variables: Readonly<Record<string, string>>;
  /** Stores a secret as any program does by libsecret, which answers prompts that show no window. */
  store(attributes: Readonly<Record<string, string>>, secret: string): void;
  /** Titles of all entries in its database, read after it has ended. */
  entries(): Promise<string[]>;
}

/**
 * Starts a real KeePassXC as the Secret Service of its own bus, with an unlocked database.
 *
 * @param options.confirms whether it asks a person before it shows an item to a program that did not create it, as it
 *   does by default
 */
export async function keepassxc({ confirms }: { confirms: boolean }): Promise<KeePassXC> {
  const bus = await privateBus({ services: {} });
  const { home } = bus;
  const temporary = await temporaryDirectory();
  const variables = { ...bus.variables, QT_QPA_PLATFORM: 'offscreen', TMPDIR: temporary };
  const cli = (args: readonly string[], input: string) => {
    const { status, stdout, stderr } = spawnSync('keepassxc-cli', args, {
      env: variables,
      input,
      encoding: 'utf8',
    });
    if (status !== 0) throw new Error(`keepassxc-cli failed: ${stderr}`);
    return stdout;
  };
  await mkdir(join(home, '.config/keepassxc'), { recursive: true });
  await writeFile(
    join(home, '.config/keepassxc/keepassxc.ini'),
    `[General]\nUpdateCheckMessageShown=true\n[GUI]\nCheckForUpdates=false\n[FdoSecrets]\nEnabled=true\nShowNotification=false\nConfirmAccessItem=${confirms}\n`,
  );
  const database = join(home, 'passwords.kdbx');
  await writeFile(join(home, 'empty.xml'), emptyDatabase());
  const twice = `${PASSWORD}\n${PASSWORD}\n`;
  cli(['import', '-q', '-t', '100', '-p', join(home, 'empty.xml'), database], twice);

  const app = spawn('keepassxc', ['--pw-stdin', database], {
    env: variables,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  onTestFinished(() => end(app));
  app.stdin.end(`${PASSWORD}\n`);
  await untilOwned('org.freedesktop.secrets', variables);
  await untilUnlocked(variables);
  return {
    variables,
    store: (attributes, secret) => {
      const args = ['store', '--label=made elsewhere', ...Object.entries(attributes).flat()];
      const { status, stderr } = spawnSync('secret-tool', args, {
        env: variables,
        input: secret,
        encoding: 'utf8',
        timeout: 20_000,
      });
      if (status !== 0) throw new Error(`secret-tool failed: ${stderr}`);
    },
    entries: async () => {
      await end(app, 'SIGTERM');
      return cli(['ls', '-q', '-R', '-f', database], `${PASSWORD}\n`)
        .split('\n')
        .filter((line) => line !== '' && !line.endsWith('[empty]'));
    },
  };
}

async function untilUnlocked(variables: Readonly<Record<string, string>>): Promise<void> {
  const environment = { ...processEnvironment(), variables };
  for (let tries = 0; tries < 200; tries += 1) {
    const keyring = await openSecretService(environment);
    const state = await keyring.probe();
    await keyring.close();
    if (state.status === 'usable') return;
    await sleep(50);
  }
  throw new Error('KeePassXC did not unlock its database.');
}

/** Shows the root group as the collection, a setting that only the program's own window can change. */
function emptyDatabase(): string {
  const bytes = randomBytes(16);
  const hex = bytes.toString('hex');
  const uuid = hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '{$1-$2-$3-$4-$5}');
  return `<?xml version="1.0" encoding="UTF-8"?>
<KeePassFile><Meta><Generator>test</Generator><DatabaseName>Passwords</DatabaseName>
<CustomData><Item><Key>FDO_SECRETS_EXPOSED_GROUP</Key><Value>${uuid}</Value></Item></CustomData></Meta>
<Root><Group><UUID>${bytes.toString('base64')}</UUID><Name>Root</Name></Group></Root></KeePassFile>`;
}
