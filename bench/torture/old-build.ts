import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { bundled } from '../../test/support/homes/bundle.ts';

/** The build that fleets are updated from: the last one before the lease was rebuilt. */
export const OLD_COMMIT = 'a4a2f32';

const REPOSITORY = fileURLToPath(new URL('../../', import.meta.url));

/** Why that build cannot be made here, such as in a shallow clone. */
export function noOldBuild(): string | undefined {
  try {
    execFileSync('git', ['cat-file', '-e', `${OLD_COMMIT}^{tree}`], { cwd: REPOSITORY, stdio: 'ignore' });
    return undefined;
  } catch {
    return `the history here does not have commit ${OLD_COMMIT} (git fetch --unshallow)`;
  }
}

/** The worker of that build, as one file. Its sources stay in the user’s cache for the next run. */
export async function oldWorker(directory: string): Promise<string> {
  const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'holdfast-torture');
  const sources = join(cache, OLD_COMMIT);
  if (!existsSync(sources)) {
    mkdirSync(cache, { recursive: true, mode: 0o700 });
    const staged = mkdtempSync(join(cache, 'staged-'));
    const archive = execFileSync('git', ['archive', OLD_COMMIT, 'src', 'bench/torture', 'package.json'], {
      cwd: REPOSITORY,
      maxBuffer: 256 * 1024 * 1024,
    });
    execFileSync('tar', ['-x', '-C', staged], { input: archive });
    try {
      renameSync(staged, sources);
    } catch {
      // Another run was first.
      rmSync(staged, { recursive: true });
    }
  }
  const modules = join(sources, 'node_modules');
  rmSync(modules, { force: true });
  symlinkSync(join(REPOSITORY, 'node_modules'), modules);
  return bundled(directory, 'old-worker', pathToFileURL(join(sources, 'bench/torture/worker.ts')));
}
