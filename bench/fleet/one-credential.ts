import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { recordId } from '../../src/credential.ts';
import { EngineStore } from '../../src/store/engine/engine-store.ts';
import { bundled } from '../../test/support/homes/bundle.ts';
import { start } from '../../test/support/processes/process.ts';
import { Credentials } from '../torture/credentials.ts';
import { OwnIssuer } from '../torture/issuer.ts';
import { openStore } from '../torture/open-store.ts';
import { AuthorizationServer } from '../torture/server.ts';
import type { HoldersResult, HoldersSettings } from './holders.ts';

export interface OneCredential {
  readonly holders: number;
  readonly calls: number;
  readonly failures: number;
  readonly p99: number;
  /** How many access tokens were used up, and what they cost. */
  readonly lives: number;
  readonly claims: number;
  readonly presentations: number;
}

const RESOURCE = 'https://mcp.example.com/shared';
const PROCESSES = 4;
const LIFE_MS = 20_000;
const EVERY_MS = 10_000;

/** Holders of one login at one engine, in a few processes, for a few lives of its access token. */
export async function oneCredential(url: string, holders: number, lives: number): Promise<OneCredential> {
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-fleet-'));
  const keyFile = join(directory, 'sealing-key');
  await writeFile(keyFile, randomBytes(32).toString('base64url'), { mode: 0o600 });
  const issuer = new OwnIssuer('strict', randomBytes(8).toString('hex'), 0);
  const server = await AuthorizationServer.start(issuer, {
    journey: () => ({ beforeMs: 20, afterMs: 20, fate: 'whole' }),
    lifeMs: LIFE_MS,
    logFile: join(directory, 'server.jsonl'),
  });
  const store = await openStore(url, {});
  if (!(store instanceof EngineStore)) throw new Error(`There is no engine behind ${url}.`);
  const credentials = new Credentials(join(directory, 'home'), keyFile, store);
  try {
    const { refreshToken } = await issuer.begin();
    const { tokenEndpoint, revocationEndpoint } = server;
    const login = {
      tokenEndpoint,
      revocationEndpoint,
      refreshToken,
      clientId: 'fleet',
      loggedInAt: Date.now(),
    };
    await credentials.put(RESOURCE, login);
    const program = await bundled(directory, 'holders', new URL('holders.ts', import.meta.url));
    const settings: HoldersSettings = {
      store: url,
      resource: RESOURCE,
      holders: Math.ceil(holders / PROCESSES),
      everyMs: EVERY_MS,
      forMs: lives * LIFE_MS,
    };
    const processes = Array.from({ length: PROCESSES }, (_, index) =>
      start(process.execPath, [program, JSON.stringify(settings)], {
        HOLDFAST_HOME: join(directory, `home-${index}`),
        HOLDFAST_SEALING_KEY_FILE: keyFile,
        HOME: '/nonexistent',
      }),
    );
    const results = await Promise.all(
      processes.map(async ({ ended }) => {
        const { code, out, err } = await ended;
        if (code !== 0) throw new Error(`A process of holders failed: ${err}`);
        return JSON.parse(out) as HoldersResult;
      }),
    );
    const last = await store.lock(recordId(RESOURCE, 'default'), { waitMs: 30_000 });
    await last.release();
    return {
      holders: settings.holders * PROCESSES,
      calls: results.reduce((sum, { calls }) => sum + calls, 0),
      failures: results.reduce(
        (sum, { failures }) => sum + Object.values(failures).reduce((all, one) => all + one, 0),
        0,
      ),
      p99: Math.max(...results.map(({ p99 }) => p99)),
      lives: new Set(server.log.map(({ shown }) => shown.generation)).size,
      claims: (last.epoch ?? Number.NaN) - 1,
      presentations: server.log.length,
    };
  } finally {
    await credentials.close();
    await server.close();
    await rm(directory, { recursive: true, force: true });
  }
}
