import { type ChildProcess, spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as runner from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Environment, processEnvironment } from '../../src/system/environment.ts';
import { type Layout, layoutOf } from '../../src/system/files/paths.ts';

/** The runner's `describe` without its promise, since the runner waits for its tests itself. */
export function describe(name: string, body: () => void): void {
  void runner.describe(name, body);
}

export function test(name: string, body: (t: runner.TestContext) => Promise<void>): void {
  void runner.test(name, body);
}

const homes: string[] = [];
process.once('exit', () => {
  for (const home of homes) rmSync(home, { recursive: true, force: true, maxRetries: 10 });
});

/** Names a home that does not exist yet. It is removed when the suite ends. */
export async function temporaryHome(): Promise<{ path: string; layout: Layout; environment: Environment }> {
  const above = await mkdtemp(join(tmpdir(), 'holdfast-'));
  homes.push(above);
  const path = join(above, 'home');
  const environment: Environment = {
    ...processEnvironment(),
    variables: { ...process.env, HOLDFAST_HOME: path },
  };
  return { path, layout: layoutOf(environment), environment };
}

export interface Started {
  readonly child: ChildProcess;
  readonly ended: Promise<{ code: number | null; out: string; err: string }>;
  /** Resolves when the output contains the text. */
  says(text: string): Promise<void>;
}

/** Starts Node on a file in this directory, under the file's name after bundling. */
export function startNode(
  file: string,
  args: readonly string[],
  variables: Readonly<Record<string, string>> = {},
): Started {
  const script = fileURLToPath(new URL(file, import.meta.url));
  const child = spawn(process.execPath, [script, ...args], {
    env: { ...process.env, ...variables },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let out = '';
  let err = '';
  child.stdout.on('data', (chunk) => {
    out += chunk;
  });
  child.stderr.on('data', (chunk) => {
    err += chunk;
  });
  const ended = new Promise<{ code: number | null; out: string; err: string }>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, out, err }));
  });
  return {
    child,
    ended,
    says: (text) =>
      new Promise((resolve, reject) => {
        child.stdout.on('data', () => {
          if (out.includes(text)) resolve();
        });
        ended.then(() => reject(new Error(`ended without saying ${text}: ${err}`)), reject);
      }),
  };
}
