import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import { AbortedError, LockTimeoutError } from '../../src/errors.ts';
import { acquireLock } from '../../src/system/lock.ts';
import { temporaryHome } from '../support/home.ts';

const HOLDER = fileURLToPath(new URL('../support/lock-holder.ts', import.meta.url));

async function lockPath(): Promise<string> {
  const { path } = await temporaryHome();
  await mkdir(path, { mode: 0o700 });
  return join(path, 'a.lock');
}

async function holderOf(path: string): Promise<ChildProcess> {
  const child = spawn(process.execPath, ['--import', 'tsx', HOLDER, path], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  onTestFinished(() => {
    child.kill('SIGKILL');
  });
  await once(child.stdout, 'data');
  return child;
}

describe('the lock', () => {
  it('lets one caller of a process in at a time, in the order they came', async () => {
    const path = await lockPath();
    const order: number[] = [];
    let inside = 0;
    await Promise.all(
      Array.from({ length: 50 }, async (_, index) => {
        const lock = await acquireLock(path, { waitMs: 30_000 });
        inside += 1;
        expect(inside).toBe(1);
        order.push(index);
        await new Promise((resolve) => setImmediate(resolve));
        inside -= 1;
        await lock.release();
      }),
    );
    expect(order).toEqual(Array.from({ length: 50 }, (_, index) => index));
  });

  it('is not taken from a living process, even one that is stopped', async () => {
    const path = await lockPath();
    const holder = await holderOf(path);
    holder.kill('SIGSTOP');
    await expect(acquireLock(path, { waitMs: 200 })).rejects.toThrow(LockTimeoutError);
  });

  it('is free as soon as its holder is killed', async () => {
    const path = await lockPath();
    const holder = await holderOf(path);
    const waiting = acquireLock(path, { waitMs: 30_000 });
    holder.kill('SIGKILL');
    await (await waiting).release();
  });

  it('lets those behind through when one in the queue gives up', async () => {
    const path = await lockPath();
    const first = await acquireLock(path, { waitMs: 0 });
    const abort = new AbortController();
    const second = acquireLock(path, { waitMs: 30_000, signal: abort.signal });
    const third = acquireLock(path, { waitMs: 30_000 });
    abort.abort();
    await expect(second).rejects.toThrow(AbortedError);
    await first.release();
    await (await third).release();
  });

  it('keeps those behind out when one in the queue gives up', async () => {
    const path = await lockPath();
    const first = await acquireLock(path, { waitMs: 0 });
    await expect(acquireLock(path, { waitMs: 20 })).rejects.toThrow(LockTimeoutError);
    await expect(acquireLock(path, { waitMs: 20 })).rejects.toThrow(LockTimeoutError);
    await first.release();
    await (await acquireLock(path, { waitMs: 0 })).release();
  });

  it('is taken on the file that has the name now, when someone removed the old one', async () => {
    const path = await lockPath();
    await (await acquireLock(path, { waitMs: 0 })).release();
    await unlink(path);
    const again = await acquireLock(path, { waitMs: 0 });
    await expect(acquireLock(path, { waitMs: 20 })).rejects.toThrow(LockTimeoutError);
    await again.release();
    await again.release();
  });
});
