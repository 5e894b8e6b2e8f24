import { spawn } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, expect, onTestFinished, test } from 'vitest';
import { BusError, canBeStarted, connectBus, deadlineIn } from '../../src/system/dbus/connection.ts';
import { temporaryDirectory } from '../support/homes/home.ts';
import { end } from '../support/keyrings/secret-service.ts';
import { babblingBus } from '../support/keyrings/slow-bus.ts';
import { installed, requirement } from '../support/requirement.ts';

const NO_DBUS = requirement('dbus-daemon is not installed', installed('dbus-daemon'));

/** Starts a real bus at that address. @returns the address that the bus prints */
async function busAt(address: string): Promise<string> {
  const args = ['--session', '--nofork', '--print-address=1', `--address=${address}`];
  const daemon = spawn('dbus-daemon', args, { stdio: ['ignore', 'pipe', 'ignore'] });
  onTestFinished(() => end(daemon));
  for await (const line of createInterface({ input: daemon.stdout })) return line;
  throw new Error('dbus-daemon did not start');
}

async function reaches(address: string): Promise<boolean> {
  const bus = await connectBus(address, deadlineIn(5_000));
  try {
    return !(await canBeStarted(bus, 'org.example.Nothing', deadlineIn(5_000)));
  } finally {
    bus.close();
  }
}

describe.skipIf(NO_DBUS)('the address of a bus', () => {
  test('reads an address whose path has escaped characters', async () => {
    const directory = join(await temporaryDirectory(), 'with space, ünd;more');
    await mkdir(directory);
    const escaped = encodeURIComponent(join(directory, 'bus')).replaceAll('%2F', '/');
    expect(await reaches(await busAt(`unix:path=${escaped}`))).toBe(true);
  });

  test('connects to an abstract socket', async () => {
    const name = `/holdfast-test/${process.pid}-${Date.now()}`;
    expect(await reaches(await busAt(`unix:abstract=${name}`))).toBe(true);
  });

  test('connects to the first of several addresses that answers', async () => {
    const directory = await temporaryDirectory();
    const real = await busAt(`unix:path=${join(directory, 'bus')}`);
    const several = `tcp:host=127.0.0.1,port=1;unix:path=${join(directory, 'none')};${real}`;
    expect(await reaches(several)).toBe(true);
  });

  test.each([
    '',
    'tcp:host=127.0.0.1,port=1',
    'autolaunch:',
    'unixexec:path=/bin/false',
    'unix:',
    'nonsense',
  ])('does not connect to an address without a Unix socket: %j', async (address) => {
    await expect(connectBus(address, deadlineIn(5_000))).rejects.toMatchObject({
      errorName: 'disconnected',
    });
  });
});

describe('a connection to a bus', () => {
  test('reports a bus that refuses authentication', async () => {
    const address = await babblingBus(Buffer.alloc(0), 'REJECTED EXTERNAL\r\n');
    await expect(connectBus(address, deadlineIn(5_000))).rejects.toMatchObject({ errorName: 'AuthFailed' });
  });

  test('gives up on a bus that greets with endless text', async () => {
    const address = await babblingBus(Buffer.alloc(0), 'x'.repeat(100_000));
    await expect(connectBus(address, deadlineIn(60_000))).rejects.toThrow(BusError);
  });

  test('a closed connection fails the calls that wait, and those that follow', async () => {
    // The bus admits the client and answers its greeting only, whose serial is 1.
    const hello = Buffer.from('6c0201000000000001000000080000000501750001000000', 'hex');
    const bus = await connectBus(await babblingBus(hello), deadlineIn(5_000));
    const waiting = canBeStarted(bus, 'org.example.Nothing', deadlineIn(60_000));
    bus.close();
    bus.close();
    await expect(waiting).rejects.toMatchObject({ errorName: 'disconnected' });
    await expect(canBeStarted(bus, 'x', deadlineIn(60_000))).rejects.toThrow(BusError);
  });
});
