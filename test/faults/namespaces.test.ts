import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { bundled } from '../support/homes/bundle.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { requirement } from '../support/requirement.ts';
import { Site } from './crash/site.ts';
import { startTokenServer, type TokenServer } from './crash/token-server.ts';

const NO_NAMESPACES = requirement(
  'it is not Linux as root, which makes PID namespaces',
  process.geteuid?.() === 0 &&
    spawnSync('unshare', ['--pid', '--fork', 'true'], { stdio: 'ignore' }).status === 0,
);

const RESOURCE = 'https://mcp.example.com/mcp';

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

type LockName = 'flock' | 'lease-file';

/** A process that is stopped in a refresh, in its own PID namespace, as in a container that shares the directory. */
async function stoppedInside(lock: LockName) {
  const { path } = await temporaryHome();
  const site = new Site(path, worker);
  const family = server.begin('strict');
  await site.keep(RESOURCE, family, -1000);
  const settings = JSON.stringify({ resource: RESOURCE, stopAt: 'intent-noted' });
  // A shell comes first, since the first process of a namespace cannot be stopped from within. It wakes the other on
  // command.
  const first = '"$@" & echo there; read _; kill -CONT $!; wait $!';
  const inside = spawn(
    'unshare',
    [
      '--pid',
      '--fork',
      '--kill-child',
      '--mount-proc',
      'sh',
      '-c',
      first,
      'sh',
      process.execPath,
      worker,
      settings,
    ],
    {
      env: { PATH: process.env['PATH'], HOLDFAST_HOME: path, HOLDFAST_LOCK: lock, HOME: '/nonexistent' },
      stdio: ['pipe', 'pipe', 'inherit'],
    },
  );
  const ended = once(inside, 'close');
  onTestFinished(async () => {
    inside.kill('SIGKILL');
    await ended;
  });
  for await (const line of createInterface({ input: inside.stdout })) if (line === 'stopping') break;
  const vault = site.vault(lock);
  onTestFinished(() => vault.close());
  return { site, family, inside, ended, vault };
}

describe.skipIf(NO_NAMESPACES)(
  'a container that shares the directory and is frozen in the middle of a refresh',
  () => {
    test.each<LockName>(['flock', 'lease-file'])(
      'nobody takes the lease from the frozen container, and it refreshes for all when it resumes: %s',
      async (lock) => {
        const { family, inside, ended, vault } = await stoppedInside(lock);
        await expect(vault.token(RESOURCE, { timeoutMs: 200 })).rejects.toMatchObject({
          code: expect.stringMatching(/^(lock-timeout|timeout)$/),
          retryable: true,
        });
        expect(family.log).toEqual([]);
        const waiting = vault.token(RESOURCE);
        inside.stdin.end('go on\n');
        await ended;
        expect((await waiting).token.reveal() === family.accessToken).toBe(true);
        expect(family.log.map(({ outcome }) => outcome)).toEqual(['rotated']);
      },
    );

    test('the next process gets the lease with flock once the frozen container is killed', async () => {
      const { family, inside, vault } = await stoppedInside('flock');
      const waiting = vault.token(RESOURCE);
      inside.kill('SIGKILL');
      expect((await waiting).token.reveal() === family.accessToken).toBe(true);
      expect(family.log.map(({ outcome }) => outcome)).toEqual(['rotated']);
    });

    test('the lease file of a killed container stays until somebody removes it', async () => {
      const { site, family, inside, ended, vault } = await stoppedInside('lease-file');
      inside.kill('SIGKILL');
      await ended;
      await expect(vault.token(RESOURCE, { timeoutMs: 500 })).rejects.toMatchObject({ retryable: true });
      expect(family.log).toEqual([]);
      const { locks } = site.layout;
      const [owner = '', ...more] = (await readdir(locks)).filter((name) => name.endsWith('.owner'));
      expect(more).toEqual([]);
      await rm(join(locks, owner));
      expect((await vault.token(RESOURCE)).token.reveal() === family.accessToken).toBe(true);
      expect(family.log.map(({ outcome }) => outcome)).toEqual(['rotated']);
    });
  },
);
