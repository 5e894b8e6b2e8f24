import { chmod, cp, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { processEnvironment } from '../../src/system/environment.ts';
import { openVault } from '../../src/vault/open.ts';
import { temporaryDirectory } from '../support/homes/home.ts';

/*
 * A fleet is updated one machine at a time, and a home outlives the program. The builds of these commits wrote a home
 * each: one login whose new tokens its store did not accept, and one whose process was killed when its record was
 * staged.
 */
const BUILDS = ['a4a2f32', '7d34124'];

/** Git stores only one bit of a file's mode. */
async function makePrivate(path: string): Promise<void> {
  for (const entry of await readdir(path, { withFileTypes: true, recursive: true })) {
    await chmod(join(entry.parentPath, entry.name), entry.isDirectory() ? 0o700 : 0o600);
  }
}

test.each(BUILDS.flatMap((build) => ['spilled', 'staged'].map((what) => [what, build] as const)))(
  'finds the %s tokens in the home that build %s wrote',
  async (what, build) => {
    const path = await temporaryDirectory();
    await cp(fileURLToPath(new URL(`../fixtures/home-of-${build}`, import.meta.url)), path, {
      recursive: true,
    });
    await makePrivate(path);
    const variables = {
      HOLDFAST_HOME: join(path, 'home'),
      HOLDFAST_SEALING_KEY_FILE: join(path, 'key'),
      XDG_RUNTIME_DIR: path,
    };
    const vault = openVault({ keyring: 'key-file', environment: { ...processEnvironment(), variables } });
    const resource = `https://${what}.example.com/mcp`;
    expect((await vault.token(resource)).generation).toBe(2);
    await vault.close();
    const again = openVault({ keyring: 'key-file', environment: { ...processEnvironment(), variables } });
    expect((await again.token(resource)).generation).toBe(2);
    await again.close();
  },
);
