import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { type Environment, processEnvironment } from '../../../src/system/environment.ts';
import { type Layout, layoutOf } from '../../../src/system/files/paths.ts';

export interface Home {
  readonly path: string;
  readonly layout: Layout;
  readonly environment: Environment;
}

/** Creates a directory for one test, and removes it when the test ends. */
export async function temporaryDirectory(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'holdfast-test-'));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  return path;
}

/** Names a home for one test. It does not exist yet, and is removed when the test ends. */
export async function temporaryHome(): Promise<Home> {
  const path = join(await temporaryDirectory(), 'home');
  const environment: Environment = { ...processEnvironment(), variables: { HOLDFAST_HOME: path } };
  return { path, layout: layoutOf(environment), environment };
}
