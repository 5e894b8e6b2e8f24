import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import type { Step } from '../../src/system/checkpoints.ts';
import { bundled } from '../support/homes/bundle.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { holdfast, type Running } from '../support/processes/process.ts';
import { type LockName, Site, untilStopped } from './crash/site.ts';
import { type Family, startTokenServer, type TokenServer } from './crash/token-server.ts';

/* A holder of the lease that is stopped for longer than anybody waits: by a debugger, a frozen container or SIGSTOP. */

const RESOURCE = 'https://mcp.example.com/mcp';
const LOCKS: readonly LockName[] = ['flock', 'lease-file'];

let directory: string;
let worker: string;
let server: TokenServer;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'holdfast-test-'));
  worker = await bundled(directory, 'worker', new URL('crash/worker.ts', import.meta.url));
  server = await startTokenServer();
});
afterAll(async () => {
  await server.close();
  await rm(directory, { recursive: true });
});

interface Stopped {
  readonly site: Site;
  readonly family: Family;
  readonly holder: Running;
  readonly home: string;
}

/** A strict server, which takes a second use of a token for theft, and a process that is stopped at that step. */
async function stoppedAt(step: Step, lock: LockName, leftMs = -1000): Promise<Stopped> {
  const { path } = await temporaryHome();
  const site = new Site(path, worker);
  const family = server.begin('strict');
  await site.keep(RESOURCE, family, leftMs);
  const holder = site.start({ resource: RESOURCE, stopAt: step }, lock);
  onTestFinished(() => holder.kill('SIGKILL'));
  await untilStopped(holder);
  return { site, family, holder, home: path };
}

async function goesOnWell({ site, family, holder }: Stopped, lock: LockName): Promise<void> {
  holder.kill('SIGCONT');
  expect((await holder.ended).out).toContain('done\n');
  const vault = site.vault(lock);
  onTestFinished(() => vault.close());
  expect((await vault.token(RESOURCE)).token.reveal() === family.accessToken).toBe(true);
  expect(family.log.map(({ outcome }) => outcome)).toEqual(['rotated']);
}

describe.each(LOCKS)('a process that is stopped while it refreshes, with %s', (lock) => {
  test.each<Step>(['lease-held', 'intent-noted', 'request-sent', 'response-received', 'file-staged'])(
    'keeps its lease when stopped at %s, delays others only for their timeout, and completes later',
    async (step) => {
      const stopped = await stoppedAt(step, lock);
      const vaults = Array.from({ length: 3 }, () => stopped.site.vault(lock));
      // Longer than any of them waits, and more than once.
      for (let round = 0; round < 2; round += 1) {
        const errors = await Promise.all(
          vaults.map((vault) => vault.token(RESOURCE, { timeoutMs: 150 }).catch((error: unknown) => error)),
        );
        for (const error of errors) {
          expect(error).toMatchObject({
            code: expect.stringMatching(/^(lock-timeout|timeout)$/),
            retryable: true,
          });
        }
      }
      await Promise.all(vaults.map((vault) => vault.close()));
      expect(stopped.family.log.length).toBeLessThanOrEqual(1);
      await goesOnWell(stopped, lock);
    },
  );

  test('other processes get the old token while it has life left', async () => {
    const stopped = await stoppedAt('response-received', lock, 60_000);
    const vault = stopped.site.vault(lock);
    const served = await vault.token(RESOURCE, { timeoutMs: 5_000 });
    expect(served.generation).toBe(1);
    await vault.close();
    await goesOnWell(stopped, lock);
  });

  test('the next process refreshes after a stopped one was killed', async () => {
    const stopped = await stoppedAt('intent-noted', lock);
    const vault = stopped.site.vault(lock);
    onTestFinished(() => vault.close());
    const waiting = vault.token(RESOURCE, { timeoutMs: 30_000 });
    stopped.holder.kill('SIGKILL');
    expect((await waiting).token.reveal() === stopped.family.accessToken).toBe(true);
    expect(stopped.family.log.map(({ outcome }) => outcome)).toEqual(['rotated']);
  });
});

test('the list shows a refresh by a stopped process, and does not wait for it', async () => {
  const stopped = await stoppedAt('request-sent', 'flock');
  const { code, out } = await holdfast(['list', '--json'], {
    HOLDFAST_HOME: stopped.home,
    HOLDFAST_KEYRING: 'file',
  }).ended;
  expect(code).toBe(0);
  expect(out).toContain('"refreshing"');
  await goesOnWell(stopped, 'flock');
});
