import type { EngineStoreOptions } from '../../src/store/engine/engine-store-options.ts';
import type { RecordStore } from '../../src/store/record-store.ts';

/** One question to an engine may take so long, in milliseconds: these engines are near, and die often. */
const TIMEOUT_MS = 2_000;

/** The store of that URL, as any program opens it; `undefined` for the directory, which a vault opens by itself. */
export async function openStore(
  url: string,
  options: EngineStoreOptions,
  timeoutMs = TIMEOUT_MS,
): Promise<RecordStore | undefined> {
  if (url.startsWith('postgres:')) {
    const { openPostgresStore } = await import('../../src/store/postgres/pool.ts');
    return openPostgresStore({ ...options, connectionString: url, timeoutMs });
  }
  if (url.startsWith('redis:')) {
    const { openRedisStore } = await import('../../src/store/redis/open.ts');
    return openRedisStore({ ...options, url, timeoutMs });
  }
  if (url === 'directory:') return undefined;
  throw new Error(`There is no engine behind ${url}.`);
}
