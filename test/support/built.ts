import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { acquireLock } from '../../src/system/locks/lock.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** What the package holds beside `dist`, and needs at run time. */
const COPIED = ['package.json', 'CHANGELOG.md', 'LICENSE', 'NOTICE', 'README.md', 'SECURITY.md'];

/**
 * Builds the package into a directory of this test run, once, whichever test file asks first. The `dist` of the
 * repository stays as it is, so no program that runs from it breaks.
 *
 * @returns the package's directory, with `dist` in it
 */
export async function builtPackage(): Promise<string> {
  const program = process.env['HOLDFAST_TEST_PROGRAM'];
  if (program === undefined) throw new Error('built-once.ts has not made the directory of this run');
  const directory = join(dirname(program), 'package');
  const done = join(directory, 'done');
  mkdirSync(directory, { recursive: true });
  const lock = await acquireLock(join(directory, 'build.lock'), { waitMs: 300_000 });
  try {
    if (existsSync(done)) return directory;
    for (const name of COPIED) cpSync(join(ROOT, name), join(directory, name));
    symlinkSync(join(ROOT, 'node_modules'), join(directory, 'node_modules'));
    execFileSync(process.execPath, ['scripts/build.mjs', join(directory, 'dist')], {
      cwd: ROOT,
      stdio: 'inherit',
    });
    writeFileSync(done, '');
  } finally {
    await lock.release();
  }
  return directory;
}
