import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { configDefaults, defineConfig } from 'vitest/config';

/** 740 MB of other programs, which `npm ci --prefix bench/peers` brings to who wants them. */
const peers = existsSync(new URL('bench/peers/node_modules', import.meta.url));

/** Not all of its worlds replay yet, so it is run by who works on it: HOLDFAST_TEST_MODEL=replay (or long). */
const unfinished =
  process.env['HOLDFAST_TEST_MODEL'] === undefined ? ['test/fleet/model-replay.test.ts'] : [];

const source = (path: string) => new URL(path, import.meta.url).pathname;

export default defineConfig({
  // The examples name the package; under test it is the sources.
  resolve: {
    alias: {
      'holdfast/stores': source('src/stores.ts'),
      'holdfast/testing': source('src/testing/index.ts'),
    },
  },
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/built-once.ts'],
    exclude: [...configDefaults.exclude, ...unfinished, ...(peers ? [] : ['test/import/live*.test.ts'])],
    // Most tests wait for processes most of the time, so two files at once fit on two cores.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    // Real processes and real servers: a slow machine needs time, and no test asserts any.
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
