import { mkdir, readdir, readFile, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  underHeartbeatDirectory,
  underLockDirectory,
  underOwnedDirectory,
  underPidFile,
} from '../../src/system/locks/external-lock.ts';
import { temporaryDirectory } from '../support/homes/home.ts';
import { deadProcess } from '../support/processes/dead-process.ts';

const LONG_AGO = new Date(Date.now() - 3_600_000);

async function age(...paths: readonly string[]): Promise<void> {
  for (const path of paths) await utimes(path, LONG_AGO, LONG_AGO);
}

/** Lists the files in the directory while the step runs, and afterwards. */
async function seen(run: (file: string, step: () => Promise<string[]>) => Promise<string[]>) {
  const directory = await temporaryDirectory();
  const file = join(directory, 'file');
  await writeFile(file, '{}');
  const names = async () => (await readdir(directory, { recursive: true })).toSorted();
  const during = await run(file, names);
  return { during, after: await names() };
}

describe.each([
  [
    'proper-lockfile',
    (file: string, step: () => Promise<unknown>, waitMs: number) =>
      underLockDirectory(`${file}.lock`, { staleMs: 60_000, waitMs }, step),
    (lock: string) => mkdir(lock),
    (lock: string) => age(lock),
  ],
  [
    'Cline',
    (file: string, step: () => Promise<unknown>, waitMs: number) =>
      underOwnedDirectory(`${file}.lock`, { staleMs: 60_000, waitMs }, step),
    async (lock: string) => {
      await mkdir(lock);
      await writeFile(join(lock, 'owner.1.2.3'), '1.2.3');
    },
    (lock: string) => age(lock),
  ],
  [
    'opencode',
    (file: string, step: () => Promise<unknown>, waitMs: number) =>
      underHeartbeatDirectory(`${file}.lock`, { staleMs: 60_000, waitMs }, step),
    async (lock: string) => {
      await mkdir(lock);
      await writeFile(join(lock, 'heartbeat'), '');
      await writeFile(join(lock, 'meta.json'), '{"token":"theirs","pid":1,"hostname":"h","createdAt":""}');
    },
    (lock: string) => age(join(lock, 'heartbeat')),
  ],
  [
    'mcporter',
    (file: string, step: () => Promise<unknown>, waitMs: number) => underPidFile(file, { waitMs }, step),
    (lock: string) => writeFile(lock, `${process.pid}\n2026-01-01T00:00:00.000Z\n`),
    async (lock: string) => writeFile(lock, `${await deadProcess()}\n2026-01-01T00:00:00.000Z\n`),
  ],
])('the lock of %s', (_, under, hold, abandon) => {
  test('the lock exists while the step runs, and is gone afterwards, whether the step failed or not', async () => {
    const { during, after } = await seen((file, names) => under(file, names, 1_000) as Promise<string[]>);
    expect(during).toContain('file.lock');
    expect(after).toEqual(['file']);
    const failed = await seen(async (file) => {
      await expect(under(file, () => Promise.reject(new Error('no')), 1_000)).rejects.toThrow('no');
      return [];
    });
    expect(failed.after).toEqual(['file']);
  });

  test('leaves a lock to its live holder, and names it in the error', async () => {
    const { after } = await seen(async (file) => {
      await hold(`${file}.lock`);
      await expect(under(file, () => Promise.reject(new Error('ran')), 200)).rejects.toMatchObject({
        code: 'lock-timeout',
        message: expect.stringContaining('file.lock'),
        hint: expect.stringContaining('End the program'),
      });
      return [];
    });
    expect(after).toContain('file.lock');
  });

  test('takes a lock that was left behind', async () => {
    const { during, after } = await seen(async (file, names) => {
      await hold(`${file}.lock`);
      await abandon(`${file}.lock`);
      return (await under(file, names, 5_000)) as string[];
    });
    expect(during).toContain('file.lock');
    expect(after).toEqual(['file']);
  });

  test('lets one of many callers in at a time', async () => {
    const directory = await temporaryDirectory();
    const file = join(directory, 'file');
    await writeFile(file, '0');
    const add = () =>
      under(
        file,
        async () => {
          const count = Number(await readFile(file, 'utf8'));
          await new Promise((resolve) => setImmediate(resolve));
          await writeFile(file, String(count + 1));
        },
        30_000,
      );
    await Promise.all(Array.from({ length: 20 }, add));
    expect(await readFile(file, 'utf8')).toBe('20');
    expect(await readdir(directory)).toEqual(['file']);
  });
});

describe('the content of a foreign lock', () => {
  test('the lock for Cline is a directory that is never empty', async () => {
    const { during } = await seen((file, names) =>
      underOwnedDirectory(`${file}.lock`, { staleMs: 1_000, waitMs: 1_000 }, names),
    );
    expect(during).toEqual([
      'file',
      'file.lock',
      expect.stringMatching(new RegExp(`^file\\.lock/owner\\.${process.pid}\\.\\d+\\.[0-9a-f-]{36}$`)),
    ]);
  });

  test('the lock for opencode has a heartbeat and names its holder', async () => {
    await seen(async (file) => {
      const lock = `${file}.lock`;
      return underHeartbeatDirectory(lock, { staleMs: 60_000, waitMs: 1_000 }, async () => {
        expect(Date.now() - (await stat(join(lock, 'heartbeat'))).mtimeMs).toBeLessThan(60_000);
        const meta = JSON.parse(await readFile(join(lock, 'meta.json'), 'utf8'));
        expect(meta).toMatchObject({
          pid: process.pid,
          token: expect.any(String),
          hostname: expect.any(String),
        });
        return [];
      });
    });
  });

  test('the lock for mcporter is beside the file that a link leads to', async () => {
    const directory = await temporaryDirectory();
    const elsewhere = await temporaryDirectory();
    await writeFile(join(elsewhere, 'real'), '{}');
    await symlink(join(elsewhere, 'real'), join(directory, 'file'));
    await underPidFile(join(directory, 'file'), { waitMs: 1_000 }, async () => {
      expect(await readdir(elsewhere)).toEqual(['real', 'real.lock']);
      expect(await readFile(join(elsewhere, 'real.lock'), 'utf8')).toMatch(
        new RegExp(`^${process.pid}\n\\d{4}-\\d\\d-\\d\\dT[\\d:.]+Z\n$`),
      );
    });
    expect(await readdir(elsewhere)).toEqual(['real']);
  });
});

describe('a lock that another process has taken for left behind', () => {
  test('does not remove a lock that another process has taken over', async () => {
    const directory = await temporaryDirectory();
    const file = join(directory, 'file');
    const lock = `${file}.lock`;
    await writeFile(file, '{}');
    const theirs = `${process.ppid}\n2026-01-01T00:00:00.000Z\n`;
    await underPidFile(file, { waitMs: 1_000 }, () => writeFile(lock, theirs));
    expect(await readFile(lock, 'utf8')).toBe(theirs);
    const heartbeat = join(directory, 'other.lock');
    await underHeartbeatDirectory(heartbeat, { staleMs: 60_000, waitMs: 1_000 }, () =>
      writeFile(join(heartbeat, 'meta.json'), '{"token":"theirs"}'),
    );
    expect(await readdir(heartbeat)).toContain('meta.json');
  });
});
