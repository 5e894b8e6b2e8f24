import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bundled } from '../support/bundle.ts';
import { temporaryDirectory, temporaryHome } from '../support/home.ts';
import { CrashSite, type Kill, PLACES, type Verdict } from './crash/harness.ts';
import { startTokenServer, type TokenServer } from './crash/token-server.ts';

let server: TokenServer;
beforeAll(async () => {
  server = await startTokenServer();
});
afterAll(() => server.close());

async function crashSite(): Promise<CrashSite> {
  const worker = await bundled(
    await temporaryDirectory(),
    'worker',
    new URL('crash/worker.ts', import.meta.url),
  );
  return new CrashSite((await temporaryHome()).path, worker, server);
}

/** Until the answer is there the server has the only copy, and from the rename on the disk has one. */
const ON_THE_WIRE = new Set(['request-sent', 'response-received', 'file-staged']);

describe.each(['flock', 'lease-file'] as const)(
  'a process that is killed while it refreshes, with %s',
  (lock) => {
    test.each(['window', 'strict'] as const)(
      'at any step, against a %s server: the next one has a token, or one clear end that nobody could avoid',
      async (policy) => {
        const site = await crashSite();
        for (const place of PLACES) {
          for (let afterMs = 0; afterMs <= (place === 'at random' ? 12 : 0); afterMs += 3) {
            const kill: Kill = { place, policy, lock, afterMs };
            const verdict = await site.kill(kill);
            const allowed: Verdict[] = place === 'at random' ? ['saved', 'unhurt'] : ['saved'];
            if (policy === 'strict' && (place === 'at random' || ON_THE_WIRE.has(place))) {
              allowed.push('unavoidable');
            }
            expect({ kill, verdict: allowed.includes(verdict) || verdict }).toEqual({ kill, verdict: true });
          }
        }
      },
    );
  },
);
