import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Step } from '../../src/system/checkpoints.ts';
import { bundled } from '../support/homes/bundle.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { holdfast } from '../support/processes/process.ts';
import { CrashSite, type Kill, PLACES, SERVERS, Servers, type Verdict } from './crash/harness.ts';
import { Site } from './crash/site.ts';

let directory: string;
let worker: string;
let servers: Servers;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'holdfast-test-'));
  worker = await bundled(directory, 'worker', new URL('crash/worker.ts', import.meta.url));
  servers = await Servers.start();
});
afterAll(async () => {
  await servers.close();
  await rm(directory, { recursive: true });
});

/** Steps at which the server may have rotated and only the process has the answer. */
const ON_THE_WIRE = new Set(['request-sent', 'response-received']);

/** Steps around the request at which tokens can be lost. */
const MOMENTS: readonly (readonly [Step, number])[] = [
  ['lease-held', 1],
  ['intent-noted', 1],
  ['request-sent', 1],
  ['response-received', 1],
  ['file-staged', 0],
  ['file-placed', 0],
];

describe.each(['flock', 'lease-file'] as const)(
  'a process that is killed while it refreshes, with %s',
  (lock) => {
    test.each(SERVERS)(
      'the next process after a kill at any step, at a server like %s, gets a token or a clear, unavoidable end',
      async (server) => {
        const site = new CrashSite(new Site((await temporaryHome()).path, worker), servers);
        const kills: Kill[] = PLACES.flatMap((place): Kill[] =>
          place === 'at random'
            ? MOMENTS.map(([step, ms]) => ({ place, server, lock, after: { step, ms } }))
            : [{ place, server, lock }],
        );
        for (const kill of kills) {
          const verdict = await site.kill(kill);
          const allowed: Verdict[] = kill.place === 'at random' ? ['saved', 'unhurt'] : ['saved'];
          if (server !== 'window' && (kill.place === 'at random' || ON_THE_WIRE.has(kill.place))) {
            allowed.push('unavoidable');
          }
          expect({ kill, verdict: allowed.includes(verdict) || verdict }).toEqual({ kill, verdict: true });
        }
      },
    );
  },
);

test('the command line reports unsaved tokens of a killed process with exit code 3 and the reason', async () => {
  const { path } = await temporaryHome();
  const site = new Site(path, worker);
  const resource = 'https://mcp.example.com/mcp';
  const family = await servers.begin('oidc-provider', resource);
  await site.keep(resource, family, -1000);
  await site.start({ resource, dieAt: 'response-received' }, 'flock').ended;
  for (let time = 0; time < 2; time += 1) {
    const { code, out, err } = await holdfast(['token', resource], {
      HOLDFAST_HOME: path,
      HOLDFAST_KEYRING: 'file',
    }).ended;
    expect({ code, out }).toEqual({ code: 3, out: '' });
    expect(err).toContain(`holdfast login ${resource}`);
    expect(err).toContain('A process ended in the middle of its refresh');
  }
  expect(family.log.map(({ outcome }) => outcome)).toEqual(['rotated', 'refused', 'refused']);
});
