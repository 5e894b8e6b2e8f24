import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bundled } from './homes/bundle.ts';

/**
 * Builds `holdfast` as one file before the tests, which start it a thousand times. A start from the sources would wait
 * a second or more for the compiler. Tests find the file by `HOLDFAST_TEST_PROGRAM`, which no program they start
 * inherits.
 */
export default async function buildOnce(): Promise<() => Promise<void>> {
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-test-'));
  process.env['HOLDFAST_TEST_PROGRAM'] = await bundled(
    directory,
    'holdfast',
    new URL('../../src/cli/bin.ts', import.meta.url),
  );
  return () => rm(directory, { recursive: true, force: true });
}
