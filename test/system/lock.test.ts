import { spawnSync } from 'node:child_process';
import { mkdir, readdir, readFile, symlink, unlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { AbortedError, InvalidArgumentError, LockTimeoutError } from '../../src/errors.ts';
import { acquireLock, type LockKind, lockKindOf } from '../../src/system/locks/lock.ts';
import { thisProcess } from '../../src/system/locks/process-identity.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { start, TYPESCRIPT } from '../support/processes/process.ts';
import { requirement } from '../support/requirement.ts';

const script = (name: string) => fileURLToPath(new URL(`../support/processes/${name}.ts`, import.meta.url));

async function lockPath(): Promise<string> {
  const { path } = await temporaryHome();
  await mkdir(path, { mode: 0o700 });
  return join(path, 'a.lock');
}

describe.each<{ kind: LockKind }>([{ kind: 'flock' }, { kind: 'lease-file' }])(
  'the lock by $kind',
  ({ kind }) => {
    const acquire = (path: string, waitMs: number, signal?: AbortSignal) =>
      acquireLock(path, { waitMs, signal, kind });

    async function holderOf(path: string) {
      const holder = start(process.execPath, [...TYPESCRIPT, script('lock-holder'), path, kind]);
      onTestFinished(() => holder.kill('SIGKILL'));
      await holder.says('locked');
      return holder;
    }

    test('names its own kind', async () => {
      const lock = await acquire(await lockPath(), 0);
      expect(lock.kind).toBe(kind);
      await lock.release();
    });

    test('lets one caller of a process in at a time, in the order they came', async () => {
      const path = await lockPath();
      const order: number[] = [];
      let inside = 0;
      await Promise.all(
        Array.from({ length: 50 }, async (_, index) => {
          const lock = await acquire(path, 30_000);
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

    test('leaves the lock to a live process, even a stopped one', async () => {
      const path = await lockPath();
      const holder = await holderOf(path);
      holder.kill('SIGSTOP');
      await expect(acquire(path, 200)).rejects.toThrow(LockTimeoutError);
    });

    test('frees the lock as soon as its holder is killed', async () => {
      const path = await lockPath();
      const holder = await holderOf(path);
      const waiting = acquire(path, 30_000);
      holder.kill('SIGKILL');
      await (await waiting).release();
    });

    test('loses no turn among processes of which some are killed while they hold it', async () => {
      const path = await lockPath();
      await writeFile(path, '0');
      const running = [...Array(6).keys()].map((index) =>
        start(process.execPath, [
          ...TYPESCRIPT,
          script('lock-counter'),
          path,
          kind,
          '40',
          ...(index < 3 ? [String(10 + index)] : []),
        ]),
      );
      const codes = (await Promise.all(running.map(({ ended }) => ended))).map(({ code }) => code);
      expect(codes).toEqual([null, null, null, 0, 0, 0]);
      expect(await readFile(path, 'utf8')).toBe(String(10 + 11 + 12 + 3 * 40));
      // If the last holder was killed, the next one takes its lease over and removes it.
      await (await acquire(`${path}.lock`, 30_000)).release();
      const left = await readdir(dirname(path));
      expect(left.filter((name) => name.startsWith('a.lock.lock.'))).toEqual([]);
    });

    test('lets the next caller through when one in the queue gives up', async () => {
      const path = await lockPath();
      const first = await acquire(path, 0);
      const abort = new AbortController();
      const second = acquire(path, 30_000, abort.signal);
      const third = acquire(path, 30_000);
      abort.abort();
      await expect(second).rejects.toThrow(AbortedError);
      await first.release();
      await (await third).release();
    });

    test('still admits a caller after others in the queue timed out', async () => {
      const path = await lockPath();
      const first = await acquire(path, 0);
      await expect(acquire(path, 20)).rejects.toThrow(LockTimeoutError);
      await expect(acquire(path, 20)).rejects.toThrow(LockTimeoutError);
      await first.release();
      await (await acquire(path, 0)).release();
    });

    const namespaces = requirement(
      'it is not Linux as root, which makes PID namespaces',
      process.geteuid?.() === 0 &&
        spawnSync('unshare', ['--pid', '--fork', 'true'], { stdio: 'ignore' }).status === 0,
    );
    test.skipIf(namespaces)('leaves the lock to a process of another PID namespace', async () => {
      const path = await lockPath();
      const inside = start('unshare', [
        '--pid',
        '--fork',
        '--kill-child',
        '--mount-proc',
        process.execPath,
        ...TYPESCRIPT,
        script('lock-holder'),
        path,
        kind,
      ]);
      onTestFinished(() => inside.kill('SIGKILL'));
      await inside.says('locked');
      await expect(acquire(path, 200)).rejects.toThrow(LockTimeoutError);
    });
  },
);

describe('the lock by flock', () => {
  test('locks the file that has the name now when the old one was removed', async () => {
    const path = await lockPath();
    await (await acquireLock(path, { waitMs: 0 })).release();
    await unlink(path);
    const again = await acquireLock(path, { waitMs: 0 });
    expect(again.kind).toBe('flock');
    await expect(acquireLock(path, { waitMs: 20 })).rejects.toThrow(LockTimeoutError);
    await again.release();
    await again.release();
  });
});

describe('the lock by lease file', () => {
  const acquire = (path: string) => acquireLock(path, { waitMs: 50, kind: 'lease-file' });
  const ownedBy = (parts: readonly (string | number)[]) => parts.map(encodeURIComponent).join('&');
  const { boot, namespace, host, pid, started } = thisProcess();

  const [pidNamespace = ''] = namespace.split(' ');
  const elsewhere = `${pidNamespace} time:[1]`;
  const nobody = 2 ** 22 + 1;

  test.each([
    ['of an earlier boot', ['another-boot', namespace, host, 1, '1', 'n']],
    ['whose number is another process’s now', [boot, namespace, host, pid, 'earlier', 'n']],
    ['of another time namespace whose number no process has', [boot, elsewhere, host, nobody, '1', 'n']],
    [
      'whose time namespace is unknown and whose number no process has',
      [boot, pidNamespace, host, nobody, '1', 'n'],
    ],
  ])('takes a lease file over from an owner %s', async (_what, parts) => {
    const path = await lockPath();
    await symlink(ownedBy(parts), `${path}.owner`);
    await (await acquire(path)).release();
    expect(await readdir(dirname(path))).toEqual([]);
  });

  test.each([
    ['of another container', [boot, 'pid:[1]', host, pid, started, 'n']],
    ['that lives in another time namespace', [boot, elsewhere, host, process.ppid, '1', 'n']],
    ['that is not an identity', ['who knows']],
  ])('leaves a lease file to an owner %s, and says how to free it', async (_what, parts) => {
    const path = await lockPath();
    await symlink(ownedBy(parts), `${path}.owner`);
    await expect(acquire(path)).rejects.toMatchObject({
      code: 'lock-timeout',
      hint: expect.stringContaining(`rm ${path}.owner`),
    });
  });
});

describe('HOLDFAST_LOCK', () => {
  test.each([
    [undefined, undefined],
    ['', undefined],
    ['flock', 'flock'],
    ['lease-file', 'lease-file'],
  ])('HOLDFAST_LOCK=%j chooses %j', (value, kind) => {
    expect(lockKindOf({ HOLDFAST_LOCK: value })).toBe(kind);
  });

  test('refuses any other value of HOLDFAST_LOCK', () => {
    expect(() => lockKindOf({ HOLDFAST_LOCK: 'mutex' })).toThrow(InvalidArgumentError);
  });
});
