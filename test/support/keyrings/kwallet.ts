import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { connectBus, deadlineIn } from '../../../src/system/dbus/connection.ts';
import { installed, requirement } from '../requirement.ts';
import { type Bus, end, untilOwned } from './secret-service.ts';

export const NO_KWALLET = requirement(
  'kwalletd5, kwallet-query or dbus-daemon is not installed',
  installed('kwalletd5') && installed('kwallet-query') && installed('dbus-daemon'),
);

/** Makes Qt draw off screen, on a machine without a display. */
const OFFSCREEN = { QT_QPA_PLATFORM: 'offscreen' };

/** Settings under which KWallet never asks which wallet to create or whether a program may use one. */
const SETTINGS = {
  'First Use': 'false',
  'Prompt on Open': 'false',
  'Launch Manager': 'false',
  'Close When Idle': 'false',
  'Leave Open': 'true',
};

export async function writeKWalletSettings(
  bus: Bus,
  wallet: Readonly<Record<string, string>> = {},
  allowed: Readonly<Record<string, string>> = {},
): Promise<void> {
  const group = (name: string, values: object) =>
    [`[${name}]`, ...Object.entries(values).map(([key, value]) => `${key}=${value}`), ''].join('\n');
  await mkdir(join(bus.home, '.config'), { recursive: true });
  await writeFile(
    join(bus.home, '.config', 'kwalletrc'),
    group('Wallet', { ...SETTINGS, ...wallet }) + group('Auto Allow', allowed),
  );
}

/** Starts a real kwalletd5 on the bus, and opens the wallets as a desktop login does. */
export async function startKWallet(bus: Bus, wallets: readonly string[]): Promise<ChildProcess> {
  const daemon = spawn('kwalletd5', [], { env: { ...bus.variables, ...OFFSCREEN }, stdio: 'ignore' });
  onTestFinished(() => end(daemon));
  await untilOwned('org.kde.kwalletd5', bus.variables);
  for (const wallet of wallets) await callKWallet(bus, 'pamOpen', 'sayi', wallet, Buffer.alloc(56, 1), 0);
  return daemon;
}

export async function callKWallet(
  bus: Bus,
  member: string,
  signature: string,
  ...body: unknown[]
): Promise<unknown> {
  const connection = await connectBus(bus.variables['DBUS_SESSION_BUS_ADDRESS'] ?? '', deadlineIn(10_000));
  try {
    const at = { destination: 'org.kde.kwalletd5', path: '/modules/kwalletd5', interface: 'org.kde.KWallet' };
    return (await connection.call({ ...at, member, signature, body }, deadlineIn(10_000)))[0];
  } finally {
    connection.close();
  }
}

/** Runs KDE's own tool in Holdfast's folder. */
export function kwalletQuery(bus: Bus, args: readonly string[], input = ''): string {
  return execFileSync('kwallet-query', ['--folder', 'Holdfast', ...args, 'kdewallet'], {
    env: { ...bus.variables, ...OFFSCREEN },
    encoding: 'utf8',
    input,
    stdio: ['pipe', 'pipe', 'ignore'],
  });
}
