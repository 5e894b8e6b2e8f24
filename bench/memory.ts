/**
 * `npm run bench:memory -- --refreshes 100000`: what a process that refreshes all day keeps of it. Real token requests over
 * loopback, sealed records; once with the memory store, once with the directory store (a tenth as many: each is synced).
 * The heap is measured after a collection, from when everything has been done 2,000 times.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { CredentialId } from '../src/credential.ts';
import { SealedCredentialStore } from '../src/credentials/sealed/sealed-credential-store.ts';
import { MemoryKeyring } from '../src/keyring/memory.ts';
import { KeyringResolution } from '../src/keyring/resolve.ts';
import { SealingKeys } from '../src/keyring/sealing-key.ts';
import { ReusePolicy } from '../src/refresh/reuse-policy.ts';
import { SharedRefresh } from '../src/refresh/shared-refresh.ts';
import { Secret } from '../src/secret.ts';
import { DirectoryStore } from '../src/store/directory.ts';
import { MemoryStore } from '../src/store/memory.ts';
import { processEnvironment } from '../src/system/environment.ts';
import { layoutOf } from '../src/system/files/paths.ts';
import { startTokenServer } from '../test/faults/crash/token-server.ts';

const WARM_UP = 2_000;

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;
const { values } = parseArgs({ options: { refreshes: { type: 'string', default: '100000' } } });
const refreshes = Number(values.refreshes);
const home = await mkdtemp(join(tmpdir(), 'holdfast-bench-'));
const server = await startTokenServer();
try {
  const environment = { ...processEnvironment(), variables: { HOLDFAST_HOME: join(home, 'home') } };
  const layout = layoutOf(environment);
  await measure('memory store', new MemoryStore(), refreshes);
  await measure('directory store', new DirectoryStore(layout, environment), Math.ceil(refreshes / 10));

  async function measure(title: string, store: MemoryStore | DirectoryStore, times: number): Promise<void> {
    const keyring = new MemoryKeyring();
    const opener = { id: 'memory', tier: 'memory' as const, open: async () => keyring };
    const keys = new SealingKeys(new KeyringResolution({ openers: [opener] }), layout, environment);
    const credentialStore = new SealedCredentialStore({ persistent: store, ephemeral: store, keys });
    const once = new SharedRefresh({
      store: credentialStore,
      environment,
      policy: new ReusePolicy(),
      report: () => {},
    });
    const family = server.begin('strict');
    const name = CredentialId.of('https://mcp.example.com/mcp', undefined);
    const now = Date.now();
    const kept = await credentialStore.save(await keys.strongest(), name, (generation) => ({
      resource: name.resource,
      account: name.account,
      resourceParameter: name.resource,
      generation,
      server: { issuer: 'https://as.example.com', tokenEndpoint: server.endpoint },
      client: { clientId: 'client', authMethod: 'none', redirectUris: [], source: 'dynamic' },
      tokens: {
        accessToken: new Secret(family.accessToken),
        tokenType: 'Bearer',
        refreshToken: new Secret(family.refreshToken),
        obtainedAt: now,
        expiresAt: now,
      },
      loggedInAt: now,
    }));
    let { held } = kept;
    const refresh = async (count: number) => {
      for (let index = 0; index < count; index += 1) {
        held = await once.refresh(held, { leaseMs: 10_000, waitMs: 60_000 });
      }
    };
    await refresh(Math.min(WARM_UP, times));
    collect();
    const before = process.memoryUsage().heapUsed;
    const begin = performance.now();
    await refresh(times);
    const each = (performance.now() - begin) / times;
    collect();
    const grown = (process.memoryUsage().heapUsed - before) / 1024 / 1024;
    console.log(
      `${title.padEnd(16)} ${times} refreshes, ${each.toFixed(2)} ms each: the heap grew by ${grown.toFixed(2)} MB   (aim: under 5)`,
    );
  }
} finally {
  await server.close();
  await rm(home, { recursive: true, force: true });
}
