import assert from 'node:assert/strict';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { LockTimeoutError } from '../../src/errors.ts';
import { acquireLock } from '../../src/system/locks/lock.ts';
import { describe, startNode, temporaryHome, test } from './machine.ts';

async function lockPath(): Promise<string> {
  const { path } = await temporaryHome();
  await mkdir(path);
  return join(path, 'a.lock');
}

async function holderOf(t: TestContext, path: string) {
  const holder = startNode('lock-holder.mjs', [path]);
  t.after(() => holder.child.kill('SIGKILL'));
  await holder.says('locked');
  return holder;
}

describe('the lock by LockFileEx', () => {
  test('names its own kind', async () => {
    const lock = await acquireLock(await lockPath(), { waitMs: 0 });
    assert.equal(lock.kind, 'lockfileex');
    await lock.release();
  });

  test('lets one caller of a process in at a time, in the order they came', async () => {
    const path = await lockPath();
    const order: number[] = [];
    let inside = 0;
    await Promise.all(
      Array.from({ length: 50 }, async (_, index) => {
        const lock = await acquireLock(path, { waitMs: 30_000 });
        inside += 1;
        assert.equal(inside, 1);
        order.push(index);
        await new Promise((resolve) => setImmediate(resolve));
        inside -= 1;
        await lock.release();
      }),
    );
    assert.deepEqual(
      order,
      Array.from({ length: 50 }, (_, index) => index),
    );
  });

  test('leaves the lock to a live process', async (t) => {
    const path = await lockPath();
    await holderOf(t, path);
    await assert.rejects(acquireLock(path, { waitMs: 200 }), LockTimeoutError);
  });

  test('frees the lock as soon as its holder is killed', async (t) => {
    const path = await lockPath();
    const holder = await holderOf(t, path);
    const waiting = acquireLock(path, { waitMs: 30_000 });
    holder.child.kill('SIGKILL');
    await (await waiting).release();
  });

  test('nobody can remove the lock file while a process holds the lock', async () => {
    const path = await lockPath();
    const lock = await acquireLock(path, { waitMs: 0 });
    await assert.rejects(rm(path), { code: 'EBUSY' });
    await lock.release();
    await rm(path);
  });

  test('loses no turn among processes of which some are killed while they hold it', async () => {
    const path = await lockPath();
    await writeFile(path, '0');
    const running = [...Array(6).keys()].map((index) =>
      startNode('lock-counter.mjs', [path, '', '20', ...(index < 3 ? [String(5 + index)] : [])]),
    );
    const ends = await Promise.all(running.map(({ ended }) => ended));
    assert.deepEqual(
      ends.map(({ code }) => code === 0),
      [false, false, false, true, true, true],
    );
    assert.equal(await readFile(path, 'utf8'), String(5 + 6 + 7 + 3 * 20));
  });
});
