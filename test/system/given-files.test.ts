import { execFileSync, spawn } from 'node:child_process';
import { chmod, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { StorageUnreadableError, StorageUnsafeError } from '../../src/errors.ts';
import { readPassphrase } from '../../src/keyring/file/passphrase.ts';
import { readGivenFile } from '../../src/system/files/given-file.ts';
import { readSecret } from '../../src/system/files/secret-file.ts';
import { temporaryDirectory, temporaryHome } from '../support/homes/home.ts';

const bounded = { maxBytes: 100 };

describe.skipIf(process.platform === 'win32')('a file that somebody else names', () => {
  async function fifo(): Promise<string> {
    const path = join(await temporaryDirectory(), 'fifo');
    execFileSync('mkfifo', ['-m', '600', path]);
    return path;
  }

  test('does not wait for a pipe that nobody writes to', async () => {
    expect(String(await readGivenFile(await fifo(), bounded))).toBe('');
    await expect(readGivenFile(await fifo(), { ...bounded, pipes: false })).rejects.toThrow(/is a pipe/);
  });

  test('reads a pipe to its end, as <(command) makes one', async () => {
    const path = await fifo();
    const writer = spawn('sh', [
      '-c',
      'exec 3<>"$0"; echo ready; printf one >&3; sleep 0.2; printf two >&3',
      path,
    ]);
    onTestFinished(() => void writer.kill('SIGKILL'));
    await new Promise((ready) => writer.stdout.once('data', ready));
    expect(String(await readGivenFile(path, bounded))).toBe('onetwo');
  });

  test('names the kind of a given path that is a directory, a device or a socket', async () => {
    const directory = await temporaryDirectory();
    const says = { ...bounded, says: 'THE_VARIABLE' };
    await expect(readGivenFile(directory, says)).rejects.toThrow(
      /^THE_VARIABLE names .*, which is a directory/,
    );
    await expect(readGivenFile('/dev/zero', says)).rejects.toThrow(/is a device/);
    const server = createServer();
    await new Promise<void>((listening) => server.listen(join(directory, 'socket'), listening));
    onTestFinished(() => void server.close());
    await expect(readGivenFile(join(directory, 'socket'), says)).rejects.toThrow(/is a socket/);
    await expect(readGivenFile(join(directory, 'socket'), says)).rejects.toBeInstanceOf(
      StorageUnreadableError,
    );
  });
});

describe.skipIf(process.platform === 'win32' || process.getuid?.() === undefined)(
  'the file modes that are allowed for each secret',
  () => {
    const ways = {
      HOLDFAST_PASSPHRASE_FILE: async (file: string) => {
        const { layout, environment } = await temporaryHome();
        await readPassphrase(layout, { ...environment, variables: { HOLDFAST_PASSPHRASE_FILE: file } });
      },
      $CREDENTIALS_DIRECTORY: async (file: string) => {
        const { layout, environment } = await temporaryHome();
        const variables = { CREDENTIALS_DIRECTORY: join(file, '..') };
        await readPassphrase(layout, { ...environment, variables });
      },
      'a client secret or token': async (file: string) => {
        await readSecret({ file }, (await temporaryHome()).environment);
      },
    };
    const cases = Object.entries(ways).flatMap(([name, read]) =>
      (
        [
          [0o600, true],
          [0o400, true],
          [0o640, true],
          [0o644, false],
          [0o620, false],
          [0o602, false],
          [0o666, false],
        ] as const
      ).map(([mode, good]) => ({
        name,
        read,
        mode,
        octal: mode.toString(8),
        good,
        verb: good ? 'takes' : 'refuses',
      })),
    );
    test.each(cases)('$name $verb mode $octal of one’s own file', async ({ read, mode, good }) => {
      const file = join(await temporaryDirectory(), 'holdfast-passphrase');
      await writeFile(file, 'secret\n');
      await chmod(file, mode);
      if (good) await read(file);
      else await expect(read(file)).rejects.toBeInstanceOf(StorageUnsafeError);
    });
  },
);
