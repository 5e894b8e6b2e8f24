/**
 * Many holders of one credential in one process, each with a vault of its own. The first argument is JSON
 * (`HoldersSettings`). Prints, as JSON, what came of their calls.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { defined } from '../../src/values/defined.ts';
import { openVault } from '../../src/vault/open.ts';
import { openStore } from '../torture/open-store.ts';

export interface HoldersSettings {
  readonly store: string;
  readonly resource: string;
  readonly holders: number;
  /** Between two calls of one holder, in milliseconds. */
  readonly everyMs: number;
  readonly forMs: number;
}

export interface HoldersResult {
  readonly calls: number;
  readonly failures: Readonly<Record<string, number>>;
  /** Milliseconds. */
  readonly p99: number;
}

/** Thousands of vaults of one process wait for its few connections. */
const PATIENCE_MS = 10_000;

const { store: url, resource, holders, everyMs, forMs }: HoldersSettings = JSON.parse(process.argv[2] ?? '');

void work();

async function work(): Promise<void> {
  const store = await openStore(url, {}, PATIENCE_MS);
  const begin = performance.now();
  const took: number[] = [];
  const failures: Record<string, number> = {};
  const hold = async () => {
    const vault = openVault(defined({ store, keyring: 'key-file' }));
    await sleep(Math.random() * everyMs);
    while (performance.now() - begin < forMs) {
      const start = performance.now();
      try {
        await vault.token(resource, { timeoutMs: 15_000 });
      } catch (error) {
        const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
        failures[code] = (failures[code] ?? 0) + 1;
      }
      took.push(performance.now() - start);
      await sleep(everyMs * (0.5 + Math.random()));
    }
  };
  await Promise.all(Array.from({ length: holders }, hold));
  const p99 = took.toSorted((a, b) => a - b)[Math.floor(took.length * 0.99)] ?? 0;
  const result: HoldersResult = { calls: took.length, failures, p99 };
  process.stdout.write(JSON.stringify(result), () => process.exit());
}
